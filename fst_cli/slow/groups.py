"""Rollouts -> groups. A group is all rollouts of one problem, across prompts (PITFALLS 11)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fst_cli.data import jsonl, tensors
from fst_cli.data.errors import DataError
from fst_cli.data.records import Rollout
from fst_cli.data.tensors import Tokens
from fst_cli.policy.logprobs import TokenSequence
from fst_cli.slow.advantages import is_flat


@dataclass(frozen=True)
class Batch:
    """The rollouts of one step with their tokens; `group_N[i]` is the group of rollout i, 0..P-1."""

    rollouts: list[Rollout]
    tokens: list[Tokens]
    group_N: np.ndarray

    @property
    def rewards_N(self) -> np.ndarray:
        """Rewards, float64."""
        return np.array([rollout.score.reward for rollout in self.rollouts], dtype=np.float64)

    @property
    def sequences(self) -> list[TokenSequence]:
        """Prompt and completion ids, as the model reads them, and which it sampled."""
        return [TokenSequence(tokens.prompt_ids, tokens.completion_ids, tokens.mask) for tokens in self.tokens]

    @property
    def temperature(self) -> float:
        """The one temperature that all were sampled at."""
        return self.rollouts[0].sampling.temperature


def load_batch(path: Path) -> Batch:
    """Read a rollouts.jsonl and the safetensors beside it.

    Raises DataError where rows or log-probabilities are missing, groups have different sizes or a single rollout, or
    the sampling was not that of the policy itself (top-p, top-k, min-p or temperature 0).
    """
    rollouts = jsonl.read_all(path, Rollout)
    tokens = tensors.of_rollouts(path, rollouts)
    first = rollouts[0]
    for rollout in rollouts:
        if rollout.sampling != first.sampling:
            raise DataError(f"{path}: rollout {rollout.id}: sampled with other settings than {first.id}")
    if not first.sampling.trainable:
        raise DataError(
            f"{path}: sampled with {first.sampling!r}",
            hint="top-p, top-k and min-p renormalise in the sampler only; train on rollouts without them",
        )
    for rollout, row in zip(rollouts, tokens, strict=True):
        if not np.isfinite(row.sampled_logprobs).all():
            raise DataError(
                f"{path}: rollout {rollout.id}: the sampler's log-probabilities are missing",
                hint="roll out with --logprobs require or recompute",
            )
    return Batch(rollouts, tokens, _group_numbers(path, rollouts))


def _group_numbers(path: Path, rollouts: Sequence[Rollout]) -> np.ndarray:
    numbers: dict[str, int] = {}
    group_N = np.array([numbers.setdefault(rollout.group_id, len(numbers)) for rollout in rollouts])
    sizes = np.bincount(group_N)
    if sizes.min() != sizes.max():
        small = list(numbers)[int(sizes.argmin())]
        raise DataError(f"{path}: group {small} has {sizes.min()} rollouts, another has {sizes.max()}")
    if sizes.max() < 2:
        raise DataError(f"{path}: groups of one rollout have no advantage", hint="roll out with --group-size 2 or more")
    return group_N


def variance_shares(batch: Batch) -> dict[str, Any]:
    """How many groups carry a signal (PITFALLS 8), and the reward of each prompt."""
    rewards = [batch.rewards_N[batch.group_N == group] for group in range(batch.group_N.max() + 1)]
    flat = [group for group in rewards if is_flat(group)]
    top = batch.rewards_N.max()
    by_prompt: dict[str, list[float]] = {}
    for rollout in batch.rollouts:
        by_prompt.setdefault(rollout.prompt_id, []).append(rollout.score.reward)
    return {
        "groups": len(rewards),
        "groups_mixed_share": 1 - len(flat) / len(rewards),
        "groups_all_zero_share": sum(group[0] == 0 for group in flat) / len(rewards),
        "groups_all_best_share": sum(group[0] == top != 0 for group in flat) / len(rewards),
        "reward_mean": float(batch.rewards_N.mean()),
        "reward_by_prompt": {prompt: float(np.mean(found)) for prompt, found in by_prompt.items()},
    }
