"""Math problems with one right value: procedural by default, or the user's own JSONL with `--data`.

Procedural problems are split by the hash of their text and the user's problems by the hash of their question, so
train and test are disjoint whatever the seeds.
"""

from collections.abc import Iterator
from pathlib import Path

import orjson
from pydantic import Field

from fst_cli.data.errors import DataError
from fst_cli.data.records import Message, Problem, Record, Score
from fst_cli.data.seeds import generator
from fst_cli.grading.answers import after_thinking, last_boxed
from fst_cli.grading.math_equal import equal
from fst_cli.tasks import arithmetic
from fst_cli.tasks.base import Task
from fst_cli.tasks.splits import Split, split_of, take_unique

SEED_PROMPT = (
    "You are a precise math solver. Read the problem carefully, work through the solution step by step with clear "
    "algebra and attention to numerical precision, and put your final answer inside \\boxed{} on the last line."
)

REMEDIES: dict[str, list[str]] = {
    "no_box": [
        "Put just the number inside \\boxed{}, with no units or words.",
        "Finish with \\boxed{} around the answer.",
        "Be brief.",
    ],
    "wrong_value": [
        "Check your answer before you finish.",
        "Work digit by digit and write every carry and borrow.",
        "Read the problem twice.",
        "Do one small operation at a time and write down each result.",
        "Verify each step of your reasoning.",
    ],
}

_QUESTION_FIELDS = ("question", "problem")


class MathOptions(Record):
    """Which problems."""

    difficulty: int = Field(default=2, ge=1, le=6, description="digits of the operands of procedural problems")
    data: Path | None = Field(
        default=None, description="JSONL with `question` (or `problem`) and `answer`, optionally `solution`"
    )


def split_of_text(question: str) -> Split:
    """The split a problem belongs to, by its text."""
    return split_of("math", question)


def problems(options: MathOptions, split: Split, count: int, seed: int) -> Iterator[Problem]:
    """`count` distinct problems of `split`."""
    if options.data:
        yield from _own_problems(options.data, split, count, seed)
        return
    draws = (_draw(options, split, seed, index) for index in range(1_000_000_000))
    yield from take_unique(draws, count, key=lambda problem: problem.messages[0].content)


def _draw(options: MathOptions, split: Split, seed: int, index: int) -> Problem:
    rng = generator("math", options.difficulty, split, seed, index)
    while True:
        question, steps = arithmetic.draw(rng, options.difficulty)
        if split_of_text(question) == split:
            break
    return Problem(
        id=f"math-{options.difficulty}-{split}-{seed}-{index}",
        task="math",
        split=split,
        messages=[Message(role="user", content=question)],
        answer=str(steps[-1].result),
        meta={"solution": arithmetic.worked(steps)},
    )


def _own_problems(path: Path, split: Split, count: int, seed: int) -> Iterator[Problem]:
    """The user's problems of this split, in an order drawn from the seed."""
    found = [problem for problem in _read_own(path) if problem.split == split]
    if len(found) < count:
        raise DataError(
            f"{path}: holds {len(found)} {split} problems, {count} asked for",
            hint="one problem in five is test, by the hash of its text; ask for fewer with --count",
        )
    generator("math-data", split, seed).shuffle(found)
    yield from found[:count]


def _read_own(path: Path) -> Iterator[Problem]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _own_problem(line, number, f"{path}:{number}")


def _own_problem(line: bytes, number: int, where: str) -> Problem:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise DataError(f"{where}: not valid JSON: {error}") from None
    question = next((value[name] for name in _QUESTION_FIELDS if isinstance(value, dict) and name in value), None)
    if not isinstance(question, str) or not question.strip():
        raise DataError(f"{where}: question: a text is required", hint=f"accepted: {' or '.join(_QUESTION_FIELDS)}")
    answer = value.get("answer")
    if not isinstance(answer, str | int | float):
        raise DataError(f"{where}: answer: a text or a number is required")
    # GSM8K writes "working #### answer" in one field.
    working, marker, final = str(answer).rpartition("####")
    solution = value.get("solution") or (working.strip() if marker else None)
    return Problem(
        id=f"math-line-{number}",
        task="math",
        split=split_of_text(question),
        messages=[Message(role="user", content=question)],
        answer=final.strip(),
        meta={"solution": solution} if solution else {},
    )


def score(problem: Problem, text: str) -> Score:
    """1.0 where the last box equals the gold value, else 0.0; the feedback never holds the gold value."""
    box = last_boxed(text)
    if box is None:
        near = f"{problem.answer}" in after_thinking(text).replace(",", "")
        feedback = "There is no \\boxed{} in the reply" + (", although the right value appears in it." if near else ".")
        return Score(reward=0.0, success=False, failure="no_box", feedback=feedback)
    verdict = equal(problem.answer, box)
    if verdict.status != "ok":
        feedback = f"The answer in the box could not be graded ({verdict.status})."
        return Score(reward=0.0, success=False, failure="ungraded", feedback=feedback, status=verdict.status)
    if verdict.equal:
        return Score(reward=1.0, success=True, feedback="Correct.")
    feedback = f"The box holds {box[:80]!r}, which is not the right value."
    return Score(reward=0.0, success=False, failure="wrong_value", feedback=feedback)


def worked_solution(problem: Problem) -> str | None:
    """The problem's own working and the answer in a box; None where the data holds no working."""
    working = problem.meta.get("solution")
    return f"{working}\nThe answer is \\boxed{{{problem.answer}}}" if working else None


TASK = Task(
    name="math",
    summary="arithmetic and word problems (procedural), or your own problems with --data",
    seed_prompt=SEED_PROMPT,
    options=MathOptions,
    problems=problems,
    score=score,
    worked_solution=worked_solution,
    remedies=REMEDIES,
)
