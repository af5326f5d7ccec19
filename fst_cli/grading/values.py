"""Answers that are data: find a JSON (or Python) value in a reply, compare two, and say where they part."""

import ast
import json
import math
from typing import Any

from fst_cli.grading.answers import after_thinking, fenced, last_boxed, tagged

LONGEST = 20_000  # characters of a value that is read
TOLERANCE = 1e-6  # relative, of numbers with a fraction
_BROKEN = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)


class NoValueError(ValueError):
    """A reply holds no value, or what stands in its place can't be read."""


def final_value(text: str) -> Any:
    """The value a reply ends with: in its last fenced block, else box, else answer tags, else alone on its last line.

    Raises NoValueError where there is none.
    """
    blocks, box, tags = fenced(text), last_boxed(text), tagged(text)
    if blocks or box is not None or tags:
        where, found = (
            ("fenced block", blocks[-1]) if blocks else ("box", box) if box is not None else ("answer tags", tags[-1])
        )
        try:
            return parse_value(found or "")
        except NoValueError as error:
            raise NoValueError(f"The last {where} {error}") from None
    last = after_thinking(text).strip().rpartition("\n")[2]
    try:
        return parse_value(last)
    except NoValueError:
        raise NoValueError(
            "The reply ends with no value: none in a fenced block, a box or answer tags, or alone on the last line."
        ) from None


def parse_value(text: str) -> Any:
    """A JSON value, or a Python literal as its JSON counterpart (a tuple is a list, a key a text).

    Raises NoValueError where it is neither.
    """
    text = text.strip()
    if len(text) > LONGEST:
        raise NoValueError(f"holds {len(text)} characters, too many for a value.")
    for read in (_read_json, ast.literal_eval):
        try:
            return as_json(read(text))
        except _BROKEN:
            continue
    raise NoValueError(f"holds {text[:80]!r}, which is not a JSON value." if text else "is empty.")


def _read_json(text: str) -> Any:
    return json.loads(text, parse_constant=_refuse)


def _refuse(name: str) -> None:
    raise ValueError(name)


def as_json(value: Any) -> Any:
    """A Python value as JSON has it.

    Raises ValueError for one that JSON can't hold (a set, bytes, NaN).
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if isinstance(value, dict):
        return {_key(key): as_json(item) for key, item in value.items()}
    raise ValueError(f"JSON has no {type(value).__name__}")


def _key(key: Any) -> str:
    return key if isinstance(key, str) else json.dumps(as_json(key))


def difference(right: Any, given: Any, reveal: bool = False, path: str = "") -> str | None:
    """Where two JSON values first part, with the type that was expected there; None where they are the same.

    Only with `reveal` is the right value said. A bool is not a number, 3 is 3.0, and other fractions may differ by
    a relative 1e-6.
    """
    place = f"At {path}: " if path else ""
    if isinstance(right, list) and isinstance(given, list):
        for number, (one, other) in enumerate(zip(right, given, strict=False)):
            if found := difference(one, other, reveal, f"{path}[{number}]"):
                return found
        if len(right) != len(given):
            return f"{place}a list of {len(given)} items is not right; {len(right)} were expected."
        return None
    if isinstance(right, dict) and isinstance(given, dict):
        for key, one in right.items():
            if key not in given:
                return f"{place}a key is missing" + (f": {key!r}." if reveal else ".")
            if found := difference(one, given[key], reveal, f"{path}[{key!r}]"):
                return found
        more = [key for key in given if key not in right]
        return f"{place}the key {more[0][:80]!r} should not be there." if more else None
    if _same(right, given):
        return None
    expected = f"{_kind(right)} was expected" + (f": {json.dumps(right)[:200]}" if reveal else "")
    return f"{place}{json.dumps(given)[:80]} is not right; {expected}."


def _same(right: Any, given: Any) -> bool:
    if isinstance(right, bool) or isinstance(given, bool) or not isinstance(right, int | float):
        return type(right) is type(given) and right == given
    if not isinstance(given, int | float):
        return False
    if isinstance(right, int) and isinstance(given, int):
        return right == given
    try:
        return math.isclose(right, given, rel_tol=TOLERANCE, abs_tol=1e-12)
    except OverflowError:  # an integer too large for a float
        return False


def _kind(value: Any) -> str:
    names = {bool: "a bool", int: "an int", float: "a float", str: "a string", list: "a list", dict: "an object"}
    return names.get(type(value), "null")
