"""A task of your own: how often a letter occurs in a word.

    fst generate --task examples/custom_task.py --limit 3
    fst cycle --task examples/custom_task.py --out runs/letters

A task is problems and a score; all else of a `Task` is optional. A package offers its task without a path, by an entry
point: [project.entry-points."fst.tasks"] letters = "my_package.letters:TASK"
"""

import random
from collections.abc import Iterator

from pydantic import Field

from fst_cli.data.records import Message, Problem, Record, Score
from fst_cli.data.seeds import derive
from fst_cli.grading.answers import last_boxed
from fst_cli.tasks.base import Source, Task
from fst_cli.tasks.splits import Split, split_of, take_unique


class Options(Record):
    """What `--set` may change."""

    length: int = Field(default=6, ge=2, description="letters of the word")


def problems(options: Options, split: Split, count: int, seed: int) -> Iterator[Problem]:
    """`count` problems; the hash of its text tells whether one is train or test, so no seed can mix them."""

    def draws() -> Iterator[Problem]:
        for index in range(1_000_000_000):
            rng = random.Random(derive("letters", options.length, split, seed, index))
            word = "".join(rng.choice("abcde") for _ in range(options.length))
            letter = rng.choice("abcde")
            if split_of("letters", word, letter) == split:
                question = f"How often does the letter {letter} occur in {word}?"
                yield Problem(
                    id=f"letters-{split}-{seed}-{index}",
                    task="letters",
                    split=split,
                    messages=[Message(role="user", content=question)],
                    answer=str(word.count(letter)),
                )

    return take_unique(draws(), count, key=lambda problem: problem.messages[0].content)


def score(problem: Problem, text: str) -> Score:
    """The reward, and in words what went wrong: this is what prompt evolution reads."""
    box = last_boxed(text)
    if box is None:
        return Score(reward=0.0, success=False, failure="no_box", feedback="There is no \\boxed{} in the reply.")
    if box == problem.answer:
        return Score(reward=1.0, success=True, feedback="Correct.")
    return Score(reward=0.0, success=False, failure="wrong_count", feedback=f"The box holds {box[:80]!r}: miscounted.")


TASK = Task(
    name="letters",
    summary="count a letter in a word",
    seed_prompt="Count the letters. Put the number inside \\boxed{}.",
    problems=problems,
    score=score,
    source=Source("procedural", "unlimited", "Apache-2.0"),
    options=Options,
    remedies={
        "no_box": ["Finish with \\boxed{} around the answer."],
        "wrong_count": ["Go through the word letter by letter.", "Check your answer before you finish."],
    },
)
