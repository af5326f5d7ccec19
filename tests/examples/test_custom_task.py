from pathlib import Path

from fst_cli.data import jsonl
from fst_cli.data.records import Problem, Rollout

TASK = Path(__file__).parents[2] / "examples/custom_task.py"


def test_the_custom_task_runs_through_a_whole_cycle_by_its_path(fst_here, tmp_path):
    small = ["cycles=1", "steps_per_cycle=1", "problems_per_step=4", "max_tokens=24", "fast.k=1", "fast.budget=8"]
    small += ["fast.anchor=4", "fast.minibatch=2", "slow.group_size=2", "eval.problems=4", "eval.samples=1"]
    sets = [f"--set={pair}" for pair in [*small, "task_options.length=4"]]
    done = fst_here("cycle", "--task", TASK, "--out", "runs/letters", *sets)
    assert done.returncode == 0, done.stderr
    problems = jsonl.read_all(tmp_path / "runs/letters/data/train.jsonl", Problem)
    assert {problem.task for problem in problems} == {str(TASK)}  # later stages find it by this
    rollouts = jsonl.read_all(tmp_path / "runs/letters/cycle-000/step-00/rollouts.jsonl", Rollout)
    assert len(rollouts) == 8 and all(rollout.score.feedback for rollout in rollouts)


def test_its_problems_are_shown_by_generate(fst_here):
    done = fst_here("generate", "--task", TASK, "--limit", 5)
    assert done.returncode == 0 and done.stdout.count("How often does the letter") == 5
