"""Losses per token. Each returns a tensor [N] to be weighted and summed by the caller."""

from typing import Any


def cispo(logp_N: Any, behaviour_N: Any, advantages_N: Any, interval: tuple[float, float]) -> Any:
    """CISPO: -sg(clamp(ρ, low, high)) · A · log π, with ρ = π / π_behaviour (PAPER Eq 4, ScaleRL).

    The ratio is against the sampler's recorded log-probabilities, so the clamp is the truncated importance sampling.
    """
    ratio_N = (logp_N.detach() - behaviour_N).exp().clamp(*interval)
    return -ratio_N * advantages_N * logp_N


def kl_k3(logp_N: Any, reference_N: Any) -> Any:
    """The k3 estimate of KL(π ‖ π_ref) on sampled tokens: exp(d) - 1 - d, d = log π_ref - log π (Schulman 2020)."""
    difference_N = reference_N - logp_N
    return difference_N.exp() - 1 - difference_N


def token_weights(lengths: list[int], groups: list[int]) -> list[float]:
    """The weight of each rollout's tokens: 1 / (problems · tokens of its group) (PAPER section 2).

    Summing weighted token losses gives, per problem, the group's mean over tokens, and then the mean over problems.
    """
    totals: dict[int, int] = {}
    for length, group in zip(lengths, groups, strict=True):
        totals[group] = totals.get(group, 0) + length
    return [1 / (len(totals) * totals[group]) for group in groups]
