"""Group-relative advantages: a baseline to subtract and a scale to divide by (PAPER section 2)."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from fst_cli.data.errors import UsageError

Baseline = Literal["problem", "prompt", "leave-one-out"]
AdvantageNorm = Literal["group-std", "batch-std", "none"]
EPSILON = 1e-6


def advantages(
    rewards_N: np.ndarray,
    group_N: np.ndarray,
    norm: AdvantageNorm = "group-std",
    baseline: Baseline = "problem",
    prompt_N: Sequence[str] | None = None,
) -> np.ndarray:
    """A_i = (r_i - b_i) / s_i, float64 [N].

    Raises UsageError where the prompt baseline meets a prompt with one rollout of a problem.
    """
    if baseline == "prompt":
        group_N = _by_prompt(group_N, prompt_N or [])
    centred_N = leave_one_out(rewards_N, group_N) if baseline == "leave-one-out" else group_mean(rewards_N, group_N)
    if norm == "none":
        return centred_N
    return centred_N / (group_std(rewards_N, group_N) if norm == "group-std" else batch_std(centred_N))


def group_mean(rewards_N: np.ndarray, group_N: np.ndarray) -> np.ndarray:
    """r_i - mean_g: the group's mean as the baseline (GRPO, PAPER Eq 3); alone, it is Dr. GRPO's advantage."""
    return rewards_N - _mean(rewards_N, group_N)


def leave_one_out(rewards_N: np.ndarray, group_N: np.ndarray) -> np.ndarray:
    """r_i - mean of the G-1 others = G/(G-1) · (r_i - mean_g) (RLOO, Ahmadian et al. 2024)."""
    size_N = np.bincount(group_N)[group_N]
    return size_N / (size_N - 1) * group_mean(rewards_N, group_N)


def group_std(rewards_N: np.ndarray, group_N: np.ndarray) -> np.ndarray:
    """std_g + ε with the population std of the group's rewards (PAPER Eq 3)."""
    return np.sqrt(_mean(group_mean(rewards_N, group_N) ** 2, group_N)) + EPSILON


def batch_std(centred_N: np.ndarray) -> float:
    """One scale for the batch: the std of its centred advantages + ε (ScaleRL)."""
    return float(centred_N.std()) + EPSILON


def _mean(values_N: np.ndarray, group_N: np.ndarray) -> np.ndarray:
    groups = [values_N[group_N == group] for group in range(group_N.max() + 1)]
    # The mean of three times 0.1 is not 0.1: equal rewards must leave exactly nothing.
    return np.array([group[0] if is_flat(group) else group.mean() for group in groups])[group_N]


def is_flat(rewards_G: np.ndarray) -> bool:
    """Whether a group has zero variance, and so no signal (PITFALLS 8)."""
    return bool((rewards_G == rewards_G[0]).all())


def _by_prompt(group_N: np.ndarray, prompt_N: Sequence[str]) -> np.ndarray:
    """Groups split by prompt: the ablation of PAPER section 2."""
    numbers: dict[tuple[int, str], int] = {}
    pairs = zip(group_N.tolist(), prompt_N, strict=True)
    split_N = np.array([numbers.setdefault(pair, len(numbers)) for pair in pairs])
    if np.bincount(split_N).min() < 2:
        raise UsageError(
            "a baseline by prompt needs two rollouts of each problem under each prompt",
            hint="roll out with --group-size twice the number of prompts or more, or --baseline problem",
        )
    return split_N
