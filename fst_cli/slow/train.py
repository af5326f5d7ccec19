"""The slow loop: one CISPO update of the weights from one batch of rollouts (PAPER section 2).

The trainer never tokenises: it takes the token ids and the sampler's log-probabilities that the rollout stage
recorded. A batch is one optimiser step, gathered over micro-batches of similar length.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fst_cli.console import progress, warn
from fst_cli.data.errors import RunError
from fst_cli.policy.logprobs import TokenSequence, completion_logprobs, micro_batches
from fst_cli.policy.model import Method, Policy, make_trainable
from fst_cli.policy.reference import reference_model
from fst_cli.slow.advantages import AdvantageNorm, advantages
from fst_cli.slow.groups import Batch, variance_shares
from fst_cli.slow.losses import cispo, kl_k3, token_weights
from fst_cli.slow.optimizer import load_state, make_optimizer, save_state, warmed_up

ZeroVariance = Literal["keep", "drop"]


@dataclass(frozen=True)
class TrainSettings:
    """Settings of one update."""

    method: Method
    rank: int
    learning_rate: float
    warmup_steps: int
    clip_interval: tuple[float, float]
    advantage_norm: AdvantageNorm
    zero_variance: ZeroVariance
    kl_coefficient: float
    max_grad_norm: float
    micro_tokens: int
    seed: int


@dataclass(frozen=True)
class _Plan:
    """What each rollout of the batch contributes."""

    rows: list[int]
    sequences: list[TokenSequence]
    advantages: list[float]
    weights: list[float]


@dataclass(frozen=True)
class _Part:
    """One micro-batch: its share of the loss and of the KL penalty; log π - log π_behaviour and entropy per token."""

    loss: float
    penalty: float
    difference: np.ndarray
    entropy: np.ndarray


def train_step(policy: Policy, batch: Batch, settings: TrainSettings, state: Path | None, out: Path) -> dict[str, Any]:
    """Update the policy in place and write optimizer.safetensors into `out`; the step's metrics, flat.

    `state` is the optimiser state to go on from; None starts afresh. Raises RunError when memory runs out, and
    where loss or gradient is not finite.
    """
    import torch

    started = time.perf_counter()
    if batch.rollouts[0].policy != policy.hash:
        warn(f"the rollouts come from weights {batch.rollouts[0].policy}, not from the ones to train: off-policy")
    make_trainable(policy, settings.method, settings.rank, settings.seed)
    optimizer = make_optimizer(policy.model, settings.learning_rate)
    updates = load_state(optimizer, policy.model, state) if state else 0
    for group in optimizer.param_groups:
        group["lr"] = warmed_up(settings.learning_rate, updates, settings.warmup_steps)
    try:
        figures = _accumulate(policy, batch, settings)
    except torch.OutOfMemoryError:
        raise RunError(
            f"out of memory with micro-batches of {settings.micro_tokens} tokens", hint="lower --micro-tokens"
        ) from None
    parameters = [parameter for parameter in policy.model.parameters() if parameter.requires_grad]
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm))
    if not np.isfinite(norm) or not np.isfinite(figures["loss"]):
        raise RunError(f"the loss ({figures['loss']}) or the gradient norm ({norm}) is not finite; nothing was written")
    for parameter in parameters:
        if parameter.grad is None:  # a step without any signal still counts, and its state is still written
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
    policy.model.eval()
    save_state(optimizer, policy.model, out / "optimizer.safetensors", updates + 1)
    return {
        "update": updates + 1,
        "learning_rate": optimizer.param_groups[0]["lr"],
        "grad_norm": norm,
        **figures,
        **variance_shares(batch),
        "clip_interval": list(settings.clip_interval),
        "method": settings.method,
        "trained_tokens": sum(len(tokens.completion_ids) for tokens in batch.tokens),
        "seconds": round(time.perf_counter() - started, 3),
        "peak_memory_bytes": _peak_memory(),
    }


def _plan(batch: Batch, settings: TrainSettings) -> _Plan:
    """Advantages and weights; with zero variance dropped, those groups do not count as problems either."""
    advantages_N = advantages(batch.rewards_N, batch.group_N, settings.advantage_norm)
    keep = np.ones(len(advantages_N), dtype=bool)
    if settings.zero_variance == "drop":
        keep = np.array([batch.rewards_N[batch.group_N == group].std() > 0 for group in batch.group_N])
    rows = np.flatnonzero(keep).tolist()
    lengths = [len(batch.tokens[row].completion_ids) for row in rows]
    return _Plan(
        rows=rows,
        sequences=[TokenSequence(batch.tokens[row].prompt_ids, batch.tokens[row].completion_ids) for row in rows],
        advantages=[float(advantages_N[row]) for row in rows],
        weights=token_weights(lengths, [int(batch.group_N[row]) for row in rows]),
    )


def _accumulate(policy: Policy, batch: Batch, settings: TrainSettings) -> dict[str, Any]:
    """Gradients of the whole batch's loss, and the statistics of its tokens."""
    plan = _plan(batch, settings)
    found = []
    with progress("training", len(plan.rows)) as advance:
        for rows in micro_batches([len(sequence) for sequence in plan.sequences], settings.micro_tokens):
            found.append(_backward(policy, batch, plan, rows, settings))
            advance(len(rows))
    return {
        "loss": sum(part.loss for part in found),
        "kl_to_base_k3": sum(part.penalty for part in found) if settings.kl_coefficient else None,
        **_statistics(found, settings.clip_interval),
    }


def _backward(policy: Policy, batch: Batch, plan: _Plan, rows: list[int], settings: TrainSettings) -> _Part:
    """Add the gradient of one micro-batch."""
    import torch

    sequences = [plan.sequences[row] for row in rows]
    reference_N = None
    if settings.kl_coefficient:
        with reference_model(policy) as reference, torch.no_grad():
            reference_N, _ = completion_logprobs(reference, sequences, batch.temperature)
    logp_N, entropy_N = completion_logprobs(policy.model, sequences, batch.temperature)
    lengths = torch.tensor([len(sequence.completion_ids) for sequence in sequences])

    def per_token(values: list[float]) -> Any:
        return torch.tensor(values).repeat_interleave(lengths).to(logp_N)

    behaviour = np.concatenate([batch.tokens[plan.rows[row]].logprobs for row in rows])
    behaviour_N = torch.as_tensor(behaviour).to(logp_N)
    advantages_N, weights_N = (per_token([values[row] for row in rows]) for values in (plan.advantages, plan.weights))
    loss = (weights_N * cispo(logp_N, behaviour_N, advantages_N, settings.clip_interval)).sum()
    penalty = 0.0
    if reference_N is not None:
        kl = (weights_N * kl_k3(logp_N, reference_N)).sum()
        loss, penalty = loss + settings.kl_coefficient * kl, float(kl.detach())
    loss.backward()
    difference = (logp_N.detach() - behaviour_N).cpu().double().numpy()
    return _Part(float(loss.detach()), penalty, difference, entropy_N.cpu().double().numpy())


def _statistics(parts: list[_Part], clip: tuple[float, float]) -> dict[str, Any]:
    """Entropy, and how far trainer and sampler are apart: ratio quantiles, share clipped, mismatch KL."""
    if not parts:
        return {"entropy": None, "ratio_quantiles": None, "clipped_share": None, "mismatch_kl": None}
    difference = np.concatenate([part.difference for part in parts])
    ratio = np.exp(difference)
    return {
        "entropy": float(np.concatenate([part.entropy for part in parts]).mean()),
        "ratio_quantiles": [float(q) for q in np.quantile(ratio, [0, 0.01, 0.5, 0.99, 1])],
        "clipped_share": float(((ratio < clip[0]) | (ratio > clip[1])).mean()),
        # KL(sampler ‖ trainer) on the sampler's tokens, k3 form
        "mismatch_kl": float((ratio - 1 - difference).mean()),
    }


def _peak_memory() -> int:
    import resource
    import sys

    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024
