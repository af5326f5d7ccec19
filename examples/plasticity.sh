#!/usr/bin/env bash
# Plasticity: the weights that RL and FST trained on task X learn task Y by RL, and so does the base model.
#     FIRST=math SECOND=codeio examples/plasticity.sh runs/headline     # uses what efficiency.sh left there
set -euo pipefail
out=${1:-runs/headline}
source "$(dirname "$0")/runs.sh"
first=${FIRST:-math} second=${SECOND:-codeio}
for seed in "${seeds[@]}"; do
  echo "$out/$first/rl/seed-$seed --task $first --model $model --seed $seed $settings --no-fast"
  echo "$out/$first/fst/seed-$seed --task $first --model $model --seed $seed $settings"
  echo "$out/$second/rl/seed-$seed --task $second --model $model --seed $seed $settings --no-fast"
done | run_all
for seed in "${seeds[@]}"; do
  for method in rl fst; do
    from=$out/$first/$method/seed-$seed
    echo "$out/$first-to-$second/$method/seed-$seed --task $second --model $model --seed $seed $settings --no-fast --init-from $from"
  done
done | run_all
