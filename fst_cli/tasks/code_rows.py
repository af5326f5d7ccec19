"""Rows of four public data sets of programming problems, as a question and the `meta` of `fst_cli.tasks.code`.

HumanEval, MBPP, APPS and LiveCodeBench, each from the dict of a row as its file has it. `solution` in `meta` is a
program that is right, where the row has one.
"""

import ast
import base64
import binascii
import io
import json
import pickle
import zlib
from collections.abc import Callable
from typing import Any, NoReturn

from fst_cli.data.errors import DataError

IMPORTS = "\n".join(
    [
        "import bisect, collections, copy, functools, heapq, itertools, math, operator, random, re, string, sys",
        "from bisect import *",
        "from collections import *",
        "from functools import *",
        "from heapq import *",
        "from itertools import *",
        "from math import *",
        "from typing import *",
    ]
)  # what the sites of APPS' and LiveCodeBench's problems import for everyone
MAX_TESTS = 64 << 20  # bytes of one problem's decompressed tests

Row = dict[str, Any]
Parsed = tuple[str, Row]
Parser = Callable[[Row], Parsed]


def humaneval(row: Row) -> Parsed:
    """A row of HumanEval: `prompt`, `entry_point`, `canonical_solution`, `test`."""
    prompt, entry = _text(row, "prompt"), _text(row, "entry_point")
    question = f"Write the Python function `{entry}`.\n\n```python\n{prompt.strip()}\n```"
    meta = {
        "kind": "check",
        "test": _text(row, "test"),
        "entry": entry,
        "prelude": f"{prompt.rstrip()}\n    pass\n",
        "solution": prompt + row.get("canonical_solution", ""),
    }
    return question, meta


def mbpp(row: Row) -> Parsed:
    """A row of MBPP: `text`, `code`, `test_list`, `test_setup_code`, `challenge_test_list`. The tests are shown."""
    shown = [test.strip() for test in row.get("test_list", [])]
    if not shown:
        raise DataError("MBPP row without tests in `test_list`")
    tests = shown + [test.strip() for test in row.get("challenge_test_list", [])]
    question = f"{_text(row, 'text').strip()}\n\nYour program must pass these tests:\n\n" + "\n".join(shown)
    setup = row.get("test_setup_code", "").replace("\r\n", "\n")
    meta = {"kind": "asserts", "tests": tests, "setup": setup, "reveal": True}
    if row.get("code"):
        meta["solution"] = row["code"].replace("\r\n", "\n")
    return question, meta


def apps(row: Row) -> Parsed:
    """A row of APPS: `question`, `input_output`, `starter_code`, `solutions` (the last two may be empty)."""
    tests = _json(row, "input_output")
    if not isinstance(tests, dict) or len(tests.get("inputs", [])) != len(tests.get("outputs", [])):
        raise DataError("APPS row whose `input_output` has no inputs with as many outputs")
    pairs = zip(tests["inputs"], tests["outputs"], strict=True)
    starter = row.get("starter_code") or ""
    meta: Row
    if name := tests.get("fn_name"):
        meta = {"kind": "calls", "function": _path(name, starter), "prelude": IMPORTS}
        # The expected value stands alone or in a list of one, differently from row to row.
        meta["tests"] = [[args, _unwrapped(out)] for args, out in pairs]
    else:
        meta = {"kind": "stdin", "tests": [[_joined(given), _joined(out)] for given, out in pairs]}
    solutions = _json(row, "solutions") if row.get("solutions") else []
    if solutions:
        meta["solution"] = solutions[0]
    return _asked(_text(row, "question"), starter, "fn_name" in tests), meta


def livecodebench(row: Row) -> Parsed:
    """A row of LiveCodeBench: `question_content`, `starter_code`, public and private test cases, `metadata`.

    Private test cases may be base64 of a compressed pickle of a string. Only a string is unpickled.
    """
    public, private = _json(row, "public_test_cases"), _cases(row.get("private_test_cases") or "[]")
    cases = [*(public or []), *private]
    if not cases:
        raise DataError("LiveCodeBench row without tests")
    starter = row.get("starter_code") or ""
    functional = cases[0]["testtype"] == "functional"
    meta: Row
    if functional:
        name = (_json(row, "metadata") or {}).get("func_name")
        if not name:
            raise DataError("LiveCodeBench row of functional tests without `func_name` in `metadata`")
        meta = {"kind": "calls", "function": _path(name, starter), "prelude": IMPORTS}
        meta["tests"] = [[_json_lines(case["input"]), _loads(case["output"], "output")] for case in cases]
    else:
        meta = {"kind": "stdin", "tests": [[case["input"], case["output"]] for case in cases]}
    return _asked(_text(row, "question_content"), starter, functional), meta


PARSERS = {"humaneval": humaneval, "mbpp": mbpp, "apps": apps, "livecodebench": livecodebench}


def _asked(question: str, starter: str, function: bool) -> str:
    if starter.strip():
        return f"{question.strip()}\n\nStart from this code:\n\n```python\n{starter.strip()}\n```"
    if function:
        return question.strip()
    return f"{question.strip()}\n\nRead from standard input and print to standard output."


def _path(name: str, starter: str) -> str:
    return f"Solution().{name}" if "class Solution" in starter else name


def _joined(text: Any) -> str:
    return "\n".join(map(str, text)) if isinstance(text, list) else str(text)


def _unwrapped(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _text(row: Row, field: str) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"row without text in `{field}`")
    return value


def _json(row: Row, field: str) -> Any:
    return _loads(row.get(field) or "null", field)


def _loads(text: Any, field: str) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        try:
            return ast.literal_eval(text)  # some rows have Python's literals
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            raise DataError(f"`{field}` is not JSON: {error}") from error


def _json_lines(text: str) -> list[Any]:
    return [_loads(line, "input") for line in text.split("\n") if line.strip()]


def _cases(text: Any) -> Any:
    """Private test cases: JSON, or base64(zlib(pickle(JSON))).

    Raises DataError for anything else.
    """
    if not isinstance(text, str) or text.lstrip().startswith("["):
        return _loads(text, "private_test_cases")
    try:
        inflater = zlib.decompressobj()
        data = inflater.decompress(base64.b64decode(text, validate=True), MAX_TESTS)
        found = _OnlyStrings(io.BytesIO(data)).load()
    except (binascii.Error, zlib.error, pickle.UnpicklingError, EOFError, ValueError, IndexError) as error:
        raise DataError(f"`private_test_cases` cannot be decoded: {error}") from error
    if not isinstance(found, str) or inflater.unconsumed_tail:
        raise DataError("`private_test_cases` hold no text, or too much")
    return _loads(found, "private_test_cases")


class _OnlyStrings(pickle.Unpickler):
    """A pickle of plain data: whatever asks for a class or a function is refused."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"asks for {module}.{name}")
