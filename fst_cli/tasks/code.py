"""Programs in Python, graded by running them on tests in a sandbox.

A problem's `meta` says how, in JSON:

- `kind`: which tests there are.
  - `asserts` (MBPP): `tests`, a list of statements; `setup`, code before them.
  - `check` (HumanEval): `test`, code that defines `check(candidate)`; `entry`, the function to be written.
  - `stdin` (APPS, LiveCodeBench): `tests`, a list of [input, output].
  - `calls` (the same two): `function`, a name or `Name().method`; `tests`, a list of [arguments, expected value].
- `prelude`: code that runs before the program and the tests (imports, helpers of the question); optional.
- `reveal`: whether the feedback shows what a failed test expects; default false.
- `limits`: any of the fields of `Limits`; optional.

A problem's `answer` is a program that is right, where one is known; it is never run.
"""

import ast
import re
import textwrap
from dataclasses import replace
from typing import Any

from pydantic import Field

from fst_cli.data.errors import DataError
from fst_cli.data.records import Problem, Score
from fst_cli.grading.answers import after_thinking
from fst_cli.grading.program_tests import Finding, assert_tests, call_tests, clip, stdin_tests
from fst_cli.grading.sandbox import Limits
from fst_cli.tasks import code_rows
from fst_cli.tasks.base import Source, Task
from fst_cli.tasks.dataset import DataOptions, Draft, ReadRow, dataset_problems
from fst_cli.tasks.rows import Row

SEED_PROMPT = (
    "You are an expert Python programmer. Read the problem carefully, think about edge cases and running time, and put "
    "the whole program in one ```python block at the end of your reply."
)

REMEDIES: dict[str, list[str]] = {
    "no_program": [
        "Put the whole program in one ```python block.",
        "Finish with a closed ```python block and nothing after it.",
        "Keep the reasoning short so that the program is complete.",
    ],
    "syntax_error": [
        "Write plain Python 3, and close every bracket and quote.",
        "Put only code in the ```python block; explanations go in comments.",
        "Indent with four spaces.",
    ],
    "runtime_error": [
        "Import every module you use.",
        "Use the function names of the problem exactly.",
        "Handle empty input and the smallest values.",
        "Check every index and every division before you use it.",
        "Read the input exactly as the problem describes it.",
    ],
    "wrong_answer": [
        "Trace your program on the examples of the problem before you finish.",
        "Handle empty input, duplicates, negative numbers and the largest values.",
        "Return exactly the type that the problem asks for.",
        "Read the problem twice and follow its output format exactly.",
    ],
    "timeout": [
        "Choose an algorithm whose running time fits the largest input.",
        "Make sure that every loop ends.",
        "Use dictionaries and sets instead of searching lists.",
    ],
    "memory": [
        "Do not build lists that you only need one element of at a time.",
        "Choose an algorithm whose memory fits the largest input.",
    ],
}

_FENCE = re.compile(r"^[ \t]*```[ \t]*([\w+-]*)[^\n`]*\n(.*?)^[ \t]*```[ \t]*$", re.MULTILINE | re.DOTALL)
_PYTHON = ("python", "python3", "py", "")


def extract_program(text: str, entry: str = "") -> str | None:
    """The last closed ```python (or plain ```) block after the last `</think>`; None where there is none.

    With `entry`, a reply without a fence counts if it is a program that defines that function.
    """
    text = after_thinking(text).replace("\r\n", "\n")
    blocks = [body for language, body in _FENCE.findall(text) if language.lower() in _PYTHON]
    if blocks:
        return textwrap.dedent(blocks[-1])
    if entry and "```" not in text and entry in _defined(text):
        return text
    return None


def _defined(source: str) -> set[str]:
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    return {node.name for node in body if isinstance(node, ast.FunctionDef)}


def score(problem: Problem, text: str) -> Score:
    """1.0 where the program passes all tests, else 0.0 and the first test that fails.

    Raises RunError where the machine has no sandbox (see `fst_cli.grading.sandbox`).
    """
    meta = problem.meta
    source = extract_program(text, meta.get("entry", ""))
    if source is None:
        return _wrong("no_program", "There is no closed ```python block in the reply.")
    finding = run_tests(meta, source)
    return Score(reward=1.0, success=True, feedback="Correct.") if finding.passed else _verdict(finding, meta)


def run_tests(meta: dict[str, Any], source: str) -> Finding:
    """The first test of `meta` that a program fails. Raises RunError where the machine has no sandbox."""
    limits, prelude, kind = Limits(**meta.get("limits", {})), meta.get("prelude", ""), meta["kind"]
    if kind == "stdin":
        return stdin_tests(source, [(given, expected) for given, expected in meta["tests"]], limits)
    if kind == "calls":
        calls = [(meta["function"], args, expected) for args, expected in meta["tests"]]
        return call_tests(source, calls, limits, prelude)
    if kind == "check":
        return assert_tests(source, [meta["test"]], limits, prelude=prelude, entry=meta["entry"])
    return assert_tests(source, meta["tests"], limits, meta.get("setup", ""), prelude)


def _wrong(failure: str, feedback: str) -> Score:
    return Score(reward=0.0, success=False, failure=failure, feedback=feedback)


def _verdict(finding: Finding, meta: dict[str, Any]) -> Score:
    outcome = finding.outcome
    if outcome.status == "grader":
        feedback = f"Not graded: {outcome.message}."
        return Score(reward=0.0, success=False, failure="ungraded", feedback=feedback, status="error")
    return _wrong(_failure(finding), "\n".join(_sentences(finding, meta)))


def _failure(finding: Finding) -> str:
    outcome = finding.outcome
    if outcome.status in ("timeout", "memory"):
        return outcome.status
    if outcome.status == "ok" or outcome.error == "Unsupported":
        return "wrong_answer"
    syntax = outcome.error in ("SyntaxError", "IndentationError", "TabError") and not finding.request
    return "syntax_error" if syntax else "runtime_error"


def _sentences(finding: Finding, meta: dict[str, Any]) -> list[str]:
    """What happened, in words without the expected value unless `reveal` is set."""
    outcome = finding.outcome
    stdin = meta["kind"] == "stdin"
    if _failure(finding) == "syntax_error":
        where = "The program does not compile: it"
    elif finding.request or stdin:
        where = f"On the input\n{finding.request}\nthe program" if stdin else f"{finding.request}:"
    else:
        where = "The program, before any test,"
    at = f" in line {outcome.line}" if outcome.line else ""
    if outcome.status == "ok":
        gave = f"printed\n{finding.got}\n" if stdin else f"returned {finding.got}, "
        said = f"{gave}which is wrong."
    elif outcome.status == "timeout":
        said = "took too long." if not outcome.message else f"{outcome.message}."
    elif outcome.status == "memory":
        said = f"used too much memory{at}."
    elif outcome.status == "error" and outcome.error != "Unsupported":
        said = f"raised {outcome.error}: {clip(outcome.message, 300)}{at}."
    else:
        said = f"{outcome.message or 'wrote too much output'}."
    revealed = [f"The test is: {finding.test}"] if meta.get("reveal") and finding.test else []
    return [f"{where} {said}", *revealed]


class CodeOptions(DataOptions):
    """Which problems, and how programs are run."""

    seconds: float = Field(default=10.0, gt=0, description="wall-clock limit of one test")
    reveal: bool = Field(default=False, description="feedback shows what the failed test expects")
    verify: bool = Field(default=False, description="leave out problems whose own solution fails their tests")


def row_reader(parse: code_rows.Parser) -> ReadRow:
    """What makes a problem of a row, by the parser of its data set."""

    def read_row(row: Row, options: CodeOptions) -> Draft:
        if "input_output" in row.value and not row.get("input_output"):
            raise row.lacks("input_output")  # a few rows of APPS have no tests
        try:
            question, meta = parse(dict(row.value))
        except DataError as error:
            raise DataError(f"{row.where}: {error}") from None
        meta |= {"reveal": options.reveal or meta.get("reveal", False), "limits": {"wall": options.seconds}}
        return Draft(question, meta.pop("solution", ""), meta)

    return read_row


def verified(problem: Problem, options: CodeOptions) -> Problem | None:
    """The problem; None where it is to be verified, and its own solution fails."""
    if options.verify and problem.answer and not run_tests(problem.meta, problem.answer).passed:
        return None
    return problem


def worked_solution(problem: Problem) -> str | None:
    """The data set's own program; None where it has none."""
    return f"```python\n{problem.answer.strip()}\n```" if problem.answer else None


def _task(name: str, summary: str, source: Source, data: str = "", test_data: str = "") -> Task:
    return Task(
        name=name,
        summary=summary,
        seed_prompt=SEED_PROMPT,
        options=CodeOptions,
        problems=dataset_problems(name, row_reader(code_rows.PARSERS[name]), data, test_data, verified),
        score=score,
        worked_solution=worked_solution,
        remedies=REMEDIES,
        source=replace(source, needs="the hub, or --data; a sandbox (Linux)"),
    )


_APPS, _LCB = "hub:codeparrot/apps", "hub:livecodebench/code_generation_lite"
TASKS = [
    _task(
        "humaneval",
        "Python functions from their docstrings, for evaluation",
        Source("hub:openai/openai_humaneval", "164 test", "MIT"),
        test_data="hub:openai/openai_humaneval",
    ),
    _task(
        "mbpp",
        "short Python functions, their tests shown",
        Source("hub:google-research-datasets/mbpp", "374 train, 500 test", "CC BY 4.0"),
        "hub:google-research-datasets/mbpp:full",
    ),
    _task(
        "apps",
        "programming contests and interviews: APPS",
        Source(_APPS, "5000 train, 5000 test", "MIT"),
        f"{_APPS}/train.jsonl",
        f"{_APPS}/test.jsonl",
    ),
    _task(
        "livecodebench",
        "contest problems of 2025: LiveCodeBench, for evaluation",
        Source(_LCB, "175 test (release 6)", "see its card"),
        test_data=f"{_LCB}/test6.jsonl",
    ),
]
