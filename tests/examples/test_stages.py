"""examples/stages.sh writes what `fst cycle` writes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fst_cli.data.files import sha256

SCRIPT = Path(__file__).parents[2] / "examples" / "stages.sh"
SMALL = {
    "CYCLES": 2, "STEPS": 1, "EVERY": 1, "PROBLEMS": 4, "GROUP": 4, "MAX_TOKENS": 32, "K": 2, "BUDGET": 24, "ANCHOR": 4,
    "MINIBATCH": 2, "TESTS": 6, "SAMPLES": 2, "KL_PROBLEMS": 3, "OPTIONS": "--set difficulty=1",
}  # fmt: skip
KEYS = {
    "CYCLES": "cycles", "STEPS": "steps_per_cycle", "PROBLEMS": "problems_per_step", "GROUP": "slow.group_size",
    "MAX_TOKENS": "max_tokens", "K": "fast.k", "BUDGET": "fast.budget", "ANCHOR": "fast.anchor",
    "MINIBATCH": "fast.minibatch", "TESTS": "eval.problems", "SAMPLES": "eval.samples", "KL_PROBLEMS": "eval.kl_problems",
    "EVERY": "eval.every",
}  # fmt: skip
DESCRIBES = ("stage.json", "manifest.json", "metrics.jsonl", "config.toml", "train.json", "gepa.log", "run_log.txt")


def data_files(folder):
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(DESCRIBES))
    return {str(path.relative_to(folder)): sha256(path) for path in files}


@pytest.mark.slow  # two dozen processes; run with: pytest -m slow
def test_single_stages_write_the_same_files_as_the_cycle(tmp_path):
    bin_ = str(Path(sys.executable).parent)
    # One thread: how many the libraries take on a busy machine decides the last bits of a log-probability.
    os_ = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment = {**os_, "PATH": f"{bin_}:{os.environ['PATH']}", **{k: str(v) for k, v in SMALL.items()}}
    settings = [f"--set={KEYS[name]}={value}" for name, value in SMALL.items() if name in KEYS]
    cycle = [sys.executable, "-m", "fst_cli", "cycle", "--task", "math", "--out", "cycle", *settings]
    subprocess.run(
        [
            *cycle,
            "--set=task_options.difficulty=1",
        ],
        cwd=tmp_path,
        env=os_,
        check=True,
        timeout=600,
    )
    subprocess.run([str(SCRIPT), "stages"], cwd=tmp_path, env=environment, check=True, timeout=600)
    expected, found = data_files(tmp_path / "cycle"), data_files(tmp_path / "stages")
    assert found == expected and "cycle-001/step-00/weights/adapter_model.safetensors" in found


def test_its_defaults_are_the_demo_recipe():
    from fst_cli.cycle.config import make_config
    from fst_cli.cycle.recipes import recipe

    config = make_config(recipe("demo", "math", "mini"))
    text = SCRIPT.read_text()
    for name, key in KEYS.items():
        value = config
        for part in key.split("."):
            value = getattr(value, part)
        assert f"${{{name}:-{value}}}" in text, name
