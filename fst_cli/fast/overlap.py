"""Whether a proposed instruction copies the problems it was to learn from (PITFALLS 19)."""

import re
from collections.abc import Sequence

from fst_cli.data.records import Problem

WORDS = 8  # in a row
ANSWER = 4  # characters of the shortest answer that can be told from an ordinary word


def copied(instruction: str, parent: str, minibatch: Sequence[Problem], problems: Sequence[Problem]) -> str | None:
    """What `instruction` takes from a problem of the minibatch that its parent does not have; None if nothing.

    A problem's text counts where it is its own: what other problems say too is the wording of the task.
    """
    said, before = _words(instruction), _words(parent)
    new = set(_runs(said)).difference(_runs(before))
    for problem in minibatch:
        others = {run for other in problems if other.id != problem.id for run in _runs(_text(other))}
        for run in _runs(_text(problem)):
            if run in new and run not in others:
                return " ".join(run)
        if _contains(said, _text(problem)) and not _contains(before, _text(problem)):
            return " ".join(_text(problem))
        if len(problem.answer) >= ANSWER and problem.answer in instruction and problem.answer not in parent:
            return problem.answer
    return None


def _text(problem: Problem) -> list[str]:
    return _words(problem.messages[-1].content)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _runs(words: list[str]) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + WORDS]) for i in range(len(words) - WORDS + 1)]


def _contains(words: list[str], part: list[str]) -> bool:
    return any(words[i : i + len(part)] == part for i in range(len(words) - len(part) + 1))
