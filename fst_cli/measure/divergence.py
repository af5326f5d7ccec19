"""Drift: token-level KL(π_train ‖ π_base) on fresh samples of π_train (PAPER section 6).

Exact over the whole vocabulary at every token that the model sampled, at the sampling temperature, in chunks;
besides, the k1 and k3 estimates that use the sampled token only.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fst_cli.data.records import Divergence, Problem, Prompt, Sampling
from fst_cli.engines.base import Engine
from fst_cli.engines.collect import Slot, collect
from fst_cli.measure.intervals import bootstrap_mean
from fst_cli.policy.logprobs import TokenSequence, chunks, completion_hidden, logits, micro_batches
from fst_cli.policy.model import Policy
from fst_cli.policy.reference import reference_model


def divergence(
    policy: Policy,
    engine: Engine,
    problems: Sequence[Problem],
    prompt: Prompt,
    samples: int,
    sampling: Sampling,
    seed: int,
    micro_tokens: int,
) -> list[Divergence]:
    """Sample each problem under `prompt` and measure every sample's mean KL per token, in nats."""
    slots = [Slot(problem, prompt, sample) for problem in problems for sample in range(samples)]
    found = collect(policy, engine, slots, sampling, (seed, "kl"), "sampling for the KL")
    sequences = [TokenSequence(tokens.prompt_ids, tokens.completion_ids, tokens.mask) for tokens in found.tokens]
    temperature = sampling.temperature or 1.0
    values: dict[int, tuple[float, float, float]] = {}
    for rows in micro_batches(policy.model, sequences, micro_tokens):
        per_token = token_divergence(policy, [sequences[row] for row in rows], temperature)
        ends = np.cumsum([len(sequences[row].target_ids) for row in rows])
        for row, part in zip(rows, np.split(per_token, ends[:-1]), strict=True):
            kl, k1, k3 = part.mean(axis=0).tolist()
            values[row] = (kl, k1, k3)
    return [
        Divergence(
            problem_id=rollout.problem_id,
            prompt_id=rollout.prompt_id,
            policy=policy.hash,
            tokens=len(sequences[row].target_ids),
            kl=values[row][0],
            k1=values[row][1],
            k3=values[row][2],
        )
        for row, rollout in enumerate(found.rollouts)
    ]


def token_divergence(policy: Policy, sequences: Sequence[TokenSequence], temperature: float) -> np.ndarray:
    """Exact KL, k1 and k3 at every sampled token, float64 [N, 3], in the order of the sequences."""
    import torch

    with torch.inference_mode():
        trained_ND = completion_hidden(policy.model, sequences)
        targets_N = torch.tensor([id_ for sequence in sequences for id_ in sequence.target_ids])
        targets_N1 = targets_N[:, None].to(trained_ND.device)
        with reference_model(policy) as reference:
            base_ND = completion_hidden(reference, sequences)
            parts = []
            for rows in chunks(policy.model.config.vocab_size, len(targets_N)):
                # The output layer is the base model's own in both cases where an adapter is used.
                logp_nV = torch.log_softmax(logits(policy.model, trained_ND[rows]) / temperature, dim=-1).double()
                logq_nV = torch.log_softmax(logits(reference, base_ND[rows]) / temperature, dim=-1).double()
                kl_n = (logp_nV.exp() * (logp_nV - logq_nV)).sum(-1)
                k1_n = (logp_nV - logq_nV).gather(1, targets_N1[rows]).squeeze(1)
                parts.append(torch.stack([kl_n, k1_n, (-k1_n).exp() - 1 + k1_n], dim=1))
    return torch.cat(parts).cpu().numpy()


def summarise(divergences: Sequence[Divergence]) -> dict[str, Any]:
    """Mean KL per token with a 95 % interval by problem; every token of a problem counts alike."""
    by_problem: dict[str, list[Divergence]] = {}
    for one in divergences:
        by_problem.setdefault(one.problem_id, []).append(one)

    def mean(field: str) -> list[float]:
        return [
            sum(getattr(one, field) * one.tokens for one in group) / sum(one.tokens for one in group)
            for group in by_problem.values()
        ]

    return {
        "kl_per_token": bootstrap_mean(mean("kl")).model_dump(),
        "k1_per_token": bootstrap_mean(mean("k1")).model_dump(),
        "k3_per_token": bootstrap_mean(mean("k3")).model_dump(),
        "samples": len(divergences),
        "tokens": sum(one.tokens for one in divergences),
    }
