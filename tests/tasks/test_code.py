import base64
import json
import pickle
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from fst_cli.data.errors import DataError
from fst_cli.data.records import Message, Problem
from fst_cli.tasks import code, code_rows
from fst_cli.tasks.code import REMEDIES, extract_program, score
from fst_cli.tasks.registry import get_task, task_options
from tests.grading import levels

LIMITS = {"wall": 0.5}
CHECK = {
    "kind": "check",
    "entry": "double",
    "test": "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(17) == 34\n",
    "prelude": "import math\ndef double(x):\n    pass\n",
}
ASSERTS = {"kind": "asserts", "tests": ["assert double(2) == 4", "assert double('a') == 'aa'"]}
STDIN = {"kind": "stdin", "tests": [["2\n", "4\n"], ["17\n", "34"]]}
CALLS = {
    "kind": "calls",
    "function": "Solution().double",
    "tests": [[[2], 4], [[[1]], [1, 1]]],
    "prelude": code_rows.IMPORTS,
}
KINDS = {"check": CHECK, "asserts": ASSERTS, "stdin": STDIN, "calls": CALLS}
RIGHT = {
    "check": "def double(x): return 2 * x",
    "asserts": "def double(x): return 2 * x",
    "stdin": "print(2 * int(input()))",
    "calls": "class Solution:\n    def double(self, x: List[int]): return 2 * x",
}


@pytest.fixture(autouse=True)
def _sandboxed(monkeypatch):
    levels.use(levels.best(), monkeypatch)


def problem(meta, **more):
    return Problem(
        id="p",
        task="code",
        split="train",
        messages=[Message(role="user", content="Double it.")],
        answer="",
        meta={"limits": LIMITS, **meta, **more},
    )


def reply(source):
    return f"I think.\n```python\n{source}\n```\nDone."


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("```python\nx\n```", "x\n"),
        ("```\nx\n```", "x\n"),
        ("```py\na\n```\nor\n```python\nb\n```", "b\n"),
        ("```python\na\n```\n```text\nout\n```", "a\n"),
        ("```python\na\n```\n```python\nunclosed", "a\n"),
        ("```python\nunclosed", None),
        ("<think>```python\na\n```</think> no", None),
        ("<think>```python\na\n```</think>\n```python\nb\n```", "b\n"),
        ("  ```python\n  a\n  ```", "a\n"),
        ("```python\r\na\r\n```\r\n", "a\n"),
        ('```python\nx = "```"\n```', 'x = "```"\n'),
        ("def f(): pass", None),
        ("", None),
    ],
)
def test_the_last_closed_block_is_the_program(text, program):
    assert extract_program(text) == program


def test_a_bare_program_counts_where_it_defines_the_function():
    assert extract_program("def f(): pass", "f") == "def f(): pass"
    assert extract_program("def g(): pass", "f") is None
    assert extract_program("The answer is def f", "f") is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_right_program_scores_one(kind):
    found = score(problem(KINDS[kind]), reply(RIGHT[kind]))
    assert (found.reward, found.success, found.failure, found.status) == (1.0, True, None, "ok"), found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("change", "failure"),
    [
        (lambda s: s.replace("2 *", "3 *"), "wrong_answer"),
        (lambda s: s.replace("2 *", "1 // 0 *"), "runtime_error"),
        (lambda s: s.replace("2 *", "nothing *"), "runtime_error"),
        (lambda s: s + ")", "syntax_error"),
        (lambda s: "while True: pass\n" + s, "timeout"),
        (lambda s: "x = bytes(1 << 40)\n" + s, "memory"),
    ],
)
def test_a_wrong_program_scores_zero_and_the_failure_is_named(kind, change, failure):
    found = score(problem(KINDS[kind]), reply(change(RIGHT[kind])))
    assert (found.reward, found.failure, found.status) == (0.0, failure, "ok"), found
    assert REMEDIES[failure]


def test_no_program_is_named():
    found = score(problem(STDIN), "no idea")
    assert (found.failure, found.status) == ("no_program", "ok")


@pytest.mark.parametrize("kind", KINDS)
def test_feedback_has_input_and_output_and_the_expected_value_only_if_asked(kind):
    wrong = (
        RIGHT[kind].replace("2 *", "0 + 0 *") if kind == "stdin" else RIGHT[kind].replace("2 * x", "x + x + (x == 17)")
    )
    meta = json.loads(json.dumps(KINDS[kind]))
    if kind != "stdin":
        meta["tests"] = {"asserts": ["assert double(17) == 34"], "calls": [[[17], 34]]}.get(kind)
        meta = {name: value for name, value in meta.items() if value is not None}
    hidden, shown = score(problem(meta), reply(wrong)), score(problem(meta, reveal=True), reply(wrong))
    assert ("35" in hidden.feedback and "17" in hidden.feedback) or kind == "stdin"
    assert "34" not in hidden.feedback
    assert ("34" if kind != "stdin" else "4") in shown.feedback


def test_feedback_names_error_and_line():
    found = score(problem(CHECK), reply("def double(x):\n    return x[0]"))
    assert found.feedback == "double(2): raised TypeError: 'int' object is not subscriptable in line 2."


def test_a_broken_test_is_ungraded_not_wrong():
    found = score(problem({**ASSERTS, "tests": ["assert x.y"], "setup": "1 / 0"}), reply("x = 1"))
    assert (found.reward, found.failure, found.status) == (0.0, "ungraded", "error")


def test_it_serves_several_threads():
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda kind: score(problem(KINDS[kind]), reply(RIGHT[kind])).reward, list(KINDS) * 3))
    assert found == [1.0] * 12


def test_a_humaneval_row_is_graded_with_its_helpers():
    row = {
        "task_id": "HumanEval/x",
        "prompt": 'import math\n\ndef half(x):\n    return x / 2\n\ndef twice_half(x: float):\n    """Twice the half."""\n',
        "entry_point": "twice_half",
        "canonical_solution": "    return 2 * half(x)\n",
        "test": "def check(candidate):\n    for x in range(3):\n        assert math.isclose(candidate(x), 2 * half(x))\n",
    }
    question, meta = code_rows.humaneval(row)
    assert "twice_half" in question and "check(" not in question
    assert score(problem(meta), reply(meta["solution"])).success
    assert score(problem(meta), reply("def twice_half(x): return 2 * half(x)")).success
    assert score(problem(meta), reply("def twice_half(x): return x + 1")).failure == "wrong_answer"


def test_an_mbpp_row_shows_its_tests_and_not_the_challenges():
    row = {
        "text": "Write a function to add.",
        "code": "def add(a, b):\r\n  return a + b",
        "task_id": 1,
        "test_setup_code": "",
        "test_list": ["assert add(1, 2) == 3"],
        "challenge_test_list": ["assert add(-1, 1) == 0"],
    }
    question, meta = code_rows.mbpp(row)
    assert "add(1, 2)" in question and "add(-1, 1)" not in question
    assert score(problem(meta), reply(meta["solution"])).success
    assert not score(problem(meta), reply("def add(a, b): return 3")).success


def test_apps_rows_of_both_kinds():
    plain = {
        "question": "Double.",
        "input_output": json.dumps({"inputs": ["2\n", ["3"]], "outputs": ["4\n", ["6"]]}),
        "starter_code": "",
        "solutions": json.dumps(["print(2 * int(input()))"]),
    }
    _, meta = code_rows.apps(plain)
    assert score(problem(meta), reply(meta["solution"])).success
    calls = {
        **plain,
        "input_output": json.dumps({"fn_name": "double", "inputs": [[2]], "outputs": [[4]]}),
        "solutions": "",
    }
    question, meta = code_rows.apps({**calls, "starter_code": "class Solution:\n    def double(self, x):"})
    assert meta["function"] == "Solution().double" and "Start from" in question and "solution" not in meta
    assert score(problem(meta), reply(RIGHT["calls"])).success


def livecodebench_row(private, kind="stdin"):
    public = {"input": "2\n", "output": "4\n", "testtype": kind}
    return {
        "question_content": "Double.",
        "starter_code": "class Solution:\n    def double(self, x):" if kind == "functional" else "",
        "public_test_cases": json.dumps([public]),
        "private_test_cases": private,
        "metadata": json.dumps({"func_name": "double"}),
    }


@pytest.mark.parametrize("kind", ["stdin", "functional"])
@pytest.mark.parametrize("packed", [True, False])
def test_livecodebench_rows_with_private_tests_in_both_forms(kind, packed):
    private = json.dumps([{"input": "17", "output": "34", "testtype": kind}])
    if packed:
        private = base64.b64encode(zlib.compress(pickle.dumps(private))).decode()
    _, meta = code_rows.livecodebench(livecodebench_row(private, kind))
    assert len(meta["tests"]) == 2
    right = RIGHT["stdin" if kind == "stdin" else "calls"]
    assert score(problem(meta), reply(right)).success
    assert not score(problem(meta), reply(right.replace("2 *", "3 *"))).success


class _Evil:
    def __reduce__(self):
        return (print, ("ran",))


@pytest.mark.parametrize("payload", [_Evil(), [1], b"x"])
def test_a_pickle_of_anything_but_text_is_refused_and_never_run(payload, capsys):
    private = base64.b64encode(zlib.compress(pickle.dumps(payload))).decode()
    with pytest.raises(DataError, match="private_test_cases"):
        code_rows.livecodebench(livecodebench_row(private))
    assert "ran" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("parser", "row"),
    [
        (code_rows.humaneval, {}),
        (code_rows.mbpp, {"text": "x"}),
        (code_rows.apps, {"question": "x", "input_output": "{"}),
        (code_rows.apps, {"question": "x", "input_output": '{"inputs": [1], "outputs": []}'}),
        (code_rows.livecodebench, {"question_content": "x"}),
        (code_rows.livecodebench, livecodebench_row("!not base64!")),
    ],
)
def test_a_bad_row_is_a_data_error(parser, row):
    with pytest.raises(DataError):
        parser(row)


def test_every_failure_has_a_few_remedies():
    assert set(REMEDIES) == {"no_program", "syntax_error", "runtime_error", "wrong_answer", "timeout", "memory"}
    assert all(2 <= len(sentences) <= 5 for sentences in REMEDIES.values())
    assert "```python" in code.SEED_PROMPT


def test_problems_whose_own_solution_fails_can_be_left_out(tmp_path):
    rows = [
        {"text": f"add {i}", "code": f"def f(x):\n    return x + {i + i % 2}", "test_list": [f"assert f(1) == {i + 1}"]}
        for i in range(6)
    ]
    path = tmp_path / "mbpp.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = get_task("mbpp")
    options = task_options(task, {"test_data": str(path), "verify": True})
    assert {problem.messages[0].content[:5] for problem in task.problems(options, "test", 3, 0)} == {
        "add 0",
        "add 2",
        "add 4",
    }
    with pytest.raises(DataError, match="holds 3"):
        list(task.problems(options, "test", 4, 0))


def test_a_row_without_tests_is_a_hole_and_a_broken_one_is_named(tmp_path):
    path = tmp_path / "apps.jsonl"
    good = {"question": "q", "input_output": json.dumps({"inputs": ["1"], "outputs": ["1"]}), "solutions": ""}
    task = get_task("apps")
    options = task_options(task, {"test_data": str(path)})
    path.write_text("".join(json.dumps(row) + "\n" for row in [good | {"input_output": ""}, good]))
    assert len(list(task.problems(options, "test", 1, 0))) == 1
    path.write_text(json.dumps(good | {"input_output": "{"}) + "\n")
    with pytest.raises(DataError, match=r"apps.jsonl:1: `input_output` is not JSON"):
        list(task.problems(options, "test", 1, 0))
