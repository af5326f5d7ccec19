"""Φ, the population of prompts: identity, the Pareto frontier over problems, and the choice of the top K."""

import hashlib
from collections.abc import Mapping, Sequence

import orjson

from fst_cli.data.records import Example, Prompt


def prompt_id(instruction: str, examples: Sequence[Example]) -> str:
    """Hash of what the policy sees of a prompt."""
    shown = [instruction, [[example.question, example.reply] for example in examples]]
    return hashlib.sha256(orjson.dumps(shown)).hexdigest()[:12]


def make_prompt(instruction: str, examples: Sequence[Example] = (), **fields: object) -> Prompt:
    """A prompt with its id; `fields` are the record's other fields."""
    return Prompt.model_validate(
        {"id": prompt_id(instruction, examples), "instruction": instruction, "examples": list(examples), **fields}
    )


def seed_population(instruction: str) -> list[Prompt]:
    """Φ₀: the seed prompt alone."""
    return [make_prompt(instruction, origin="seed")]


def to_candidate(prompt: Prompt) -> dict[str, str]:
    """A prompt as gepa's candidate: two named components of text."""
    examples = [example.model_dump() for example in prompt.examples]
    return {"instruction": prompt.instruction, "examples": orjson.dumps(examples).decode()}


def from_candidate(candidate: Mapping[str, str]) -> Prompt:
    """The prompt of a gepa candidate (without lineage or scores)."""
    examples = [Example.model_validate(value) for value in orjson.loads(candidate["examples"])]
    return make_prompt(candidate["instruction"], examples)


def coverage(pool: Sequence[Prompt]) -> dict[str, int]:
    """For each prompt, the number of problems on which no prompt of the pool scores higher."""
    best: dict[str, float] = {}
    for prompt in pool:
        for problem_id, score in prompt.scores.items():
            best[problem_id] = max(score, best.get(problem_id, score))
    return {prompt.id: sum(score >= best[problem_id] for problem_id, score in prompt.scores.items()) for prompt in pool}


def frontier(pool: Sequence[Prompt]) -> list[Prompt]:
    """Prompts of the per-problem Pareto frontier that no other one dominates, in the pool's order."""
    return [
        prompt for i, prompt in enumerate(pool) if not any(_dominates(o, prompt, j < i) for j, o in enumerate(pool))
    ]


def _dominates(other: Prompt, prompt: Prompt, earlier: bool) -> bool:
    """`other` is nowhere worse, and somewhere better or, as its equal, older."""
    if other.id == prompt.id or any(other.scores.get(p, 0.0) < score for p, score in prompt.scores.items()):
        return False
    return earlier or any(other.scores.get(p, 0.0) > score for p, score in prompt.scores.items())


def select(pool: Sequence[Prompt], k: int) -> list[Prompt]:
    """The top K: the frontier by (coverage, mean), then the rest of the pool likewise, then the best again.

    The fill rule is ours (PAPER section 1, open); a prompt that fills a place has origin `fill`.
    """
    covered = coverage(pool)
    front = {prompt.id for prompt in frontier(pool)}

    def merit(prompt: Prompt) -> tuple[bool, int, float]:
        return (prompt.id in front, covered[prompt.id], prompt.mean or 0.0)

    ranked = sorted(pool, key=merit, reverse=True)[:k]
    chosen = [
        prompt.model_copy(update={"coverage": covered[prompt.id], "rank": rank}) for rank, prompt in enumerate(ranked)
    ]
    fill = [chosen[0].model_copy(update={"origin": "fill", "rank": rank}) for rank in range(len(chosen), k)]
    return chosen + fill


def scored(prompt: Prompt, scores: Mapping[str, float]) -> Prompt:
    """The prompt with these scores by problem id, and their mean."""
    return prompt.model_copy(update={"scores": dict(scores), "mean": sum(scores.values()) / len(scores)})
