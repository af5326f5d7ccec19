#!/usr/bin/env bash
# Continual learning: the tasks one after the other, from a prompt that names none of them; all are measured throughout.
#     SWITCH=12 examples/continual.sh runs/headline     # updates before the next task, two evolutions in each stage
set -euo pipefail
out=${1:-runs/headline}
source "$(dirname "$0")/runs.sh"
switch=${SWITCH:-12}
for seed in "${seeds[@]}"; do
  common="--tasks $(IFS=, && echo "${tasks[*]}") --switch-every $switch --model $model --seed $seed $settings"
  common+=" --steps-per-cycle $((switch / 2)) --cycles $((2 * ${#tasks[@]}))"
  common+=" ${MEASURE---set eval.every=$((switch / 2)) --set eval.problems=50}" # of all tasks: half as much of each
  echo "$out/continual/rl/seed-$seed $common --no-fast"
  echo "$out/continual/fst/seed-$seed $common"
done | run_all
