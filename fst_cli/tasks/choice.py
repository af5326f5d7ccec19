"""Multiple choice: options in an order drawn from the seed, the answer a letter in <answer> tags."""

import re
from dataclasses import replace
from string import ascii_uppercase
from typing import Any

from pydantic import Field

from fst_cli.data.records import Problem, Score
from fst_cli.data.seeds import generator
from fst_cli.grading.answers import after_thinking, tagged
from fst_cli.tasks.base import Source, Task
from fst_cli.tasks.dataset import DataOptions, Draft, dataset_problems
from fst_cli.tasks.rows import Row

SEED_PROMPT = (
    "You are an expert. Read the problem and its options carefully, work through the reasoning, then select the "
    "correct answer. Output only the letter of the option inside <answer></answer> tags."
)
# PAPER section 5, with the tags that its grader reads.
PHYSICS_PROMPT = (
    "You are a physics expert. Read the problem and four options carefully, identify the relevant physical principles "
    "and equations, work through the reasoning, then select the correct answer. Output only the letter A, B, C, or D "
    "inside the answer tags."
)
REMEDIES: dict[str, list[str]] = {
    "no_answer": [
        "Finish with <answer>X</answer>, where X is the letter of the option.",
        "Put only the letter between <answer> and </answer>.",
        "Be brief.",
    ],
    "wrong_format": ["Write one capital letter and nothing else inside the answer tags.", "Name exactly one option."],
    "wrong_option": [
        "Rule out the options that can't be right, one by one.",
        "Check the units of every option before you choose.",
        "Work out the answer yourself before you look at the options.",
        "Read the question twice.",
    ],
}
_LETTER = re.compile(r"\(?([A-Z])\)?[.:]?", re.ASCII)
_QUESTION = "{question}\n\n{options}\n\nGive the letter of the correct option inside <answer></answer> tags."


class ChoiceOptions(DataOptions):
    """Which questions."""

    shuffle_seed: int = Field(default=0, description="of the order of each question's options")
    domain: str = Field(default="", description="take rows of this `domain` only")


def read_row(row: Row, options: ChoiceOptions) -> Draft | None:
    """A question of SciKnowEval's, GPQA's or ARC's form; None where it is not multiple choice or of another domain."""
    if options.domain and str(row.get("domain")).lower() != options.domain.lower():
        return None
    kind = row.get("type")
    if isinstance(kind, str) and row.get("choices") is None and "mcq" not in kind:
        return None
    question = row.text("question", "Question", "problem")
    texts, right = _choices(row)
    if len(texts) < 2:
        return None
    order = list(range(len(texts)))
    generator("choice", options.shuffle_seed, question).shuffle(order)
    shown = [texts[place] for place in order]
    lines = "\n".join(f"{letter}. {text}" for letter, text in zip(ascii_uppercase, shown, strict=False))
    letter = ascii_uppercase[order.index(right)]
    return Draft(_QUESTION.format(question=question.strip(), options=lines), letter, {"options": shown})


def _choices(row: Row) -> tuple[list[str], int]:
    """The options of a row and the place of the right one.

    Raises DataError where the row says neither.
    """
    if row.get("Correct Answer") is not None:  # GPQA
        wrong = [row.text(f"Incorrect Answer {number}") for number in (1, 2, 3)]
        return [row.text("Correct Answer").strip(), *(text.strip() for text in wrong)], 0
    choices: Any = row.get("choices", "options")
    labels = list(ascii_uppercase)
    if isinstance(choices, dict):
        labels, choices = choices.get("label") or labels, choices.get("text")
    if not isinstance(choices, list):
        raise row.lacks("choices", "options")
    if not choices:  # SciKnowEval's questions that are not multiple choice have an empty list
        return [], 0
    texts = [str(choice).strip() for choice in choices]
    answer = row.get("answer", "answerKey", "label")
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(texts):
        return texts, answer
    for known in (labels[: len(texts)], texts):
        if answer in known:
            return texts, known.index(answer)
    raise row.lacks("answer", "answerKey", "label")


def score(problem: Problem, text: str) -> Score:
    """1.0 where the last answer tags hold the right letter alone; the right letter is not said."""
    answers, options = tagged(text), problem.meta.get("options", [])
    if not answers:
        said = re.search(r"\b[A-J]\b", after_thinking(text)[-200:])
        feedback = "There are no <answer></answer> tags in the reply" + (", only a letter." if said else ".")
        return Score(reward=0.0, success=False, failure="no_answer", feedback=feedback)
    answer = answers[-1]
    match = _LETTER.fullmatch(answer)
    if not match or ord(match[1]) - ord("A") >= len(options):
        feedback = f"The answer tags hold {answer[:80]!r}, not one letter of an option."
        return Score(reward=0.0, success=False, failure="wrong_format", feedback=feedback)
    if match[1] == problem.answer:
        return Score(reward=1.0, success=True, feedback="Correct.")
    chosen = options[ord(match[1]) - ord("A")]
    return Score(
        reward=0.0, success=False, failure="wrong_option", feedback=f"{match[1]} ({chosen[:200]}) is not right."
    )


TASK = Task(
    name="choice",
    summary="multiple choice, your own questions",
    seed_prompt=SEED_PROMPT,
    options=ChoiceOptions,
    problems=dataset_problems("choice", read_row),
    score=score,
    remedies=REMEDIES,
    source=Source("--data", "yours", "yours", "--data with question, choices, answer"),
)


_PHYSICS = "hub:hicai-zju/SciKnowEval/data/Physics/sciknoweval_physics_test.jsonl"
TASKS = [
    TASK,
    replace(
        TASK,
        name="physics",
        summary="the paper's physics: SciKnowEval's multiple choice",
        seed_prompt=PHYSICS_PROMPT,
        problems=dataset_problems("physics", read_row, _PHYSICS),
        source=Source("hub:hicai-zju/SciKnowEval", "11 MB, a fifth test", "MIT", "the hub, or --data"),
    ),
    replace(
        TASK,
        name="gpqa",
        summary="GPQA Diamond, for evaluation",
        problems=dataset_problems("gpqa", read_row, test_data="hub:Idavidrein/gpqa:gpqa_diamond"),
        source=Source("hub:Idavidrein/gpqa", "198 test", "CC BY 4.0", "the hub with its terms accepted, or --data"),
    ),
]
