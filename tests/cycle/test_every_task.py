"""A short cycle on every task with the mini, whose rewards may be 0."""

import pytest

from fst_cli.data import jsonl
from fst_cli.data.records import Rollout
from fst_cli.tasks.registry import tasks
from tests.grading import levels

# The mini reads a thousand tokens, and has no words for most of this.
SMALL = [
    "cycles=1", "steps_per_cycle=1", "problems_per_step=2", "max_tokens=48", "fast.k=1", "fast.budget=6",
    "fast.anchor=2", "fast.minibatch=2", "fast.max_examples=0", "slow.group_size=2", "eval.problems=2",
    "eval.samples=1", "eval.kl_problems=1",
]  # fmt: skip
ONE_OF_A_KIND = [
    "math", "math-python", "stargraph", "codeio", "hover", "hover-2hop", "physics", "mbpp", "gym:chain_sum"
]  # fmt: skip


@pytest.mark.parametrize(
    "name",  # the others differ in their data; run all with: pytest -m 'long or not long' tests/cycle/test_every_task.py
    [pytest.param(n, marks=() if n in ONE_OF_A_KIND else pytest.mark.long) for n in [*tasks(), "gym:chain_sum"]],
)
def test_a_short_cycle_runs_to_its_end(fst_here, tmp_path, task_options_of, name):
    if name in ("humaneval", "mbpp", "apps", "livecodebench") or name.startswith("gym:"):
        levels.need_isolation()
    if name.startswith("gym:"):
        pytest.importorskip("reasoning_gym", reason="needs reasoning-gym: pip install 'fst-cli[gym]'")
    options = [f"task_options.{key}={value}" for key, value in task_options_of[name].items()]
    done = fst_here("cycle", "--task", name, "--out", "run", *(f"--set={pair}" for pair in [*SMALL, *options]))
    assert done.returncode == 0, done.stderr
    rollouts = jsonl.read_all(tmp_path / "run/cycle-000/step-00/rollouts.jsonl", Rollout)
    assert len(rollouts) == 4
    for rollout in rollouts:
        assert rollout.score.status == "ok" and rollout.score.feedback
    assert (tmp_path / "run/grid.jsonl").exists() and (tmp_path / "run/kl.jsonl").exists()
