#!/usr/bin/env bash
# Sample efficiency, ceiling and drift: RL alone, GEPA alone and FST, on every task and seed.
#     examples/efficiency.sh runs/headline
set -euo pipefail
out=${1:-runs/headline}
source "$(dirname "$0")/runs.sh"
for seed in "${seeds[@]}"; do
  for task in "${tasks[@]}"; do
    common="--task $task --model $model --seed $seed $settings"
    echo "$out/$task/rl/seed-$seed $common --no-fast"
    echo "$out/$task/fst/seed-$seed $common"
    echo "$out/$task/gepa/seed-$seed $common --no-slow"
  done
done | run_all
