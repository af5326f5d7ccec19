"""Whether a program passes its tests: inputs and outputs, calls, or assert statements.

Expected values stay outside the process that runs the program. Outputs and results are compared here, as text and plain
data. Assert statements run in a second sandbox, in which the functions under test are stubs: a stub asks us, we ask the
first process. So no `__eq__`, exit, patched builtin or read frame of the program can pass a test.
"""

import ast
import builtins
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from fst_cli.grading.program import (
    Outcome,
    Program,
    UnsupportedError,
    decode,
    ending_of,
    parse,
    run_scripts,
    short,
    worker_code,
)
from fst_cli.grading.sandbox import Limits, Sandbox, SandboxError

TOLERANCE = 1e-9
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)


WRONG = Outcome("ok")


@dataclass(frozen=True)
class Finding:
    """The first test that fails, or none (`passed`). `outcome.status` ok means that a wrong value came back.

    `request` is the call or the standard input, `got` what came back, `test` the test itself with what it expects.
    """

    passed: bool
    outcome: Outcome = WRONG
    request: str = ""
    got: str = ""
    test: str = ""


PASSED = Finding(True)


def stdin_tests(source: str, tests: Sequence[tuple[str, str]], limits: Limits) -> Finding:
    """Tests of (standard input, standard output). Raises RunError where the machine has no sandbox."""
    results = run_scripts(source, (stdin for stdin, _ in tests), limits)
    for (stdin, expected), result in zip(tests, results, strict=True):
        outcome = Outcome(result.status, None, result.error, result.message, result.line)
        if not result.compiled:
            return Finding(False, outcome)
        if result.status != "ok" or not same_output(expected, result.stdout):
            return Finding(False, outcome, clip(stdin), clip(result.stdout), f"output {clip(expected)!r}")
    return PASSED


def call_tests(
    source: str, tests: Iterable[tuple[str, Sequence[Any], Any]], limits: Limits, prelude: str = "", exact: bool = False
) -> Finding:
    """Tests of (function, arguments, expected value). Raises RunError where the machine has no sandbox.

    `exact` compares with `==`; otherwise a tuple is a list, keys of a dict may be written as text, and floats agree to
    1e-9, as for expected values that come from JSON.
    """
    with Program(source, limits, prelude) as program:
        if program.loaded.status != "ok":
            return Finding(False, program.loaded)
        for path, args, expected in tests:
            outcome = program.call(path, args)
            same = expected == outcome.value if exact else same_value(expected, outcome.value)
            if outcome.status != "ok" or not same:
                request = f"{path}({', '.join(short(arg, 500) for arg in args)})"
                return Finding(False, outcome, request, short(outcome.value), f"{request} == {short(expected)}")
    return PASSED


def assert_tests(
    source: str, tests: list[str], limits: Limits, setup: str = "", prelude: str = "", entry: str = ""
) -> Finding:
    """Test statements, or with `entry` HumanEval's: a `check(candidate)` that is called with the function `entry`.

    `setup` runs before the tests, `prelude` before program and tests. Raises RunError where the machine has no sandbox,
    SyntaxError for tests or a setup that are no Python.
    """
    plain = None if entry or setup.strip() else _as_calls(tests)
    if plain is not None:
        return call_tests(source, plain, limits, prelude, exact=True)
    with Program(source, limits, prelude, entry) as program:
        if program.loaded.status != "ok":
            return Finding(False, program.loaded)
        stubs = [entry] if entry else sorted(_free_names([prelude, setup, *tests]))
        try:
            patient = replace(limits, total=limits.total + 30)  # the program's time runs out first
            with Sandbox(worker_code(), patient) as judge:
                return _judge(judge, program, ("tests", [prelude, setup], tests, stubs, entry), tests)
        except SandboxError as error:
            return Finding(False, Outcome("grader", message=str(error)))


def _judge(judge: Sandbox, program: Program, request: Any, tests: list[str]) -> Finding:
    """Carry calls from the tests to the program until the tests have ended."""
    index, last = 0, Finding(False, Outcome("grader", message="the tests called nothing"))
    asked = False
    while True:
        reply = judge.ask(request)
        while not reply.ending and "begun" in parse(reply.line):
            index = parse(reply.line)["begun"]
            reply = judge.listen()
        if reply.ending:
            ending = ending_of(judge, reply.ending)
            # Tests that choke on a result are the program's failure.
            return replace(last, outcome=ending if asked else Outcome("grader", message=f"the tests: {ending.message}"))
        message = parse(reply.line)
        if "ok" in message:
            return PASSED
        if "ask" not in message:
            return _failed(message.get("error", {}), last, asked, tests[index])
        try:
            name, args, kwargs = decode(message["ask"])
        except UnsupportedError as error:
            return Finding(False, Outcome("grader", message=f"a test passes {error} to the program"))
        outcome, asked = program.call(name, args, kwargs), True
        words = [short(arg, 500) for arg in args] + [f"{key}={short(arg, 500)}" for key, arg in kwargs.items()]
        last = Finding(False, outcome, f"{name}({', '.join(words)})", short(outcome.value), tests[index])
        if outcome.status not in ("ok", "error") or outcome.error == "Unsupported":
            return last
        request = (outcome.value, None) if outcome.status == "ok" else (None, (outcome.error, outcome.message))


def _failed(error: dict[str, Any], last: Finding, asked: bool, test: str) -> Finding:
    """The finding where a test raised: the last call was wrong, unless the tests broke before any."""
    if not asked:
        message = f"the tests raise {error.get('type')}: {error.get('message')}"
        return Finding(False, Outcome("grader", message=message))
    lines, line = test.splitlines(), int(error.get("line", 0))
    return replace(last, test=lines[line - 1].strip() if 0 < line <= len(lines) else test)


def _as_calls(tests: list[str]) -> list[tuple[str, Sequence[Any], Any]] | None:
    """Tests of the form `assert f(literals) == literal` as calls; None where one is not."""
    calls: list[tuple[str, Sequence[Any], Any]] = []
    for test in tests:
        try:
            [statement] = ast.parse(test).body
            assert isinstance(statement, ast.Assert)
            comparison = statement.test
            assert isinstance(comparison, ast.Compare) and isinstance(comparison.left, ast.Call)
            [operator], call = comparison.ops, comparison.left
            assert isinstance(operator, ast.Eq) and isinstance(call.func, ast.Name) and not call.keywords
            args = [ast.literal_eval(arg) for arg in call.args]
            calls.append((call.func.id, args, ast.literal_eval(comparison.comparators[0])))
        except (AssertionError, ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            return None
    return calls


def _free_names(texts: list[str]) -> set[str]:
    """Names that are read and neither built in nor made by the texts themselves: those of the program."""
    read: set[str] = set()
    made = set(dir(builtins))
    for text in texts:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Name):
                (read if isinstance(node.ctx, ast.Load) else made).add(node.id)
            elif isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
                made.add(node.name)
            elif isinstance(node, ast.arg):
                made.add(node.arg)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                made |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    return read - made


def clip(text: str, length: int = 500) -> str:
    """The beginning of a long text."""
    return text if len(text) <= length else text[: length - 4] + " ..."


def same_output(expected: str, got: str) -> bool:
    """Whether two outputs agree but for blanks at line ends, empty lines at the end, and floats to 1e-9."""
    left, right = ([line.split() for line in text.rstrip().split("\n")] for text in (expected, got))
    return len(left) == len(right) and all(
        len(a) == len(b) and all(map(_same_token, a, b)) for a, b in zip(left, right, strict=True)
    )


def _same_token(expected: str, got: str) -> bool:
    if expected == got:
        return True
    if max(len(expected), len(got)) > 400 or not (_NUMBER.fullmatch(expected) and _NUMBER.fullmatch(got)):
        return False
    left, right = Decimal(expected), Decimal(got)
    if expected.lstrip("+-").isdigit() and got.lstrip("+-").isdigit():
        return left == right
    return abs(left - right) <= Decimal(TOLERANCE) * max(Decimal(1), abs(left))


def same_value(expected: Any, got: Any) -> bool:
    """Whether a result is the expected JSON value."""
    if isinstance(expected, list | tuple):
        return isinstance(got, list | tuple) and len(expected) == len(got) and all(map(same_value, expected, got))
    if isinstance(expected, dict):
        if not isinstance(got, dict) or len(got) != len(expected):
            return False
        if all(isinstance(key, str) for key in expected):
            got = {str(key): value for key, value in got.items()}
        return expected.keys() == got.keys() and all(same_value(value, got[key]) for key, value in expected.items())
    if isinstance(expected, bool) or isinstance(got, bool):
        return expected is got
    if isinstance(expected, float) or isinstance(got, float):
        if not isinstance(expected, int | float) or not isinstance(got, int | float):
            return False
        try:
            return expected == got or abs(expected - got) <= TOLERANCE * max(1.0, abs(expected))
        except OverflowError:
            return False
    return bool(expected == got)
