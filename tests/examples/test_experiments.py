"""The experiments' scripts run: in a short mode, or as far as their plans."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SHORT = " ".join(
    [
        "--cycles 1 --steps-per-cycle 2 --set problems_per_step=4 --set max_tokens=48 --set fast.anchor=4",
        "--set fast.budget=24 --set fast.minibatch=2 --set fast.k=2 --set slow.group_size=4",
        "--set eval.problems=6 --set eval.samples=2 --set eval.kl_problems=3 --set eval.every=1",
    ]
)


def script(name, out, cwd, **settings):
    """Run an example; what it wrote to standard error."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "SEEDS": "0", "JOBS": "1", **settings}
    command = [str(EXAMPLES / name), str(out)]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.sh")))
def test_a_script_is_sound_and_says_what_it_is_for(name):
    subprocess.run(["bash", "-n", str(EXAMPLES / name)], check=True)
    head = (EXAMPLES / name).read_text().splitlines()[:6]
    assert head[1 if head[0].startswith("#!") else 0].startswith("# ")


@pytest.mark.long  # a dozen short runs, about two minutes; run with: pytest -m long
def test_the_headline_runs_stops_and_goes_on(tmp_path):
    settings = {"TASKS": "math codeio", "SWITCH": "2", "MEASURE": "", "SETTINGS": SHORT}
    script("headline.sh", "out", tmp_path, **settings)
    folder = tmp_path / "out"
    assert (folder / "report/index.html").exists()
    fst = json.loads((folder / "compare/math.json").read_text())
    assert fst["arms"] == ["fst", "rl"] and fst["tasks"]["math"]["final"]["fst"]["updates"] == [2]
    stages = json.loads((folder / "compare/continual.json").read_text())["stages"]
    assert [stage["task"] for stage in stages] == ["math", "codeio"]
    assert json.loads((folder / "compare/math-to-codeio-fst.json").read_text())["tasks"].keys() == {"codeio"}
    assert (folder / "math-to-codeio/fst/seed-0/grid.jsonl").exists()
    lost = folder / "codeio/rl/seed-0/cycle-000/step-01"
    before = (lost / "rollouts.jsonl").read_bytes()
    (lost / "rollouts.stage.json").unlink()
    said = script("efficiency.sh", "out", tmp_path, **settings)
    assert said.splitlines() == [f"out/{t}/{m}/seed-0" for t in ("math", "codeio") for m in ("rl", "fst", "gepa")]
    assert (lost / "rollouts.stage.json").exists() and (lost / "rollouts.jsonl").read_bytes() == before


@pytest.mark.slow  # a process a configuration; run with: pytest -m slow
def test_every_ablation_is_a_configuration_that_can_run(tmp_path):
    said = script("ablations.sh", "out", tmp_path, TASKS="math", SETTINGS="--dry-run", JOBS="2")
    folders = [line for line in said.splitlines() if line.startswith("out/math/")]
    assert len(folders) == 9 and all((tmp_path / f"{folder}.log").stat().st_size == 0 for folder in folders)
