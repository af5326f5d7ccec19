"""What a task is: problems, a score, and what prompt evolution may draw on."""

from collections.abc import Callable, Iterator, Mapping, Sequence
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


def boxed_solution(problem: Problem) -> str | None:
    """The problem's own working and the answer in a box; None where the data holds no working."""
    working = problem.meta.get("solution")
    return f"{working}\nThe answer is \\boxed{{{problem.answer}}}" if working else None


class NoOptions(Record):
    """A task without options."""


@dataclass(frozen=True)
class Task:
    """A task family. Outside tasks are a Python file with a `TASK`, or an entry point of the group `fst.tasks`.

    `problems(options, split, count, seed)` must keep train and test disjoint for any pair of seeds; the `task` of its
    problems is filled in.
    `score(problem, text)` is given what the model itself wrote, its turns joined by a blank line: a tool's output is
    never graded, so a model earns nothing by having a tool print an answer.
    `respond(problem, turns)` is given the model's turns so far, and returns the environment's next message (a tool's
    output, its error too) or None when the episode is over; it is asked after each of the first `max_turns` - 1 turns.
    `score` and `respond` are called from several threads at once, and must be functions of their arguments alone.
    `remedies` maps a kind of failure (`Score.failure`) to sentences that the heuristic reflector may try.
    """

    name: str
    summary: str
    seed_prompt: str
    problems: Callable[[Any, Split, int, int], Iterator[Problem]]
    score: Callable[[Problem, str], Score]
    source: Source
    options: type[Record] = NoOptions
    worked_solution: Callable[[Problem], str | None] = lambda problem: None
    remedies: Mapping[str, list[str]] = field(default_factory=dict)
    respond: Callable[[Problem, Sequence[str]], str | None] | None = None
    max_turns: int = 1
