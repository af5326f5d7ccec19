"""A thousand hostile answers through the graders of every kind: bounded time, no hang, no crash, statuses counted."""

import collections
import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from fst_cli.tasks.registry import get_task, task_options
from tests.grading import levels

TOWERS = ["9^{9^{9}}", "10^{10^{10^{10}}}", "9**9**9**9", "((9!)!)!", "2^{2^{2^{2^{99}}}}", "\\binom{10^{20}}{10^{10}}"]
LATEX = [
    "\\frac{1}{" * 200 + "1" + "}" * 200,
    "\\sqrt{" * 300 + "2" + "}" * 300,
    "\\left(" * 500,
    "{" * 900,
    "\\frac" * 400,
]
LATEX += ["\\sum_{i=1}^{10^{9}} i^{i}", "\\int_0^1 x^{x^{x}} dx", "\\lim_{x\\to0}\\frac{\\sin x}{x}", "x" * 1999]
TEXTS = [
    "\x00" * 50,
    "\u202e123",
    "𝟙𝟚",
    "１２",
    "<|end|>",
    "\\boxed{" * 50,
    "nan",
    "inf",
    "-0",
    "1e999999",
    "1/0",
    "0x10",
]
CODE = [
    "__import__('os').system('touch /tmp/owned')",
    "exec('while True: pass')",
    "().__class__.__bases__[0].__subclasses__()",
]
PROGRAMS = [
    "while True: pass", "import os\nwhile True: os.fork()", "x = ' ' * 10**11", "x = 9**9**9", "import sys\nsys.exit(0)",
    "import socket\nsocket.create_connection(('127.0.0.1', 22), 1)", "open('/etc/passwd').read()", "open('/root/x', 'w')",
    "import os\nos.kill(-1, 9)", "def add(x):\n    raise SystemExit", "def add(x):\n    return [add] * 10**7",
    "import threading\nfor _ in range(10**6): threading.Thread(target=__import__('time').sleep, args=(9,)).start()",
    "class E:\n    def __eq__(self, other): return True\ndef add(x):\n    return E()", "print('x' * 10**9)", "(" * 10**5,
]  # fmt: skip


def _cases(task_options_of, count):
    """(task, problem, reply) in a mixed order."""
    rng = random.Random(0)
    kinds = {
        "math": ("\\boxed{{{}}}", TOWERS + LATEX + TEXTS + CODE),
        "codeio": ("```\n{}\n```", LATEX + TEXTS + CODE + ["[" * 9999, "9" * 9999, "-" * 9999 + "1", "9**9**9"]),
        "choice": ("<answer>{}</answer>", TEXTS + CODE),
        "hover": ("```\n{}\n```", TEXTS + CODE + ["Person " * 60]),
        "mbpp": ("```python\n{}\n```", PROGRAMS),
        "apps": ("```python\n{}\n```", PROGRAMS),
    }
    cases = []
    for name, (frame, answers) in kinds.items():
        task = get_task(name)
        options = task_options(
            task, task_options_of[name] | ({"seconds": 0.3} if "seconds" in task_options_of[name] else {})
        )
        problems = list(task.problems(options, "train", 4, 0))
        cases += [(task, rng.choice(problems), frame.format(answer)) for answer in answers]
    return [cases[index] for index in (rng.randrange(len(cases)) for _ in range(count))]


@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=pytest.mark.long)])
def test_no_hostile_answer_is_rewarded_or_holds_the_graders_up(task_options_of, count, tmp_path):
    levels.need_isolation()
    cases = _cases(task_options_of, count)
    started = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        scores = list(pool.map(lambda case: case[0].score(case[1], case[2]), cases))
    statuses = collections.Counter(score.status for score in scores)
    print(f"{count} hostile answers in {time.monotonic() - started:.1f} s: {dict(statuses)}")
    assert all(score.reward == 0 and score.feedback for score in scores)
    assert statuses["ok"] > 0.8 * count and statuses["error"] == 0
    assert time.monotonic() - started < 2 * count  # two seconds each, on a crowded machine
