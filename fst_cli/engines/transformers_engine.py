"""The engine that comes along: sampling with plain transformers, on a laptop's CPU or one GPU.

A prompt that is asked for several times is prefilled once, finished sequences leave the batch, and every sample has
its own stream of uniform draws, from its own seed: the batch around it does not change what it draws.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fst_cli.data.errors import RunError
from fst_cli.data.records import FinishReason, Sampling
from fst_cli.engines.base import Completion, Request
from fst_cli.engines.growing_cache import growing_cache
from fst_cli.policy.model import Policy

DROP_BELOW = 0.7  # finished rows are dropped from the batch when fewer than this share are still running


@dataclass
class _Row:
    """A sample in flight."""

    index: int
    draws: np.ndarray
    ids: list[int]
    logprobs: list[float]
    done: bool = False


class TransformersEngine:
    """Samples from a loaded policy, `max_batch` sequences at a time."""

    def __init__(self, policy: Policy, max_batch: int = 64) -> None:
        self.policy = policy
        self.max_batch = max_batch

    @torch.inference_mode()
    def generate(
        self, requests: Sequence[Request], sampling: Sampling, advance: Callable[[int], None] | None = None
    ) -> list[Completion]:
        """Sample one completion a request, prompts of similar length (and equal prompts) together."""
        order = sorted(range(len(requests)), key=lambda i: (-len(requests[i].prompt_ids), requests[i].prompt_ids, i))
        completions: dict[int, Completion] = {}
        for start in range(0, len(order), self.max_batch):
            batch = order[start : start + self.max_batch]
            try:
                completions.update(self._batch(requests, batch, sampling))
            except torch.OutOfMemoryError:
                raise RunError(
                    f"out of memory sampling {len(batch)} sequences at once", hint="lower --max-batch"
                ) from None
            if advance:
                advance(len(batch))
        return [completions[index] for index in range(len(requests))]

    def _batch(self, requests: Sequence[Request], batch: list[int], sampling: Sampling) -> dict[int, Completion]:
        rows = [_new_row(index, requests[index].seed, sampling.max_tokens) for index in batch]
        logits_BV, cache, mask_BT = self._prefill([requests[index].prompt_ids for index in batch])
        running = list(rows)
        stops = self.policy.stop_ids
        while True:
            ids_B, logprobs_B = draw(logits_BV, _next_draws(running), sampling)
            for row, id_, logprob in zip(running, ids_B.tolist(), logprobs_B.tolist(), strict=True):
                if not row.done:
                    row.ids.append(id_)
                    row.logprobs.append(logprob)
                    row.done = id_ in stops or len(row.ids) == sampling.max_tokens
            left = [i for i, row in enumerate(running) if not row.done]
            if not left:
                break
            if len(left) < DROP_BELOW * len(running):
                running = [running[i] for i in left]
                keep = torch.tensor(left, device=mask_BT.device)
                ids_B, mask_BT = ids_B[keep], mask_BT[keep]
                cache.batch_select_indices(keep)
            mask_BT = torch.cat([mask_BT, mask_BT.new_ones(len(mask_BT), 1)], dim=1)
            logits_BV = self._forward(ids_B[:, None], mask_BT, cache)
        return {row.index: _completion(row, stops) for row in rows}

    def _prefill(self, prompts: list[list[int]]) -> tuple[torch.Tensor, Any, torch.Tensor]:
        """Logits after each prompt, the cache and the attention mask; equal prompts are computed once."""
        unique = {tuple(prompt): None for prompt in prompts}
        place = {prompt: row for row, prompt in enumerate(unique)}
        length = max(map(len, unique))
        pad = self.policy.tokenizer.pad_token_id or 0
        ids_UT = torch.tensor([[pad] * (length - len(p)) + list(p) for p in unique], device=self.policy.device)
        mask_UT = torch.tensor([[0] * (length - len(p)) + [1] * len(p) for p in unique], device=self.policy.device)
        cache = growing_cache(self.policy.model.config)
        logits_UV = self._forward(ids_UT, mask_UT, cache)
        rows_B = torch.tensor([place[tuple(prompt)] for prompt in prompts], device=self.policy.device)
        if len(unique) < len(prompts):
            cache.batch_select_indices(rows_B)
        return logits_UV[rows_B], cache, mask_UT[rows_B]

    def _forward(self, ids_BT: torch.Tensor, mask_BT: torch.Tensor, cache: Any) -> torch.Tensor:
        """Float32 logits [B, V] of the last position."""
        positions_BT = (mask_BT.cumsum(1) - 1).clamp(min=0)[:, -ids_BT.shape[1] :]
        output = self.policy.model(
            input_ids=ids_BT,
            attention_mask=mask_BT,
            position_ids=positions_BT,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1].float()


def draw(logits_BV: torch.Tensor, draws_B: torch.Tensor, sampling: Sampling) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids [B] and their log-probabilities [B], from uniform draws in [0, 1) by inverse CDF.

    The log-probability is of softmax(logits / temperature) before any top-k, top-p or min-p cut; at temperature 0
    the choice is the argmax and the log-probability that of temperature 1.
    """
    logp_BV = torch.log_softmax(logits_BV / (sampling.temperature or 1.0), dim=-1)
    if sampling.temperature == 0:
        ids_B = logits_BV.argmax(dim=-1)
    else:
        cdf_BV = _cut(logp_BV.double().exp(), sampling).cumsum(dim=-1)
        targets_B1 = draws_B.to(cdf_BV.device)[:, None] * cdf_BV[:, -1:]
        ids_B = torch.searchsorted(cdf_BV, targets_B1, right=True).squeeze(1).clamp(max=logits_BV.shape[1] - 1)
    return ids_B, logp_BV.gather(1, ids_B[:, None]).squeeze(1)


def _cut(probs_BV: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Zero what top-k, top-p and min-p exclude; not renormalised."""
    if sampling.min_p > 0:
        limit_B1 = sampling.min_p * probs_BV.amax(dim=-1, keepdim=True)
        probs_BV = torch.where(probs_BV >= limit_B1, probs_BV, 0.0)
    if sampling.top_k or sampling.top_p < 1:
        sorted_BV, order_BV = probs_BV.sort(dim=-1, descending=True, stable=True)
        before_BV = sorted_BV.cumsum(dim=-1) - sorted_BV
        keep_BV = before_BV < sampling.top_p * sorted_BV.sum(dim=-1, keepdim=True)
        if sampling.top_k:
            keep_BV[:, sampling.top_k :] = False
        probs_BV = torch.zeros_like(probs_BV).scatter(1, order_BV, sorted_BV * keep_BV)
    return probs_BV


def _new_row(index: int, seed: int, max_tokens: int) -> _Row:
    draws = np.random.Generator(np.random.Philox(key=seed)).random(max_tokens)
    return _Row(index, draws, [], [])


def _next_draws(rows: list[_Row]) -> torch.Tensor:
    return torch.tensor([row.draws[min(len(row.ids), len(row.draws) - 1)] for row in rows], dtype=torch.float64)


def _completion(row: _Row, stops: set[int]) -> Completion:
    reason: FinishReason = "stop" if row.ids[-1] in stops else "length"
    return Completion(row.ids, np.asarray(row.logprobs, dtype=np.float32), reason)
