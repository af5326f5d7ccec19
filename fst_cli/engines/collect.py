"""The rollout stage: problems × prompts × samples -> episodes -> scores -> records.

For each problem, G/K samples under each of the K prompts; all G are one group (PAPER section 1).
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fst_cli.console import progress, warn
from fst_cli.data.errors import RunError, UsageError
from fst_cli.data.records import Problem, Prompt, Rollout, Sampling, Score
from fst_cli.data.seeds import Part, derive
from fst_cli.data.tensors import Tokens
from fst_cli.engines.base import Engine, Request
from fst_cli.engines.turns import Episode, in_parallel, play
from fst_cli.policy.chat import render, require_system_role
from fst_cli.policy.model import Policy
from fst_cli.tasks.registry import get_task

TRUNCATED_WARNING = 0.5
ERRORS_ALLOWED = 0.05


@dataclass(frozen=True)
class Slot:
    """One sample to take. `sample` counts the samples of this problem and prompt."""

    problem: Problem
    prompt: Prompt
    sample: int
    address: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Collected:
    """Rollouts, their tokens in the same order, and how long sampling took."""

    rollouts: list[Rollout]
    tokens: list[Tokens]
    seconds: float

    def figures(self) -> dict[str, Any]:
        """Summary figures, flat."""
        rewards = [rollout.score.reward for rollout in self.rollouts]
        rows = zip(self.rollouts, self.tokens, strict=True)
        generated = sum(int(tokens.sampled.sum()) for rollout, tokens in rows if not rollout.reused)
        reused = sum(rollout.reused for rollout in self.rollouts)
        return {
            "rollouts": len(self.rollouts),
            "reused": reused,
            "reused_share": reused / len(self.rollouts),
            "reward_mean": float(np.mean(rewards)),
            "success_share": float(np.mean([rollout.score.success for rollout in self.rollouts])),
            "truncated_share": float(np.mean([rollout.finish_reason == "length" for rollout in self.rollouts])),
            "generated_tokens": generated,
            "tokens_per_second": round(generated / max(self.seconds, 1e-9), 1),
            "failures": dict(Counter(rollout.score.failure for rollout in self.rollouts if rollout.score.failure)),
        }


def group_slots(problems: Sequence[Problem], prompts: Sequence[Prompt], group_size: int) -> list[Slot]:
    """G slots for each problem, G/K under each prompt; a prompt that is in the population twice gets twice as many.

    Raises UsageError where K does not divide G.
    """
    if group_size % len(prompts):
        raise UsageError(
            f"the group size {group_size} is not a multiple of the number of prompts {len(prompts)}",
            hint="every prompt gets G/K samples of a problem; change --group-size or the population",
        )
    each = group_size // len(prompts)
    slots = []
    for problem in problems:
        taken: Counter[str] = Counter()
        for prompt in prompts:
            for _ in range(each):
                slots.append(Slot(problem, prompt, taken[prompt.id]))
                taken[prompt.id] += 1
    return slots


def collect(
    policy: Policy, engine: Engine, slots: Sequence[Slot], sampling: Sampling, address: tuple[Part, ...], what: str
) -> Collected:
    """Sample every slot, turn after turn, and score it.

    The seed of a slot is its address, its problem, prompt and sample number. `sampling.max_tokens` is the budget of
    all turns together, replies included.

    Raises UsageError where a template can't hold a prompt's instruction, and RunError where a prompt does not fit
    the context or too many completions could not be graded.
    """
    if any(slot.prompt.instruction for slot in slots):
        require_system_role(policy.tokenizer)
    room = policy.context - sampling.max_tokens
    prompt_ids = [render(policy.tokenizer, slot.prompt, slot.problem, room) for slot in slots]
    seeds = [derive(*address, *slot.address, slot.problem.id, slot.prompt.id, slot.sample) for slot in slots]
    episodes = [
        Episode(slot.problem, get_task(slot.problem.task), Request(ids, seed))
        for slot, ids, seed in zip(slots, prompt_ids, seeds, strict=True)
    ]
    started = time.perf_counter()
    with progress(what, len(episodes)) as advance:
        play(policy.tokenizer, engine, episodes, sampling, advance)
    seconds = time.perf_counter() - started
    scores = in_parallel(Episode.score, episodes)
    rollouts = [
        _rollout(policy, slot, episode, score, sampling, row)
        for row, (slot, episode, score) in enumerate(zip(slots, episodes, scores, strict=True))
    ]
    _check_grading(rollouts)
    return Collected(rollouts, [episode.tokens for episode in episodes], seconds)


def warn_if_truncated(figures: dict[str, Any], max_tokens: int) -> None:
    """Say it loudly where most completions never reach their answer (PITFALLS 7)."""
    share = figures["truncated_share"]
    if share > TRUNCATED_WARNING:
        warn(f"{share:.0%} of the completions were cut at {max_tokens} tokens; raise --max-tokens")


def _rollout(policy: Policy, slot: Slot, episode: Episode, score: Score, sampling: Sampling, row: int) -> Rollout:
    return Rollout(
        id=f"{slot.problem.id}/{slot.prompt.id}/{slot.sample}",
        group_id=slot.problem.id,
        problem_id=slot.problem.id,
        prompt_id=slot.prompt.id,
        sample=slot.sample,
        seed=episode.request.seed,
        text=episode.transcript,
        turns=episode.turns if len(episode.turns) > 1 else [],
        finish_reason=episode.finish_reason,
        prompt_tokens=len(episode.request.prompt_ids),
        completion_tokens=len(episode.ids),
        score=score,
        policy=policy.hash,
        template=policy.template,
        sampling=sampling,
        row=row,
    )


def _check_grading(rollouts: Sequence[Rollout]) -> None:
    broken = [rollout for rollout in rollouts if rollout.score.status != "ok"]
    if len(broken) > max(2, ERRORS_ALLOWED * len(rollouts)):
        raise RunError(
            f"{len(broken)} of {len(rollouts)} completions could not be graded; the first: {broken[0].id}",
            hint="a grader that fails is not a reward of 0; see `score.status` in the rollouts",
        )
