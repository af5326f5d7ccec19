"""Data sets as tasks: rows -> problems of a split.

Where the source has train and test apart (a folder's or a data set's own splits, or `test_data`), they are kept, and a
train problem whose text is in test too is left out; otherwise one problem in five is test, by the hash of its text.
Either way train and test are disjoint, whatever the seeds (PITFALLS 10).
"""

import heapq
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from pydantic import Field

from fst_cli.console import say
from fst_cli.data.errors import DataError, UsageError
from fst_cli.data.records import Message, Problem, Record
from fst_cli.data.seeds import derive
from fst_cli.tasks.rows import EmptyFieldError, Row, own_splits, read_rows
from fst_cli.tasks.splits import Split, split_of


class DataOptions(Record):
    """Where rows come from and which are taken."""

    data: str = Field(default="", description="a file, a folder, or hub:OWNER/NAME[:CONFIG] or hub:OWNER/NAME/FILE")
    test_data: str = Field(default="", description="the same for the test problems alone")
    columns: dict[str, str] = Field(default_factory=dict, description="the column of a field: columns.question=input")
    max_chars: int = Field(default=0, ge=0, description="leave out longer problems, in characters; 0 = none")
    repeat: bool = Field(default=False, description="train: begin again, in another order, when the problems run out")


@dataclass(frozen=True)
class Draft:
    """What a task makes of a row."""

    question: str
    answer: str
    meta: dict[str, Any] = field(default_factory=dict)


# A row and the options -> a draft, or None to leave the row out.
ReadRow = Callable[[Row, Any], Draft | None]
# A problem and the options -> the finished problem, or None: for what costs too much to be done for every row.
Finish = Callable[[Problem, Any], Problem | None]


def dataset_problems(
    name: str, read_row: ReadRow, data: str = "", test_data: str = "", finish: Finish | None = None
) -> Callable[[Any, Split, int, int], Iterator[Problem]]:
    """The `problems` of a task whose rows are read by `read_row`; `data` and `test_data` are its hub sources.

    A given `data` replaces both. With `test_data` alone a task is for evaluation.
    """

    def problems(options: DataOptions, split: Split, count: int, seed: int) -> Iterator[Problem]:
        places = (options.data, options.test_data) if options.data else (data, options.test_data or test_data)
        if split == "train" and not places[0] and places[1]:
            raise UsageError(
                f"task {name} is for evaluation: it has no train problems",
                hint="give some with --data, or train another task and set its test_data",
            )
        if not any(places):
            raise UsageError(f"task {name} needs data", hint="--data FILE.jsonl, a folder, or hub:OWNER/NAME")
        return _choose(_Reader(name, read_row, finish, options, *places), split, count, seed)

    return problems


@dataclass(frozen=True)
class _Reader:
    """Reads the problems of a split."""

    name: str
    read_row: ReadRow
    finish: Finish | None
    options: DataOptions
    data: str
    test_data: str
    told: set[str] = field(default_factory=set)  # places whose holes were told

    def problems(self, split: Split) -> Iterator[Problem]:
        """In the order of the source, texts may repeat."""
        places = {"train": self.data, "test": self.test_data} if self.test_data else own_splits(self.data)
        if places is None:
            yield from (p for p in self._read(self.data, split) if split_of(self.name, p.messages[0].content) == split)
        elif split == "test":
            yield from self._read(places["test"], split)
        else:  # what is tested is not trained on
            tested = {problem.messages[0].content for problem in self._read(places["test"], "test")}
            yield from (p for p in self._read(places["train"], split) if p.messages[0].content not in tested)

    def too_long(self, question: str) -> bool:
        """Whether the user wants no question as long."""
        return 0 < self.options.max_chars < len(question)

    def finished(self, problem: Problem) -> Problem | None:
        """The problem as the task finishes it; None where it is left out."""
        done = self.finish(problem, self.options) if self.finish else problem
        return None if done is None or self.too_long(done.messages[0].content) else done

    def _read(self, place: str, split: Split) -> Iterator[Problem]:
        holes: list[DataError] = []
        for row in read_rows(place, self.options.columns):
            try:
                draft = self.read_row(row, self.options)
            except EmptyFieldError as error:
                holes.append(error)
                continue
            if draft is None or self.too_long(draft.question):
                continue
            yield Problem(
                id=f"{self.name}-{split}-{row.number}",
                task=self.name,
                split=split,
                messages=[Message(role="user", content=draft.question)],
                answer=draft.answer,
                meta=draft.meta,
            )
        if holes and place not in self.told:
            self.told.add(place)
            say(f"{len(holes)} rows left out; the first: {holes[0]}")


def _choose(reader: _Reader, split: Split, count: int, seed: int) -> Iterator[Problem]:
    """The first `count` problems in an order drawn from the seed, each text once a round.

    The order hangs on the texts alone: a longer stream begins as a shorter one does.
    """
    left, round_ = count, 1
    while left:
        found = 0
        for problem in itertools.islice(_one_round(reader, split, left, seed, round_), left):
            found += 1
            yield problem if round_ == 1 else problem.model_copy(update={"id": f"{problem.id}-round{round_}"})
        if not found or (found < left and not (reader.options.repeat and split == "train")):
            raise DataError(
                f"{reader.data or reader.test_data}: holds {count - left + found} {split} problems, {count} asked for",
                hint="ask for fewer (--count; a run: cycles, steps_per_cycle, problems_per_step, eval.problems)"
                + ("" if split == "test" else ", or go round again: --set repeat=true"),
            )
        left -= found
        round_ += 1


def _one_round(reader: _Reader, split: Split, most: int, seed: int, round_: int) -> Iterator[Problem]:
    """The problems of a split in one order, finished. About as many as are asked for are in memory, not the split."""

    def keyed() -> Iterator[tuple[int, Problem]]:
        seen: set[str] = set()
        for problem in reader.problems(split):
            text = problem.messages[0].content
            if text not in seen:
                seen.add(text)
                yield derive(reader.name, "order", split, seed, round_, text), problem

    done = 0
    while True:
        chosen = heapq.nsmallest(most, keyed(), key=itemgetter(0))
        yield from filter(None, (reader.finished(problem) for _, problem in chosen[done:]))
        if len(chosen) < most:
            return
        done, most = most, 4 * most  # too many of them were left out: read on
