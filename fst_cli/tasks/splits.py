"""Train and test that cannot share a problem, whatever their seeds (PITFALLS 10)."""

from collections.abc import Callable, Iterator
from typing import Literal

from fst_cli.data.errors import UsageError
from fst_cli.data.records import Problem
from fst_cli.data.seeds import Part, derive

Split = Literal["train", "test"]
TEST_SHARE = 5  # one content in five belongs to test

# A procedural space may be smaller than asked for; give up after this many draws in a row that were seen before.
_GIVE_UP = 20_000


def split_of(*content: Part) -> Split:
    """The split that a problem with this content belongs to: a pure function of the content."""
    return "test" if derive("split", *content) % TEST_SHARE == 0 else "train"


def take_unique(draws: Iterator[Problem], count: int, key: Callable[[Problem], str]) -> Iterator[Problem]:
    """The first `count` draws with distinct keys.

    Raises UsageError where the space of problems is exhausted first.
    """
    seen: set[str] = set()
    repeats = 0
    while len(seen) < count:
        problem = next(draws)
        if key(problem) in seen:
            repeats += 1
            if repeats > _GIVE_UP:
                raise UsageError(
                    f"only {len(seen)} distinct {problem.split} problems found, {count} asked for",
                    hint="ask for fewer with --count, or for a larger space (a larger pool or a higher difficulty)",
                )
            continue
        repeats = 0
        seen.add(key(problem))
        yield problem
