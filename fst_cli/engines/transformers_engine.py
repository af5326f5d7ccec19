"""The engine that comes along: sampling with plain transformers, on a laptop's CPU or one GPU.

Continuous batching: finished sequences leave the batch and waiting ones join it. Every sample has its own stream of
uniform draws, from its own seed, so that the batch around it does not change what it draws. transformers' own
continuous batching is not used: without flash-attention's paged kernel it gathers the whole cache and builds a mask of
all queries × all keys at every token, it shares prefixes in whole pages only, and it has one seed for all requests.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from fst_cli.data.errors import RunError
from fst_cli.data.records import FinishReason, Sampling
from fst_cli.engines.base import Completion, Request
from fst_cli.engines.draw import draw
from fst_cli.engines.padded_batch import PaddedBatch
from fst_cli.engines.small_products import small_products
from fst_cli.engines.tree_batch import TreeBatch
from fst_cli.policy import tree_attention
from fst_cli.policy.logprobs import causal
from fst_cli.policy.model import Policy
from fst_cli.policy.prefix_tree import tree_batches

ROUND_TOKENS = 1 << 14  # of prompts, shared prefixes once, whose keys and values are held at a time
REFILL_BELOW = 0.75  # share of the batch still running at which the finished leave and the waiting join


class Batch(Protocol):
    """Sequences decoded side by side, over the prompts given to it."""

    joins: bool  # whether sequences can be admitted while others run

    def admit(self, rows: Sequence[int]) -> Any:
        """Let sequences with these of the prompts join; the logits [B, V] after each prompt."""
        ...

    def step(self, ids_B: Any) -> Any:
        """Append one token to every sequence; the logits [B, V] after it."""
        ...

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all sequences but these."""
        ...


@dataclass
class _Row:
    """A sample in flight. It has as many draws as it may have tokens."""

    index: int
    draws: np.ndarray
    ids: list[int]
    logprobs: list[float]
    done: bool = False


class TransformersEngine:
    """Samples from a loaded policy, `max_batch` sequences at a time."""

    name = "transformers"

    def __init__(self, policy: Policy, max_batch: int = 128) -> None:
        self.policy = policy
        self.max_batch = max_batch
        self._stops = policy.stop_ids

    @torch.inference_mode()
    def generate(
        self, requests: Sequence[Request], sampling: Sampling, advance: Callable[[int], None] | None = None
    ) -> list[Completion]:
        """Sample one completion a request, round by round."""
        completions: dict[int, Completion] = {}
        for indices in self._rounds(requests, sampling):
            try:
                with small_products(self.policy.model):
                    completions.update(self._round(requests, indices, sampling, advance))
            except torch.OutOfMemoryError:
                raise RunError(
                    f"out of memory sampling {self.max_batch} sequences at once", hint="lower --max-batch"
                ) from None
        return [completions[index] for index in range(len(requests))]

    def _rounds(self, requests: Sequence[Request], sampling: Sampling) -> list[list[int]]:
        """Requests whose prompts are prefilled together."""
        prompts = [request.prompt_ids for request in requests]
        if self._on_tree(requests, sampling):
            return tree_batches(prompts, ROUND_TOKENS)
        order = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i]), prompts[i], i))
        return [order[start : start + self.max_batch] for start in range(0, len(order), self.max_batch)]

    def _on_tree(self, requests: Sequence[Request], sampling: Sampling) -> bool:
        model = causal(self.policy.model)
        window = getattr(model.config.get_text_config(), "sliding_window", None)
        longest = max((len(one.prompt_ids) + one.limit(sampling) for one in requests), default=0)
        return tree_attention.enabled(model) and (window is None or longest <= window)

    def _round(
        self,
        requests: Sequence[Request],
        indices: list[int],
        sampling: Sampling,
        advance: Callable[[int], None] | None,
    ) -> dict[int, Completion]:
        mine = [requests[index] for index in indices]
        kind = TreeBatch if self._on_tree(mine, sampling) else PaddedBatch
        batch: Batch = kind(self.policy, [request.prompt_ids for request in mine])
        rows = [_new_row(i, request.seed, request.limit(sampling)) for i, request in zip(indices, mine, strict=True)]
        running: list[_Row] = []
        waiting = 0  # the first row that has not joined
        while True:
            left = [place for place, row in enumerate(running) if not row.done]
            if not left and waiting == len(rows):
                break
            if len(left) <= REFILL_BELOW * len(running):
                batch.keep(left)
                running = [running[place] for place in left]
                if batch.joins or not running:
                    joining = range(waiting, min(len(rows), waiting + self.max_batch - len(running)))
                    waiting = joining.stop
                    fresh = [rows[place] for place in joining]
                    if fresh:
                        self._draw(fresh, batch.admit(joining), sampling, advance)
                        running += fresh
                        continue
            ids_B = torch.tensor([row.ids[-1] for row in running], device=self.policy.device)
            self._draw(running, batch.step(ids_B), sampling, advance)
        return {row.index: _completion(row, self._stops) for row in rows}

    def _draw(
        self, rows: list[_Row], logits_BV: torch.Tensor, sampling: Sampling, advance: Callable[[int], None] | None
    ) -> None:
        """Give every row that is not done its next token."""
        ids_B, logprobs_B = draw(logits_BV, _next_draws(rows), sampling)
        finished = 0
        for row, id_, logprob in zip(rows, ids_B.tolist(), logprobs_B.tolist(), strict=True):
            if not row.done:
                row.ids.append(id_)
                row.logprobs.append(logprob)
                row.done = row.ids[-1] in self._stops or len(row.ids) == len(row.draws)
                finished += row.done
        if advance and finished:
            advance(finished)


def _new_row(index: int, seed: int, max_tokens: int) -> _Row:
    draws = np.random.Generator(np.random.Philox(key=seed)).random(max_tokens)
    return _Row(index, draws, [], [])


def _next_draws(rows: list[_Row]) -> torch.Tensor:
    return torch.tensor([row.draws[min(len(row.ids), len(row.draws) - 1)] for row in rows], dtype=torch.float64)


def _completion(row: _Row, stops: set[int]) -> Completion:
    reason: FinishReason = "stop" if row.ids[-1] in stops else "length"
    return Completion(row.ids, np.asarray(row.logprobs, dtype=np.float32), reason)
