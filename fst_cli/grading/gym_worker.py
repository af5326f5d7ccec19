"""Runs inside the sandbox: makes an item of a reasoning-gym data set again, and scores an answer to it."""

import functools
import hashlib
import inspect
import json
import os
import re
import sys
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"

# What makes an answer code: it has no place in mathematics.
_CODE = re.compile(
    r"__|\b(?:exec|eval|compile|getattr|setattr|globals|locals|vars|open|import|lambda|breakpoint|input|type|object|"
    r"class|print|exit|quit|while|for)\b"
)


class ItemError(Exception):
    """The item is not the one that the problem was made from."""


@functools.lru_cache(maxsize=64)
def _data(name: str, seed: int, config: str) -> Any:
    from reasoning_gym import create_dataset

    return create_dataset(name, seed=seed, **json.loads(config))


@functools.cache
def _evaluates(module: str) -> bool:
    """Whether the graders of a data set's module evaluate answers."""
    return bool(re.search(r"\bparse_expr\(|\bsympify\(|\beval\(", inspect.getsource(sys.modules[module])))


def score(name: str, config: str, seed: int, index: int, digest: str, answer: str) -> float:
    """The data set's score of the answer; 0 where it breaks the grader. `config` is JSON, its size included."""
    data = _data(name, seed, config)
    entry = data[index]
    if hashlib.sha256(entry["question"].strip().encode()).hexdigest() != digest:
        raise ItemError(
            f"item {index} of gym:{name}, seed {seed}, is not what it was; another version of reasoning-gym?"
        )
    if _evaluates(type(data).__module__) and _CODE.search(answer):
        return 0.0
    try:
        return float(data.score_answer(answer, entry))
    except Exception:
        return 0.0
