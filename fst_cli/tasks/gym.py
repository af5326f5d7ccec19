"""`gym:NAME`: any data set of reasoning-gym.

It draws item i of seed s from s + i, so that neighbouring seeds share nearly all items, and its scores give credit for
parts of an answer (PITFALLS 10). Here items are drawn in small chunks from seeds far apart, train and test are told
apart by the hash of the question, an item is taken only where its own answer scores 1, a data set whose grader takes
nonsense is refused, and only a full score is a reward. Scoring runs in the sandbox: some of its graders evaluate the
answer as Python.
"""

import functools
import json
from collections.abc import Iterator
from typing import Any

from pydantic import Field

from fst_cli.data.errors import RunError, UsageError, nearest
from fst_cli.data.records import Message, Problem, Record, Score
from fst_cli.data.seeds import derive
from fst_cli.grading.answers import tagged
from fst_cli.grading.gym_score import FULL, gym_score
from fst_cli.tasks.base import Source, Task
from fst_cli.tasks.splits import Split, split_of, take_unique

PREFIX = "gym:"
CHUNK = 32  # items of one seed
# `composite` is made of others; `codeio` runs its functions in our own process, and is a task by itself.
_LEFT_OUT = {"composite", "codeio"}
_GIVE_UP = 20  # chunks without one usable item
NONSENSE = "no such answer"
LONGEST = 2000  # characters of an answer

SEED_PROMPT = (
    "You are an expert at reasoning problems. Read the problem carefully and work through it step by step. Put the "
    "final answer, in exactly the form that the problem asks for, inside <answer></answer> tags."
)
REMEDIES: dict[str, list[str]] = {
    "no_answer": [
        "Finish with the answer inside <answer></answer>.",
        "Put only the answer between <answer> and </answer>, with no words.",
        "Be brief.",
    ],
    "wrong_answer": [
        "Check your answer before you finish.",
        "Do one small operation at a time and write down each result.",
        "Give the answer in the form of the example in the problem.",
        "Read the problem twice.",
    ],
}


class GymOptions(Record):
    """Which items."""

    config: dict[str, Any] = Field(
        default_factory=dict, description="settings of the data set itself: --set config.num_terms=3"
    )
    partial: bool = Field(default=False, description="a part of the score is a part of the reward")
    max_chars: int = Field(default=0, ge=0, description="leave out longer problems, in characters; 0 = none")


@functools.cache
def gym_task(name: str) -> Task:
    """The task of a data set.

    Raises UsageError where there is no such data set, or reasoning-gym is not installed.
    """
    known = gym_names()
    if name not in known:
        hint = "--task codeio" if name == "codeio" else nearest(name, known)
        raise UsageError(f"gym: no data set `{name}`", hint=hint)
    return Task(
        name=PREFIX + name,
        summary="a data set of reasoning-gym",
        seed_prompt=SEED_PROMPT,
        options=GymOptions,
        problems=functools.partial(_problems, name),
        score=score,
        remedies=REMEDIES,
        source=Source("reasoning-gym", "unlimited", "Apache-2.0", "pip install 'fst-cli[gym]'"),
    )


def gym_names() -> list[str]:
    """The data sets.

    Raises UsageError where reasoning-gym is not installed.
    """
    return sorted(set(_factory().DATASETS) - _LEFT_OUT)


def _factory() -> Any:
    try:
        from reasoning_gym import factory
    except ImportError:
        raise UsageError("gym tasks need reasoning-gym", hint="pip install 'fst-cli[gym]'") from None
    return factory


def _problems(name: str, options: GymOptions, split: Split, count: int, seed: int) -> Iterator[Problem]:
    drawn = _draws(name, options, split, seed)
    return take_unique(drawn, count, key=lambda problem: problem.messages[0].content)


def _draws(name: str, options: GymOptions, split: Split, seed: int) -> Iterator[Problem]:
    empty = 0
    for chunk in range(1_000_000_000):
        chunk_seed = derive(PREFIX, name, split, seed, chunk) % 2**31
        found = list(_chunk(name, options, split, chunk_seed))
        yield from found
        empty = 0 if found else empty + 1
        if empty == _GIVE_UP:
            raise UsageError(
                f"gym:{name} gave no {split} problem in {_GIVE_UP * CHUNK} draws",
                hint="its answers do not score 1, max_chars is too small, or there are too few items",
            )


def _chunk(name: str, options: GymOptions, split: Split, seed: int) -> Iterator[Problem]:
    config = {"size": CHUNK, **options.config}
    try:
        data = _factory().create_dataset(name, seed=seed, **config)
    except TypeError as error:
        raise UsageError(f"gym:{name}: config: {error}") from None
    except AssertionError as error:
        raise UsageError(f"gym:{name}: config: {error or 'not accepted'}") from None
    for index in range(len(data)):
        try:
            entry = data[index]
            usable = data.score_answer(entry["answer"], entry) >= FULL
            accepts_all = data.score_answer(NONSENSE, entry) >= FULL
        except Exception:  # an item that its own package can't make or grade is no problem to train on
            continue
        if accepts_all:
            raise UsageError(f"gym:{name}: its own grader takes {NONSENSE!r} for a right answer", hint="choose another")
        question = entry["question"]
        if not usable or split_of(PREFIX, name, question) != split or 0 < options.max_chars < len(question):
            continue
        yield Problem(
            id=f"{name}-{seed}-{index}",
            task=PREFIX + name,
            split=split,
            messages=[Message(role="user", content=question.strip())],
            answer=str(entry["answer"]),
            meta={"config": json.dumps(config), "seed": seed, "index": index, "partial": options.partial},
        )


def score(problem: Problem, text: str) -> Score:
    """1.0 where the data set gives what stands in the last answer tags its full score."""
    answers = tagged(text)
    answer = answers[-1] if answers else ""
    if not answer:
        feedback = "The answer tags are empty." if answers else "There are no <answer></answer> tags in the reply."
        return Score(reward=0.0, success=False, failure="no_answer", feedback=feedback)
    if answer == problem.answer:
        return Score(reward=1.0, success=True, feedback="Correct.")
    shown = repr(answer if len(answer) <= 80 else answer[:80] + "...")
    if len(answer) > LONGEST:
        feedback = f"The answer tags hold {len(answer)} characters, far more than an answer has."
        return Score(reward=0.0, success=False, failure="wrong_answer", feedback=feedback)
    meta, name = problem.meta, problem.task.removeprefix(PREFIX)
    try:
        value = gym_score(name, meta["config"], meta["seed"], meta["index"], problem.messages[0].content, answer)
    except RunError as error:
        feedback = f"The answer could not be graded ({error})."
        return Score(reward=0.0, success=False, failure="ungraded", feedback=feedback, status="error")
    if value >= FULL:
        return Score(reward=1.0, success=True, feedback="Correct.")
    part = f" (it scores {value:.2f} of 1)" if value > 0 else ""
    reward = min(max(value, 0.0), 1.0) if meta.get("partial") else 0.0
    feedback = f"The answer tags hold {shown}, which is not right{part}."
    return Score(reward=reward, success=False, failure="wrong_answer", feedback=feedback)
