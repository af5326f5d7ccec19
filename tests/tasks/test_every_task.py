"""What every task promises: right answers score 1, hostile and wrong ones 0 with a reason, and splits are disjoint."""

import time

import pytest

from fst_cli.data.records import Problem
from fst_cli.tasks.registry import get_task, task_options, tasks
from tests.grading import levels

TASKS = [*tasks(), "gym:chain_sum"]
BOX, TAGS, FENCE = "\\boxed{{{}}}", "<answer>{}</answer>", "```\n{}\n```"
PROGRAM = "```python\n{}\n```"
CODE = ("humaneval", "mbpp", "apps", "livecodebench")
FRAMES = dict.fromkeys(CODE, PROGRAM) | {
    "hover-2hop": FENCE,
    "choice": TAGS,
    "physics": TAGS,
    "gpqa": TAGS,
    "gym:chain_sum": TAGS,
    "hover": FENCE,
    "hover-hard": FENCE,
}
OTHER_DIGITS = str.maketrans("0123456789", "०१२३४५६७८९")


def draw(name, options, split="train", count=10, seed=0):
    task = get_task(name)
    return task, list(task.problems(task_options(task, options[name]), split, count, seed))


def gold(name, problem):
    if name == "livecodebench":  # whose rows have no solution
        [[(given,), expected]] = problem.meta["tests"]
        return f"class Solution:\n    def add(self, x):\n        return x + {expected - given}"
    return " ".join(problem.meta["missing"]) if name.startswith("hover") else problem.answer


def skip_without(name):
    if name in CODE or name.startswith("gym:"):
        levels.need_isolation()
    if name.startswith("gym:"):
        pytest.importorskip("reasoning_gym", reason="needs reasoning-gym: pip install 'fst-cli[gym]'")


@pytest.mark.parametrize("name", TASKS)
def test_right_answers_score_one(name, task_options_of):
    skip_without(name)
    task, problems = draw(name, task_options_of)
    for problem in problems:
        assert isinstance(problem, Problem)
        found = task.score(problem, f"Let me see.\n{FRAMES.get(name, BOX).format(gold(name, problem))}")
        assert (found.reward, found.success, found.status) == (1.0, True, "ok"), found
        worked = task.worked_solution(problem)
        assert worked is None or task.score(problem, worked).success


def hostile(frame, right):
    """Replies that must not be rewarded, by what they try."""
    marked = frame.format(right)
    return {
        "empty": "",
        "right, then others": f"{marked} no, {frame.format('no such answer')} or {frame.format('nor such')}",
        "in thoughts": f"<think>{marked}</think>Done.",
        "in open thoughts": f"<think>{marked}",
        "nothing marked": frame.format(""),
        "huge number": frame.format("9" * 5000),
        "tower": frame.format("9**9**9**9"),
        "nested braces": frame.format("{" * 3000 + "}" * 3000),
        "other digits": frame.format(f"{right.translate(OTHER_DIGITS)}०"),
        "a megabyte": frame.format("x" * 1_000_000),
        "control characters": frame.format("\x00\x1b[2J\u202e"),
        "every answer": frame.format(" ".join(f"{number} " for number in range(2000))),
        "only said": f"The answer is {right}, I think.",
        "code": frame.format("__import__('os')._exit(0)"),
    }


@pytest.mark.parametrize("name", TASKS)
def test_hostile_replies_score_zero_with_a_reason(name, task_options_of):
    skip_without(name)
    task, problems = draw(name, task_options_of, count=2)
    for problem in problems:
        for kind, reply in hostile(FRAMES.get(name, BOX), gold(name, problem)).items():
            started = time.monotonic()
            found = task.score(problem, reply)
            assert (found.reward, found.success) == (0.0, False), (kind, found)
            assert 10 < len(found.feedback) < 2000 and found.failure, (kind, found)
            assert found.failure in task.remedies or found.status != "ok", (kind, found)
            assert time.monotonic() - started < 60, kind  # a hang, not a speed


@pytest.mark.parametrize("name", TASKS)
def test_train_and_test_share_no_problem_whatever_the_seeds(name, task_options_of):
    skip_without(name)
    _, train = draw(name, task_options_of, "train", 40, seed=0)
    _, test = draw(name, task_options_of, "test", 10, seed=1)
    texts = [{problem.messages[-1].content for problem in problems} for problems in (train, test)]
    assert len(texts[0]) == 40 and len(texts[1]) == 10 and not texts[0] & texts[1]
    assert len({problem.id for problem in train}) == 40


@pytest.mark.parametrize("name", TASKS)
def test_the_same_seed_gives_the_same_problems(name, task_options_of):
    skip_without(name)
    assert draw(name, task_options_of, count=5)[1] == draw(name, task_options_of, count=5)[1]
