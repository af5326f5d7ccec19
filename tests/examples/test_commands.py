"""Every command of the README and every example of a --help runs beside the files that it names; runs are made shorter."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands.test_docs import command_lines
from tests.commands.test_help import ROOT
from tests.examples.test_experiments import SHORT

pytestmark = pytest.mark.slow  # a process a command; run with: pytest -m slow
STANDS_FOR = {
    "RUN": "runs/first", "RUNS": "runs/rl runs/fst", "FST": "runs/fst", "RL": "runs/rl", "NAME": "math",
    "Y": "codeio", "A,B,C": "math,codeio", "N": "1 --cycles 2",
}  # fmt: skip
SHORTEST = SHORT.replace("--steps-per-cycle 2", "--steps-per-cycle 1").replace("eval.every=1", "eval.every=0")
ELSEWHERE = ("fst fetch-model", "fst cycle --task math --out runs/first")  # a download; tests/cycle/test_demo.py


def runnable():
    """The command lines with what they need; not those that a table only names."""
    readme = [line.partition(": ")[2] for line in command_lines() if line.startswith("README.md: ")]
    helps = [re.search(r"Example: (.*?)(?:\n\n|$)", command.help, re.DOTALL)[1] for command in ROOT.values()]
    found = {" ".join(line.split()) for line in [*readme, *helps]}
    return sorted(line for line in found if line.removeprefix("fst ") not in ROOT and not line.startswith(ELSEWHERE))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a short run of each kind, and its files under the names that the documents use."""
    folder = tmp_path_factory.mktemp("made")
    fst(f"cycle --task math --out runs/first {SHORTEST} --cycles 2", folder)
    fst(f"cycle --task math --no-fast --out runs/rl {SHORTEST}", folder)
    runs = folder / "runs"
    shutil.copytree(runs / "first", runs / "fst")
    for method in ("fst", "rl"):
        shutil.copytree(runs / method, runs / "math" / method)
    first, step = runs / "first", runs / "first/cycle-000/step-00"
    for path in (first / "seed.jsonl", first / "data/test.jsonl", first / "cycle-000/prompts.jsonl"):
        shutil.copy(path, folder)
    for path in (*step.glob("rollouts.*"), *first.glob("cycle-000/evolve/evaluations.*")):
        shutil.copy(path, folder)
    shutil.copytree(step, folder / "step-00")
    shutil.copy(first / "data/train.jsonl", folder / "problems.jsonl")
    return folder


def fst(line, folder):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", f"fst {line}"], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{line}\n{done.stderr[-2000:]}"
    return done.stdout


@pytest.mark.parametrize("line", runnable())
def test_a_command_of_the_documents_runs_as_it_is_written(line, made, tmp_path):
    shutil.copytree(made, tmp_path / "here")
    words = " ".join(STANDS_FOR.get(word, word) for word in line.removeprefix("fst ").split())
    if words.startswith("cycle "):
        words = f"cycle {SHORTEST} --out out {words.removeprefix('cycle ')}"
    if words.startswith("evolve-prompts "):
        words += " --budget 24 --anchor 4 --minibatch 2"
    named = re.search(r"(?:-o|--out) (\S+)", words)
    written = tmp_path / "here" / named[1] if named else None
    if written and written.exists():
        shutil.move(written, tmp_path)
    printed = fst(words, tmp_path / "here")
    assert written.exists() if written else printed
