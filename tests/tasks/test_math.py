import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fst_cli.data.errors import DataError
from fst_cli.tasks import arithmetic, math
from fst_cli.tasks.arithmetic import Step
from fst_cli.tasks.base import boxed_solution
from fst_cli.tasks.math import MathOptions


def draw(split="train", count=1, seed=0, **options):
    if "data" in options:
        options["data"] = str(options["data"])
    return list(math.problems(MathOptions(**options), split, count, seed))


@given(st.sampled_from("+-*"), st.integers(0, 9999), st.integers(0, 9999))
def test_every_column_of_a_worked_operation_is_true(op, a, b):
    a, b = (max(a, b), min(a, b)) if op == "-" else (a, b % 10 if op == "*" else b)
    *columns, result = arithmetic.worked([Step(op, a, b)]).split(". ")
    assert result == f"{a}{op}{b}={Step(op, a, b).result}"
    written = ""
    for column in columns:
        for equation in column.partition(" carry ")[0].partition(" borrow ")[0].split(" "):
            left, _, right = equation.partition("=")
            assert eval(left) == int(right), column
        written = str(int(column.partition(" carry ")[0].partition(" borrow ")[0].split("=")[-1]) % 10) + written
    assert str(Step(op, a, b).result)[-len(columns) :].zfill(len(columns)) == written


@given(st.integers(0, 10**6), st.integers(1, 4))
def test_stories_and_expressions_hold_their_numbers(seed, difficulty):
    question, steps = arithmetic.draw(random.Random(seed), difficulty)
    assert all(step.result >= 0 and step.a >= 0 and step.b >= 0 for step in steps)
    assert str(steps[0].a) in question and str(steps[0].b) in question and str(steps[-1].b) in question
    assert len(steps) == 1 or steps[1].a == steps[0].result


@pytest.mark.parametrize("seeds", [(0, 0), (0, 1), (7, 0)])
def test_train_and_test_never_share_a_question(seeds):
    train = {p.messages[0].content for p in draw("train", 600, seeds[0], difficulty=1)}
    test = {p.messages[0].content for p in draw("test", 150, seeds[1], difficulty=1)}
    assert len(train) == 600 and len(test) == 150 and not train & test


def test_the_worked_solution_is_right_and_needs_no_worker():
    for problem in draw(count=50, difficulty=3):
        assert math.score(problem, boxed_solution(problem)).success


@pytest.mark.parametrize(
    ("gold", "reply", "failure", "said"),
    [
        ("42", "\\boxed{42 dollars}", "wrong_format", "the right value, but not the value alone"),
        ("42", "\\boxed{}", "wrong_format", "The box is empty."),
        ("42", "\\boxed{-42}", "wrong_value", ": the sign is wrong."),
        ("42", "\\boxed{43}", "wrong_value", ": it is off by one."),
        ("42", "\\boxed{4200}", "wrong_value", ": it is off by a power of ten."),
        ("42", "\\boxed{50}", "wrong_value", ": it is too large."),
        ("1,200", "\\boxed{1000}", "wrong_value", ": it is too small."),
        ("42", "6*7=41 so \\boxed{41}", "wrong_value", "This step is wrong: 6*7=41"),
        ("x+1", "\\boxed{x}", "wrong_value", "which is not the right value."),
        ("42", "<think>\\boxed{42}", "no_box", "There is no \\boxed{}"),
    ],
)
def test_feedback_says_what_is_wrong(gold, reply, failure, said):
    problem = draw()[0].model_copy(update={"answer": gold})
    found = math.score(problem, reply)
    assert (found.reward, found.failure, found.status) == (0.0, failure, "ok")
    assert said in found.feedback


def test_feedback_names_the_failure_and_never_the_gold_answer():
    problem = next(p for p in draw(count=20) if p.answer not in p.messages[0].content and len(p.answer) > 1)
    missing = math.score(problem, f"it is {problem.answer}")
    wrong = math.score(problem, "\\boxed{4711}")
    assert (missing.failure, wrong.failure) == ("no_box", "wrong_value")
    assert "right value appears" in missing.feedback
    assert problem.answer not in missing.feedback + wrong.feedback


def test_own_data_in_gsm8k_form_is_split_by_its_text(tmp_path):
    path = tmp_path / "own.jsonl"
    rows = [{"question": f"How much is {i} and {i}?", "answer": f"{i}+{i}={2 * i}\n#### {2 * i}"} for i in range(60)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    train, test = draw("train", 20, data=path), draw("test", 5, seed=9, data=path)
    assert not {p.id for p in train} & {p.id for p in test}
    assert all(math.score(p, boxed_solution(p)).success for p in train)


@pytest.mark.parametrize(
    ("line", "said"),
    [("{", ":2: not valid JSON"), ('{"answer": 1}', ":2: question"), ('{"question": "a?"}', ":2: answer"), ("3", ":2")],
)
def test_bad_own_data_is_named_with_its_line(tmp_path, line, said):
    path = tmp_path / "own.jsonl"
    path.write_text('{"problem": "1+1?", "answer": 2}\n' + line + "\n")
    with pytest.raises(DataError, match=said):
        draw(data=path)


def test_too_few_own_problems_is_a_data_error(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text('{"problem": "1+1?", "answer": 2}\n')
    with pytest.raises(DataError, match="asked for"):
        draw(count=5, data=path)
