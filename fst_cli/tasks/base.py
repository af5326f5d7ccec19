"""What a task is: problems, a score, and what prompt evolution may draw on."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fst_cli.data.records import Problem, Record, Score
from fst_cli.tasks.splits import Split


@dataclass(frozen=True)
class Task:
    """A task family. One module each; outside packages offer theirs through the entry point group `fst.tasks`.

    `problems(options, split, count, seed)` must keep train and test disjoint for any pair of seeds.
    `remedies` maps a kind of failure (`Score.failure`) to sentences that the heuristic reflector may try.
    """

    name: str
    summary: str
    seed_prompt: str
    options: type[Record]
    problems: Callable[[Any, Split, int, int], Iterator[Problem]]
    score: Callable[[Problem, str], Score]
    worked_solution: Callable[[Problem], str | None]
    remedies: Mapping[str, list[str]]
