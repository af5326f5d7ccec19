#!/usr/bin/env bash
# Ablations of FST: one change at a time, a loop over --set. The unchanged run is `default`.
#     ABLATIONS="k reuse" examples/ablations.sh runs/ablations     # only these
#     fst report runs/ablations/math/* -o runs/ablations/report
set -euo pipefail
out=${1:-runs/ablations}
source "$(dirname "$0")/runs.sh"
declare -A changes=(
  [k]="fast.k=1 fast.k=2 fast.k=8"      # prompts in the population; the default is 4
  [t]="steps_per_cycle=6,cycles=6"      # evolve twice as often, as many RL steps in all
  [baseline]="slow.baseline=prompt"     # a rollout against the mean of its own prompt's, not of all prompts'
  [recipe]="fast.recipe=full,fast.k=1"  # free rewrites of one prompt, not incremental edits of several
  [reuse]="fast.reuse_rollouts=true"    # RL claims the evolution's rollouts
  [distill]="slow.loss=distill"         # the prompts are moved into the weights, instead of RL
)
for name in default ${ABLATIONS:-k t baseline recipe reuse distill}; do
  for change in ${changes[$name]:-default}; do
    for task in "${tasks[@]}"; do
      for seed in "${seeds[@]}"; do
        options="--task $task --model $model --seed $seed $settings"
        if [[ $change != default ]]; then options+=" --set ${change//,/ --set }"; fi
        echo "$out/$task/$change/seed-$seed $options"
      done
    done
  done
done | run_all
