#!/usr/bin/env bash
# The paper's claims on `mini`, measured: under three hours on two cores.
#     examples/headline.sh runs/headline
# Stop it and start it again at will. What it leaves: OUT/compare/*.json and OUT/report/index.html.
set -euo pipefail
out=${1:-runs/headline}
here=$(dirname "$0")
source "$here/runs.sh"
export FIRST=${FIRST:-math} SECOND=${SECOND:-codeio}
"$here/efficiency.sh" "$out"
"$here/plasticity.sh" "$out"
"$here/continual.sh" "$out"

for task in "${tasks[@]}"; do
  fst compare "$out/$task/fst" "$out/$task/rl" -o "$out/compare/$task.json"
  fst compare "$out/$task/fst" "$out/$task/gepa" -o "$out/compare/$task-gepa.json"
done
for method in rl fst; do
  fst compare "$out/$FIRST-to-$SECOND/$method" "$out/$SECOND/rl" -o "$out/compare/$FIRST-to-$SECOND-$method.json"
done
fst compare "$out/continual/fst" "$out/continual/rl" -o "$out/compare/continual.json"
arms=()
for task in "${tasks[@]}"; do arms+=("$out/$task/rl" "$out/$task/fst" "$out/$task/gepa"); done
fst report "${arms[@]}" "$out/$FIRST-to-$SECOND"/{rl,fst} "$out/continual"/{rl,fst} -o "$out/report"
