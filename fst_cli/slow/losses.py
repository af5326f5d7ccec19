"""Policy-gradient losses token by token, KL estimates, and the weights that aggregate tokens into one loss.

ρ is π / π_old. π_old is what the sampler recorded; where the sampler's mismatch is corrected by a truncated importance
weight (`tis`), it is the trainer's own policy before the update. There is one update a batch, so then ρ = 1, the clip
is inert, and only its gradient counts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Aggregation = Literal["problem", "token", "sequence", "constant"]
KlEstimator = Literal["k1", "k2", "k3"]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Tokens:
    """Sampled tokens of whole rollouts, row after row: log π, log π_old and A [N], and each token's rollout [N]."""

    logp_N: Any
    old_N: Any
    advantages_N: Any
    rollout_N: Any


def token_ratio(tokens: Tokens) -> Any:
    """ρ of each token, [N]."""
    return (tokens.logp_N - tokens.old_N).exp()


def sequence_ratio(tokens: Tokens) -> Any:
    """s = exp(mean_t log ρ_t) of each token's rollout, [N]."""
    import torch

    log_ratio_N = tokens.logp_N - tokens.old_N
    count = int(tokens.rollout_N.max()) + 1
    sums_R = log_ratio_N.new_zeros(count).index_add(0, tokens.rollout_N, log_ratio_N)
    lengths_R = torch.bincount(tokens.rollout_N, minlength=count)
    return (sums_R / lengths_R).exp()[tokens.rollout_N]


def cispo(tokens: Tokens, clip: Interval) -> Any:
    """CISPO: -sg(clamp(ρ, low, high)) · A · log π (MiniMax-M1; PAPER Eq 4, ScaleRL).

    With ρ to the sampler, the clamp is the truncated importance sampling.
    """
    ratio_N = token_ratio(tokens).detach().clamp(*clip)
    return -ratio_N * tokens.advantages_N * tokens.logp_N


def ppo_clip(tokens: Tokens, clip: Interval) -> Any:
    """PPO's clipped surrogate: -min(ρ·A, clamp(ρ, low, high)·A) (GRPO; DAPO with a higher upper end; Dr. GRPO)."""
    ratio_N = token_ratio(tokens)
    return -(ratio_N * tokens.advantages_N).minimum(ratio_N.clamp(*clip) * tokens.advantages_N)


def gspo(tokens: Tokens, clip: Interval) -> Any:
    """GSPO: the clipped surrogate with one ratio a sequence, s = exp(mean_t log ρ_t) (Zheng et al. 2025)."""
    ratio_N = sequence_ratio(tokens)
    return -(ratio_N * tokens.advantages_N).minimum(ratio_N.clamp(*clip) * tokens.advantages_N)


def reinforce(tokens: Tokens, clip: None) -> Any:
    """REINFORCE: -A · log π (Williams 1992); off-policy tokens are weighed by `truncated_importance`."""
    return -tokens.advantages_N * tokens.logp_N


def truncated_importance(logp_N: Any, behaviour_N: Any, cap: float) -> Any:
    """TIS: sg(min(π / π_behaviour, cap)), the weight of a token that another engine sampled (Yao et al. 2025)."""
    return (logp_N.detach() - behaviour_N).exp().clamp(max=cap)


@dataclass(frozen=True)
class Loss:
    """A loss function and the settings it was published with."""

    function: Callable[[Tokens, Any], Any]
    clip_interval: Interval | None
    aggregation: Aggregation
    advantage_norm: Literal["group-std", "none"]
    tis: float = 0.0
    ratio: Callable[[Tokens], Any] = token_ratio

    def defaults(self) -> dict[str, Any]:
        """Its settings by name."""
        return {name: value for name, value in vars(self).items() if name not in ("function", "ratio")}


LOSSES: dict[str, Loss] = {
    "cispo": Loss(cispo, (0.0, 4.0), "problem", "group-std"),
    "grpo": Loss(ppo_clip, (0.8, 1.2), "sequence", "group-std"),
    "dapo": Loss(ppo_clip, (0.8, 1.28), "token", "group-std"),
    "dr-grpo": Loss(ppo_clip, (0.8, 1.2), "constant", "none"),
    "gspo": Loss(gspo, (1 - 3e-4, 1 + 4e-4), "sequence", "group-std", ratio=sequence_ratio),
    "reinforce": Loss(reinforce, None, "problem", "group-std", tis=2.0),
}


def kl_k1(logp_N: Any, reference_N: Any) -> Any:
    """k1 = d, d = log π - log π_ref: unbiased for KL(π ‖ π_ref), but as a loss its gradient is 0 on average."""
    return logp_N - reference_N


def kl_k2(logp_N: Any, reference_N: Any) -> Any:
    """k2 = d²/2: biased, and as a loss its gradient is that of KL(π ‖ π_ref) (Schulman 2020)."""
    return (logp_N - reference_N) ** 2 / 2


def kl_k3(logp_N: Any, reference_N: Any) -> Any:
    """k3 = exp(-d) - 1 + d: unbiased and never negative (Schulman 2020)."""
    difference_N = reference_N - logp_N
    return difference_N.exp() - 1 - difference_N


KL_ESTIMATORS: dict[str, Callable[[Any, Any], Any]] = {"k1": kl_k1, "k2": kl_k2, "k3": kl_k3}


def token_weights(
    lengths: Sequence[int], groups: Sequence[int], aggregation: Aggregation = "problem", max_tokens: int = 0
) -> list[float]:
    """The weight of each rollout's tokens; the loss is the sum of weighted token losses.

    problem: the mean over a group's tokens, then over problems (PAPER section 2). token: the mean over all tokens
    (DAPO). sequence: the mean over a rollout's tokens, then over rollouts (GRPO). constant: the sum over tokens by
    rollouts · `max_tokens`, so that length does not matter (Dr. GRPO).
    """
    if aggregation == "token":
        return [1 / sum(lengths)] * len(lengths)
    if aggregation == "sequence":
        return [1 / (len(lengths) * length) for length in lengths]
    if aggregation == "constant":
        return [1 / (len(lengths) * max_tokens)] * len(lengths)
    totals: dict[int, int] = {}
    for length, group in zip(lengths, groups, strict=True):
        totals[group] = totals.get(group, 0) + length
    return [1 / (len(totals) * totals[group]) for group in groups]
