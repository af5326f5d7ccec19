# For the other scripts to source: the settings of a small experiment on two cores, and a way to run many.
# Every name here can be set from outside, as SEEDS="0" TASKS="math" examples/efficiency.sh runs/small
read -ra seeds <<<"${SEEDS:-0 1 2}"
read -ra tasks <<<"${TASKS:-math stargraph codeio}"
model=${MODEL:-mini} jobs=${JOBS:-2}
# Tuned once for RL (learning rates 5e-4, 1e-3, 2e-3, 4e-3; 24 updates, seed 0: the best end on every task), kept for FST.
settings=${SETTINGS:---cycles 3 --steps-per-cycle 12 --set slow.learning_rate=1e-3 --set fast.budget=300 --set eval.every=3 --set eval.samples=2}
if ((jobs > 1)); then export OMP_NUM_THREADS=1; fi

# Reads a line a run, its folder and then its options, and keeps `jobs` of them going. Stop it and start it again at
# will: a run that is there goes on from where it stopped.
run_all() {
  xargs -P "$jobs" -L 1 bash -c 'folder=$0
    mkdir -p "$(dirname "$folder")"
    if [[ -f $folder/config.toml ]]; then set -- --resume; fi
    echo "$folder" >&2
    fst cycle --out "$folder" "$@" 2>>"$folder.log" || { tail -n 3 "$folder.log" >&2; exit 255; }'
}
