import json

import pytest

from fst_cli.data.errors import DataError
from fst_cli.tasks import codeio
from fst_cli.tasks.base import boxed_solution
from fst_cli.tasks.codeio import CodeIOOptions
from tests.grading import levels


def draw(split="train", count=1, seed=0, **options):
    return list(codeio.problems(CodeIOOptions(**options), split, count, seed))


def test_expressions_are_worked_out_and_their_value_is_json():
    for problem in draw(count=60, source="expressions"):
        expression = problem.messages[0].content.splitlines()[1]
        assert json.loads(problem.answer) == eval(expression)
        assert codeio.score(problem, boxed_solution(problem)).success


def test_an_answer_may_be_written_as_python_or_json():
    problem = draw(source="expressions")[0].model_copy(update={"answer": '["a", true]'})
    for reply in (
        "\\boxed{['a', True]}",
        '```json\n["a", true]\n```',
        '<answer>["a", true]</answer>',
        'So:\n["a", true]',
    ):
        assert codeio.score(problem, reply).success
    assert codeio.score(problem, "\\boxed{['a', 1]}").feedback == "At [1]: 1 is not right; a bool was expected."
    assert codeio.score(problem, "it is that").failure == "no_value"


def test_the_right_value_is_only_said_with_reveal():
    plain, told = (draw(source="expressions", reveal=reveal)[0] for reveal in (False, True))
    plain, told = (problem.model_copy(update={"answer": "4711"}) for problem in (plain, told))
    assert "4711" not in codeio.score(plain, "\\boxed{5}").feedback
    assert "4711" in codeio.score(told, "\\boxed{5}").feedback


def test_a_row_in_cruxevals_form_asks_for_the_value_of_its_call(tmp_path):
    levels.need_isolation()
    path = tmp_path / "crux.jsonl"
    rows = [
        {"code": f"def f(x, y):\n    return (x, y, {i})", "input": "1, 'a'", "output": f"(1, 'a', {i})"}
        for i in range(30)
    ]
    rows.append({"code": "def f():\n    return {1}", "input": "", "output": "{1}"})  # a set is no JSON value
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for problem in draw(count=15, data=str(path)):
        assert "`f(1, 'a')`" in problem.messages[0].content
        assert codeio.score(problem, f"\\boxed{{{problem.answer}}}").success
    for problem in draw(count=15, data=str(path), predict="input"):
        assert "With which arguments does `f` return" in problem.messages[0].content
        assert json.loads(problem.answer) == {"x": 1, "y": "a"}
        assert codeio.score(problem, f"\\boxed{{{problem.answer}}}").success
        assert codeio.score(problem, '```\n{"x": 2, "y": "a"}\n```').failure == "wrong_input"
    kinds = {"code" in problem.meta for problem in draw(count=15, data=str(path), predict="both")}
    assert kinds == {True, False}


def test_rows_whose_input_or_value_is_no_json_are_left_out_where_inputs_are_predicted(tmp_path):
    levels.need_isolation()
    path = tmp_path / "crux.jsonl"
    rows = [
        {
            "code": "def f(x):\n    return type(x).__name__",
            "input": "(1,)",
            "output": "'tuple'",
        },  # a list, as JSON has it
        {"code": "def f(*x):\n    return 1", "input": "1", "output": "1"},
        {"code": "def f(x):\n    return 1", "input": "{1}", "output": "1"},
        {"code": "def f(x, y=2):\n    return x + y", "input": "1, y=3", "output": "4"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = {"test_data": str(path), "predict": "input"}
    [problem] = draw("test", 1, **options)
    assert json.loads(problem.answer) == {"x": 1, "y": 3}
    with pytest.raises(DataError, match="holds 1"):
        draw("test", 2, **options)


@pytest.fixture
def functions(monkeypatch):
    """Functions of the kind that reasoning-gym ships."""
    levels.need_isolation()
    codes = {
        "doubles": "def main_solution(n):\n    return {'twice': n * 2}",
        "fails": "def main_solution(n):\n    raise ValueError(n)",
        "random": "import random\ndef main_solution(n):\n    return random.random()",
        "a set": "def main_solution(n):\n    return {n}",
        "hangs": "def main_solution(n):\n    while True: pass",
        "escapes": "def main_solution(n):\n    return open('/etc/hostname').read()",
    }
    shipped = [
        {
            "task_description": name,
            "input_output_spec": "n: int",
            "code_sample": code,
            "input_generator": "def generate_inputs(random):\n    return {'n': random.randint(0, 10**6)}",
        }
        for name, code in codes.items()
    ]
    monkeypatch.setattr(codeio, "gym_functions", lambda: shipped)
    monkeypatch.setattr(codeio, "split_of", lambda *content: "train")
    return codes


def test_only_functions_with_one_json_value_for_an_input_become_problems(functions):
    problems = draw(count=6)
    assert {problem.messages[0].content.count("doubles") for problem in problems} == {1}
    for problem in problems:
        assert codeio.score(problem, f"```\n{problem.answer}\n```").success


def test_any_input_that_gives_the_value_is_right(functions):
    problem = draw(predict="input")[0]
    assert codeio.score(problem, f"\\boxed{{{problem.answer}}}").success
    given = json.loads(problem.answer)["n"]
    for reply, said in [
        ({"n": given + 1}, "returns something else"),
        ({"m": 1}, "the function fails"),
        ([given], "One JSON object"),
        ({"n": "x" * 10}, "returns something else"),
    ]:
        found = codeio.score(problem, f"```\n{json.dumps(reply)}\n```")
        assert (found.failure, found.status) == ("wrong_input", "ok") and said in found.feedback
    squares = problem.model_copy(
        update={"meta": problem.meta | {"code": "def main_solution(n):\n    return n * n", "output": "9"}}
    )
    assert all(codeio.score(squares, f"\\boxed{{{{'n': {n}}}}}").success for n in (3, -3))


def test_an_input_that_hangs_the_function_is_wrong_not_ungraded(functions):
    problem = draw(predict="input")[0]
    hanging = problem.model_copy(
        update={"meta": problem.meta | {"code": "def main_solution(n):\n    while True: pass"}}
    )
    found = codeio.score(hanging, "\\boxed{{'n': 1}}")
    assert (found.reward, found.failure, found.status) == (0.0, "wrong_input", "ok")


def test_reasoning_gyms_own_functions_are_split_by_function():
    levels.need_isolation()
    pytest.importorskip("reasoning_gym", reason="needs reasoning-gym: pip install 'fst-cli[gym]'")
    train, test = draw("train", 6), draw("test", 4, seed=1)
    places = [{problem.id.split("-")[1] for problem in problems} for problems in (train, test)]
    assert not places[0] & places[1]
    for problem in [*train, *test]:
        assert codeio.score(problem, f"```json\n{problem.answer}\n```").success
