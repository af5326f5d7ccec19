#!/usr/bin/env bash
# The three methods on a real pretrained model, SmolLM2-135M, with small sums: half an hour on one core.
#     examples/pretrained.sh runs/smollm2
set -euo pipefail
out=${1:-runs/smollm2}
mkdir -p "$out"
sums=$(realpath "$out")/sums.jsonl
if [[ ! -f $sums ]]; then
  for a in {0..9}; do
    for b in {0..14}; do
      # The working is as GSM8K has it; worked examples show it.
      echo "{\"question\": \"What is $a + $b?\", \"answer\": \"$a + $b = $((a + b))\\n#### $((a + b))\"}"
    done
  done >"$sums"
fi
export TASKS=math SEEDS=${SEEDS:-0} MODEL=${MODEL:-smollm2-135m} JOBS=${JOBS:-1}
export SETTINGS=${SETTINGS:---data $sums --cycles 2 --steps-per-cycle 4 --set problems_per_step=6 --set fast.anchor=12
  --set fast.max_examples=4 --set fast.budget=120 --set eval.every=2 --set eval.problems=24 --set eval.samples=2}
SETTINGS=${SETTINGS//$'\n'/ }
"$(dirname "$0")/efficiency.sh" "$out"
fst compare "$out/math/fst" "$out/math/rl" -o "$out/compare.json"
fst report "$out"/math/{rl,fst,gepa} -o "$out/report"
