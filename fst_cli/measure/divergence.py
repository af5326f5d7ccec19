"""Drift: token-level KL(π_train ‖ π_base) on fresh samples of π_train (PAPER section 6).

Exact over the whole vocabulary at every sampled position, at the sampling temperature, in chunks; besides, the k1
and k3 estimates that use the sampled token only, and the reverse KL(π_base ‖ π_train) at the same positions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fst_cli.data.records import Divergence, Problem, Prompt, Rollout, Sampling, TokenDivergence
from fst_cli.engines.base import Engine
from fst_cli.engines.collect import Slot, collect
from fst_cli.measure.intervals import bootstrap_mean
from fst_cli.policy.logprobs import TokenSequence, chunks, completion_hidden, logits, micro_batches
from fst_cli.policy.model import Policy
from fst_cli.policy.reference import reference_model

TOP = 10  # drifting tokens that are reported


@dataclass(frozen=True)
class Sampled:
    """A sample of π_train, its sampled tokens' ids [N] and places [N], and at each kl, k1, k3 and reverse KL [N, 4]."""

    rollout: Rollout
    ids: list[int]
    places: list[int]
    values_N4: np.ndarray


def measure(
    policy: Policy,
    engine: Engine,
    problems: Sequence[Problem],
    prompt: Prompt,
    samples: int,
    sampling: Sampling,
    seed: int,
    micro_tokens: int,
) -> list[Sampled]:
    """Sample each problem under `prompt` and measure at every token the model sampled."""
    slots = [Slot(problem, prompt, sample) for problem in problems for sample in range(samples)]
    found = collect(policy, engine, slots, sampling, (seed, "kl"), "sampling for the KL")
    sequences = [TokenSequence(tokens.prompt_ids, tokens.completion_ids, tokens.mask) for tokens in found.tokens]
    values: dict[int, np.ndarray] = {}
    for rows in micro_batches(policy.model, sequences, micro_tokens):
        per_token = token_divergence(policy, [sequences[row] for row in rows], sampling.temperature or 1.0)
        ends = np.cumsum([len(sequences[row].target_ids) for row in rows])
        values |= dict(zip(rows, np.split(per_token, ends[:-1]), strict=True))
    return [
        Sampled(rollout, sequence.target_ids, sequence.target_places, values[row])
        for row, (rollout, sequence) in enumerate(zip(found.rollouts, sequences, strict=True))
    ]


def records(samples: Sequence[Sampled], policy: Policy) -> list[Divergence]:
    """A record a sample: the means over its tokens."""
    found = []
    for one in samples:
        kl, k1, k3, reverse = one.values_N4.mean(axis=0).tolist()
        found.append(
            Divergence(
                problem_id=one.rollout.problem_id, prompt_id=one.rollout.prompt_id, policy=policy.hash,
                tokens=len(one.ids), kl=kl, k1=k1, k3=k3, reverse_kl=reverse,
            )
        )  # fmt: skip
    return found


def token_records(samples: Sequence[Sampled], policy: Policy) -> Iterator[TokenDivergence]:
    """A record a token."""
    for one in samples:
        for place, id_, (kl, k1, _, reverse) in zip(one.places, one.ids, one.values_N4.tolist(), strict=True):
            yield TokenDivergence(
                problem_id=one.rollout.problem_id, prompt_id=one.rollout.prompt_id, sample=one.rollout.sample,
                place=place, token_id=id_, token=policy.tokenizer.decode([id_]), kl=kl, k1=k1, reverse_kl=reverse,
            )  # fmt: skip


def top_tokens(samples: Sequence[Sampled], policy: Policy) -> list[dict[str, Any]]:
    """The tokens that the drift is made of: those with the largest share of the summed KL, and how often they stand."""
    totals: dict[int, tuple[float, int]] = {}
    for one in samples:
        for id_, kl in zip(one.ids, one.values_N4[:, 0].tolist(), strict=True):
            total, count = totals.get(id_, (0.0, 0))
            totals[id_] = (total + kl, count + 1)
    whole = sum(total for total, _ in totals.values()) or 1.0
    best = sorted(totals.items(), key=lambda item: (-item[1][0], item[0]))[:TOP]
    return [
        {"token": policy.tokenizer.decode([id_]), "token_id": id_, "count": count, "kl_mean": total / count,
         "share": total / whole}
        for id_, (total, count) in best
    ]  # fmt: skip


def token_divergence(policy: Policy, sequences: Sequence[TokenSequence], temperature: float) -> np.ndarray:
    """Exact KL, k1, k3 and reverse KL at every target, float64 [N, 4], in the order of the sequences."""
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
                reverse_n = (logq_nV.exp() * (logq_nV - logp_nV)).sum(-1)
                parts.append(torch.stack([kl_n, k1_n, (-k1_n).exp() - 1 + k1_n, reverse_n], dim=1))
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
        "reverse_kl_per_token": bootstrap_mean(mean("reverse_kl")).model_dump(),
        "samples": len(divergences),
        "tokens": sum(one.tokens for one in divergences),
    }
