#!/usr/bin/env bash
# Ablations of FST: a loop over --set. ABLATIONS="k reuse" examples/ablations.sh runs/ablations   # only these
#     fst report runs/ablations/math/* -o report
set -euo pipefail
out=${1:-runs/ablations}
source "$(dirname "$0")/runs.sh"
declare -A values=(
  [k]="fast.k=1 fast.k=2 fast.k=4 fast.k=8"                       # prompts in the population
  [t]="steps_per_cycle=6,cycles=6 steps_per_cycle=12,cycles=3"    # RL steps a cycle, as many in all
  [baseline]="slow.baseline=problem slow.baseline=prompt"         # whose mean a rollout is compared with
  [recipe]="fast.recipe=light fast.recipe=full,fast.k=1"          # incremental edits, or free rewrites of one prompt
  [reuse]="fast.reuse_rollouts=false fast.reuse_rollouts=true"    # RL claims the evolution's rollouts
  [distill]="slow.loss=cispo slow.loss=distill"                   # RL under the prompts, or moving them into the weights
)
for name in ${ABLATIONS:-k t baseline recipe reuse distill}; do
  for value in ${values[$name]}; do
    for task in "${tasks[@]}"; do
      for seed in "${seeds[@]}"; do
        echo "$out/$task/$value/seed-$seed --task $task --model $model --seed $seed $settings --set ${value//,/ --set }"
      done
    done
  done
done | run_all
