"""What a task is: problems, a score, and what prompt evolution may draw on."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fst_cli.data.records import Problem, Record, Score
from fst_cli.tasks.splits import Split


@dataclass(frozen=True)
class Source:
    """Where problems come from; every field is for the reader of `fst tasks`."""

    origin: str
    size: str
    licence: str
    needs: str = "nothing"


class NoOptions(Record):
    """A task without options."""


def no_worked_solution(problem: Problem) -> None:
    """For tasks whose data hold no working."""
    return


@dataclass(frozen=True)
class Task:
    """A task family. Outside tasks are a Python file with a `TASK`, or an entry point of the group `fst.tasks`.

    `problems(options, split, count, seed)` must keep train and test disjoint for any pair of seeds; their `task` is
    filled in. `score(problem, text)` is called from several threads at once, with what the model wrote.
    `remedies` maps a kind of failure (`Score.failure`) to sentences that the heuristic reflector may try.
    """

    name: str
    summary: str
    seed_prompt: str
    problems: Callable[[Any, Split, int, int], Iterator[Problem]]
    score: Callable[[Problem, str], Score]
    source: Source
    options: type[Record] = NoOptions
    worked_solution: Callable[[Problem], str | None] = no_worked_solution
    remedies: Mapping[str, list[str]] = field(default_factory=dict)
