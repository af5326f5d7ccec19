"""Math problems with one right value: procedural by default, or a data set.

Procedural problems are split by the hash of their text, so train and test are disjoint whatever the seeds.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from pydantic import Field

from fst_cli.data.records import Message, Problem, Score
from fst_cli.data.seeds import generator
from fst_cli.grading.answers import after_thinking, last_boxed
from fst_cli.grading.arithmetic_check import first_wrong_step
from fst_cli.grading.math_equal import equal, numbers_of, plain_number
from fst_cli.tasks import arithmetic
from fst_cli.tasks.base import Source, Task, boxed_solution
from fst_cli.tasks.dataset import DataOptions, Draft, dataset_problems
from fst_cli.tasks.rows import Row
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
    "wrong_format": ["Put just the number inside \\boxed{}, with no units or words.", "Never leave \\boxed{} empty."],
    "wrong_value": [
        "Check your answer before you finish.",
        "Work digit by digit and write every carry and borrow.",
        "Read the problem twice.",
        "Do one small operation at a time and write down each result.",
        "Verify each step of your reasoning.",
    ],
}

SHOWN = 80  # characters of a wrong answer in the feedback


class MathOptions(DataOptions):
    """Which problems."""

    difficulty: int = Field(default=2, ge=1, le=6, description="digits of the operands of procedural problems")


def split_of_text(question: str) -> Split:
    """The split a problem belongs to, by its text."""
    return split_of("math", question)


def problems(options: MathOptions, split: Split, count: int, seed: int) -> Iterator[Problem]:
    """`count` distinct problems of `split`, procedural without `data`."""
    if options.data or options.test_data:
        return _OWN(options, split, count, seed)
    draws = (_draw(options, split, seed, index) for index in range(1_000_000_000))
    return take_unique(draws, count, key=lambda problem: problem.messages[0].content)


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


def read_row(row: Row, options: DataOptions) -> Draft:
    """A question with its answer, which may stand in the solution's last box or behind GSM8K's ####."""
    question = row.text("question", "problem", "input")
    solution = row.get("solution", "rationale")
    answer = row.get("answer", "target", "final_answer")
    if answer is None and isinstance(solution, str):
        answer = last_boxed(solution)
    if isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    if isinstance(answer, bool) or not isinstance(answer, str | int | float):
        raise row.lacks("answer", "target", "final_answer")
    working, marker, final = str(answer).rpartition("####")
    solution = solution or (_without_calculator(working) if marker else None)
    return Draft(question, final.strip(), {"solution": solution} if isinstance(solution, str) else {})


def _without_calculator(working: str) -> str:
    """GSM8K's working without its marks <<3*4=12>>."""
    return re.sub(r"<<[^<>]*>>", "", working).strip()


_OWN = dataset_problems("math", read_row)


def score(problem: Problem, text: str) -> Score:
    """1.0 where the last box equals the gold value, else 0.0 and what is wrong; the gold value is not said."""
    box = last_boxed(text)
    if box is None:
        near = problem.answer in after_thinking(text).replace(",", "")
        feedback = "There is no \\boxed{} in the reply" + (", although the right value appears in it." if near else ".")
        return Score(reward=0.0, success=False, failure="no_box", feedback=feedback)
    verdict = equal(problem.answer, box)
    if verdict.status != "ok":
        feedback = f"The answer in the box could not be graded ({verdict.status})."
        return Score(reward=0.0, success=False, failure="ungraded", feedback=feedback, status=verdict.status)
    if verdict.equal:
        return Score(reward=1.0, success=True, feedback="Correct.")
    return _wrong(problem.answer, box, text)


def _wrong(gold: str, box: str, text: str) -> Score:
    shown = repr(box if len(box) <= SHOWN else box[:SHOWN] + "...")
    value, right = plain_number(box), plain_number(gold)
    if not box:
        failure, feedback = "wrong_format", "The box is empty."
    elif value is None and right is not None and right in numbers_of(box):
        failure, feedback = "wrong_format", f"The box holds {shown}: the right value, but not the value alone."
    else:
        failure, feedback = (
            "wrong_value",
            f"The box holds {shown}, which is not the right value{_how_far(value, right)}.",
        )
        step = first_wrong_step(text)
        feedback += f" This step is wrong: {step}" if step else ""
    return Score(reward=0.0, success=False, failure=failure, feedback=feedback)


def _how_far(value: Fraction | None, right: Fraction | None) -> str:
    """In what way a number is off; not by how much, which would tell the gold value."""
    if value is None or right is None:
        return ""
    if value == -right:
        return ": the sign is wrong"
    if abs(value - right) == 1:
        return ": it is off by one"
    if right and value and (ratio := max(value / right, right / value)) > 1:
        while ratio > 1:
            ratio /= 10
        if ratio == 1:
            return ": it is off by a power of ten"
    return ": it is too large" if value > right else ": it is too small"


TASK = Task(
    name="math",
    summary="sums and word problems, or any --data with questions and values",
    seed_prompt=SEED_PROMPT,
    options=MathOptions,
    problems=problems,
    score=score,
    worked_solution=boxed_solution,
    remedies=REMEDIES,
    source=Source("procedural", "unlimited", "ours (Apache-2.0)"),
)


def _preset(name: str, summary: str, source: Source, data: str = "", test_data: str = "") -> Task:
    read = dataset_problems(name, read_row, data, test_data)
    return replace(TASK, name=name, summary=summary, source=source, options=DataOptions, problems=read)


_HUB = "the hub, or --data"
TASKS = [
    TASK,
    _preset(
        "gsm8k",
        "grade-school word problems",
        Source("hub:openai/gsm8k", "7473 train, 1319 test", "MIT", _HUB),
        "hub:openai/gsm8k:main",
    ),
    _preset(
        "math500",
        "competition problems: MATH, tested on MATH-500",
        Source("hub:rasbt/math_full_minus_math500, hub:HuggingFaceH4/MATH-500", "12000 train, 500 test", "MIT", _HUB),
        "hub:rasbt/math_full_minus_math500",
        "hub:HuggingFaceH4/MATH-500",
    ),
    _preset(
        "polaris",
        "the paper's math set: Polaris-53K",
        Source("hub:POLARIS-Project/Polaris-Dataset-53K", "53K, a fifth of them test", "see its card", _HUB),
        "hub:POLARIS-Project/Polaris-Dataset-53K",
    ),
    _preset(
        "aime",
        "AIME 2025, for evaluation",
        Source("hub:math-ai/aime25", "30 test", "Apache-2.0", _HUB),
        test_data="hub:math-ai/aime25",
    ),
    _preset(
        "hmmt",
        "HMMT February 2025, for evaluation",
        Source("hub:MathArena/hmmt_feb_2025", "30 test", "see its card", _HUB),
        test_data="hub:MathArena/hmmt_feb_2025",
    ),
]
