#!/usr/bin/env bash
# Fast-Slow Training by single stages: writes the same files as
#     fst cycle --task math --out runs/first
# (all but config.toml, manifest.json and metrics.jsonl, which describe that command). Stop anywhere, look at the
# files, edit one, go on. Every number is a variable: CYCLES=1 STEPS=2 examples/stages.sh runs/small
set -euo pipefail
run=${1:-runs/stages}
task=${TASK:-math} model=${MODEL:-mini} seed=${SEED:-0}
cycles=${CYCLES:-2} steps=${STEPS:-6} problems=${PROBLEMS:-12} group=${GROUP:-8} max_tokens=${MAX_TOKENS:-128}
k=${K:-4} budget=${BUDGET:-400} anchor=${ANCHOR:-32} minibatch=${MINIBATCH:-6}
tests=${TESTS:-100} samples=${SAMPLES:-4} kl_problems=${KL_PROBLEMS:-32} every=${EVERY:-6}
read -ra options <<<"${OPTIONS---set difficulty=2}"

common=(--model "$model" --max-tokens "$max_tokens" --seed "$seed")
per_cycle=$((steps * problems))

mkdir -p "$run/data"
fst generate --task "$task" "${options[@]}" --split train --count $((cycles * per_cycle)) --seed "$seed" -o "$run/data/train.jsonl"
fst generate --task "$task" "${options[@]}" --split test --count "$tests" --seed "$seed" -o "$run/data/test.jsonl"
fst seed-prompt --task "$task" -o "$run/seed.jsonl"

prompts=$run/seed.jsonl
weights=()

measure() { # a folder, and `kl` where the weights have just moved
  fst eval "$run/data/test.jsonl" "${common[@]}" "${weights[@]}" --prompts "$prompts" --samples "$samples" -o "$1/eval.jsonl"
  if [[ ${2:-} == kl ]]; then
    fst kl "$run/data/test.jsonl" "${common[@]}" "${weights[@]}" --prompts "$prompts" --limit "$kl_problems" -o "$1/kl.jsonl"
  fi
}

measure "$run"
for ((c = 0; c < cycles; c++)); do
  cycle=$run/cycle-$(printf %03d "$c")
  mkdir -p "$cycle"
  # The lookahead batch: the next T x B problems of the stream.
  sed -n "$((c * per_cycle + 1)),$(((c + 1) * per_cycle))p" "$run/data/train.jsonl" >"$cycle/problems.jsonl"

  # Fast: evolve the population against the current weights.
  fst evolve-prompts "$cycle/problems.jsonl" "${common[@]}" "${weights[@]}" --prompts "$prompts" --cycle "$c" \
    -K "$k" --budget "$budget" --anchor "$anchor" --minibatch "$minibatch" --evidence "$cycle/evolve" \
    -o "$cycle/prompts.jsonl"
  prompts=$cycle/prompts.jsonl
  measure "$cycle"

  # Slow: T updates of the weights with this population.
  for ((t = 0; t < steps; t++)); do
    step=$cycle/step-$(printf %02d "$t")
    mkdir -p "$step"
    sed -n "$((t * problems + 1)),$(((t + 1) * problems))p" "$cycle/problems.jsonl" >"$step/problems.jsonl"
    fst rollout "$step/problems.jsonl" "${common[@]}" "${weights[@]}" --prompts "$prompts" --group-size "$group" \
      --cycle "$c" --step "$t" -o "$step/rollouts.jsonl"
    fst train-step "$step/rollouts.jsonl" --model "$model" --seed "$seed" "${weights[@]}" -o "$step"
    weights=(--weights "$step/weights")
    update=$((c * steps + t + 1))
    if ((update % every == 0 && update < cycles * steps)); then
      measure "$step" kl
    fi
  done
done

fst eval "$run/data/test.jsonl" "${common[@]}" "${weights[@]}" --prompts "$prompts" --grid --samples "$samples" -o "$run/grid.jsonl"
fst kl "$run/data/test.jsonl" "${common[@]}" "${weights[@]}" --prompts "$prompts" --limit "$kl_problems" -o "$run/kl.jsonl"
