import pytest

from fst_cli.tasks import math_python
from fst_cli.tasks.math import MathOptions, problems
from fst_cli.tasks.math_python import respond
from fst_cli.tasks.registry import get_task
from tests.grading import levels


@pytest.fixture(autouse=True)
def isolated():
    levels.need_isolation()


@pytest.fixture(scope="module")
def problem():
    return next(problems(MathOptions(), "train", 1, 0))


def turn(source):
    return f"I calculate.\n```python\n{source}\n```"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("print(6 * 7)", "42"),
        ("x = 1", "The program printed nothing."),
        ("print(1)\nprint(1 / 0)", "1\nZeroDivisionError: division by zero in line 2"),
        ("print(", "SyntaxError: '(' was never closed in line 1"),
        ("raise SystemExit(3)", "SystemExit: exit status 3"),
    ],
)
def test_what_a_program_prints_or_raises_comes_back(problem, source, said):
    assert respond(problem, [turn(source)]) == said


def test_a_long_output_is_cut_and_an_endless_program_is_stopped(problem, monkeypatch):
    shown = respond(problem, [turn("print('x' * 10_000)")])
    assert shown.startswith("x" * 2000) and shown.endswith("[... 8000 more characters]")
    monkeypatch.setattr(math_python, "LIMITS", math_python.LIMITS.__class__(wall=0.5))
    assert respond(problem, [turn("while True: pass")]) == "The program was stopped: timeout"


@pytest.mark.parametrize(
    "text", ["no program", turn("print(1)") + "\nSo \\boxed{1}", "```python\nprint(1)", "<think>" + turn("print(1)")]
)
def test_a_turn_with_an_answer_or_without_a_program_is_the_last(problem, text):
    assert respond(problem, [text]) is None


def test_only_the_last_turn_is_run(problem):
    assert respond(problem, [turn("print(1)"), turn("print(2)")]) == "2"


def test_a_tool_that_prints_the_answer_earns_nothing_until_the_model_says_it(problem):
    task = get_task("math-python")
    assert task.max_turns > 1 and task.respond is respond
    assert not task.score(problem, turn(f"print({problem.answer})")).success
    assert task.score(problem, f"{turn('print(1)')}\n\n\\boxed{{{problem.answer}}}").success
