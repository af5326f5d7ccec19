#!/usr/bin/env bash
# The paper's claims on `mini`: RL alone, GEPA alone and FST on three tasks and three seeds; then plasticity (math's
# weights learn codeio) and continual learning (the tasks one after the other).
#     examples/headline.sh runs/headline
# Stop it and start it again at will: complete stages are skipped. JOBS runs go side by side, one thread each.
set -euo pipefail
out=${1:-runs/headline}
read -ra seeds <<<"${SEEDS:-0 1 2}"
read -ra tasks <<<"${TASKS:-math stargraph codeio}"
first=${FIRST:-math} second=${SECOND:-codeio} switch=${SWITCH:-12} jobs=${JOBS:-2} model=${MODEL:-mini}
# Tuned once for RL (learning rates 5e-4, 1e-3, 2e-3, 4e-3; 24 updates, seed 0: the best end on every task), kept for FST.
settings=${SETTINGS:---cycles 3 --steps-per-cycle 12 --set slow.learning_rate=1e-3 --set fast.budget=300
  --set eval.every=3 --set eval.samples=2}
if ((jobs > 1)); then export OMP_NUM_THREADS=1; fi

# A line a run: its folder, then its options. What is there goes on from where it stopped.
all() { xargs -P "$jobs" -L 1 bash -c 'folder=$0; mkdir -p "$(dirname "$folder")"
  if [[ -f $folder/config.toml ]]; then set -- --resume; fi
  echo "$folder: $*"; fst cycle --out "$folder" "$@" >>"$folder.log" 2>&1 || { tail -n 3 "$folder.log"; exit 255; }'; }

for seed in "${seeds[@]}"; do
  for task in "${tasks[@]}"; do
    common="--task $task --model $model --seed $seed "${settings//$'\n'/ }
    echo "$out/$task/rl/seed-$seed $common --no-fast"
    echo "$out/$task/fst/seed-$seed $common"
    echo "$out/$task/gepa/seed-$seed $common --no-slow"
  done
done | all

for seed in "${seeds[@]}"; do
  common="--model $model --seed $seed "${settings//$'\n'/ }
  for method in rl fst; do
    echo "$out/$first-to-$second/$method/seed-$seed --task $second --no-fast --init-from $out/$first/$method/seed-$seed $common"
  done
  # Twice as many evolutions, so that a stage has two.
  continual="--tasks $(IFS=, && echo "${tasks[*]}") --switch-every $switch $common --steps-per-cycle $((switch / 2)) --cycles $((2 * ${#tasks[@]}))"
  echo "$out/continual/rl/seed-$seed $continual --no-fast"
  echo "$out/continual/fst/seed-$seed $continual"
done | all
