"""Proof that engine and trainer agree: the trainer's model computes some samples' log-probabilities again.

Wrong weights, another precision, a temperature left out, a template rendered otherwise: each shows here, before
anything is trained on it (PITFALLS 1, 25).
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from fst_cli.data.errors import RunError
from fst_cli.data.records import Sampling
from fst_cli.engines.base import Completion, Engine, Request
from fst_cli.engines.settings import EngineSettings
from fst_cli.policy.logprobs import TokenSequence, completion_logprobs, micro_batches
from fst_cli.policy.mismatch import mismatch_kl, ratio_quantiles
from fst_cli.policy.model import Policy

MICRO_TOKENS = 8192


@dataclass(frozen=True)
class Agreement:
    """Engine against trainer on some samples; `ratio_quantiles` at 0, 0.01, 0.5, 0.99 and 1."""

    probed: int
    mismatch_kl: float
    ratio_quantiles: list[float]

    def figures(self) -> dict[str, Any]:
        """For a stage's summary."""
        return asdict(self)


class CheckedEngine:
    """An engine whose first samples are compared with the policy's own model.

    `agreement` is None before, and where there is nothing to compare: no probe asked for, log-probabilities that the
    model itself computed, or a sampling that is not the policy's own.
    """

    def __init__(self, engine: Engine, policy: Policy, settings: EngineSettings) -> None:
        self.name = engine.name
        self._engine, self._policy, self._settings = engine, policy, settings
        self.agreement: Agreement | None = None

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, advance: Callable[[int], None] | None = None
    ) -> list[Completion]:
        """The engine's completions.

        Raises RunError where engine and trainer are further apart than the limit.
        """
        completions = self._engine.generate(requests, sampling, advance)
        if self._settings.logprobs == "recompute":
            return self._recomputed(requests, completions, sampling)
        wanted = self.agreement is None and self._settings.probe > 0 and self._settings.logprobs == "require"
        if wanted and completions and sampling.trainable:
            self.agreement = self._compare(requests, completions, sampling)
        return completions

    def _compare(self, requests: Sequence[Request], completions: list[Completion], sampling: Sampling) -> Agreement:
        wanted = np.unique(np.linspace(0, len(completions) - 1, self._settings.probe).astype(int))
        ours = self._logprobs(
            [requests[row].prompt_ids for row in wanted], [completions[row].ids for row in wanted], sampling
        )
        difference_N = np.concatenate([own - completions[row].logprobs for own, row in zip(ours, wanted, strict=True)])
        found = Agreement(len(wanted), mismatch_kl(difference_N), ratio_quantiles(difference_N))
        if not found.mismatch_kl <= self._settings.mismatch_limit:
            raise RunError(
                f"the {self.name} engine and the trainer's model disagree: mismatch KL {found.mismatch_kl:.3g} nats "
                f"per token over {len(wanted)} samples, the limit is {self._settings.mismatch_limit:g}",
                hint="it may hold other weights or leave the temperature out (vLLM servers need --logprobs-mode "
                "processed_logprobs); --mismatch-limit raises the limit",
            )
        return found

    def _recomputed(
        self, requests: Sequence[Request], completions: list[Completion], sampling: Sampling
    ) -> list[Completion]:
        ours = self._logprobs([request.prompt_ids for request in requests], [c.ids for c in completions], sampling)
        return [replace(completion, logprobs=own) for completion, own in zip(completions, ours, strict=True)]

    def _logprobs(self, prompts: list[list[int]], completions: list[list[int]], sampling: Sampling) -> list[np.ndarray]:
        """The model's own log-probabilities of each completion, float32."""
        import torch

        model = self._policy.model
        sequences = [TokenSequence(*ids) for ids in zip(prompts, completions, strict=True)]
        found: dict[int, np.ndarray] = {}
        with torch.inference_mode():
            for rows in micro_batches(model, sequences, MICRO_TOKENS):
                logp_N, _ = completion_logprobs(model, [sequences[row] for row in rows], sampling.temperature or 1.0)
                parts = logp_N.float().cpu().split([len(completions[row]) for row in rows])
                found |= {row: part.numpy() for row, part in zip(rows, parts, strict=True)}
        return [found[row] for row in range(len(sequences))]
