"""What an engine is: requests in, completions with the sampler's log-probabilities out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fst_cli.data.records import FinishReason, Sampling


@dataclass(frozen=True)
class Request:
    """One completion to sample: prompt token ids, the seed of its draws, and where it ends (None: the sampling's)."""

    prompt_ids: list[int]
    seed: int
    max_tokens: int | None = None

    def limit(self, sampling: Sampling) -> int:
        """Tokens that the completion may have."""
        return sampling.max_tokens if self.max_tokens is None else self.max_tokens


@dataclass(frozen=True)
class Completion:
    """Token ids, the end token included where one was sampled, and their log-probabilities at the temperature used."""

    ids: list[int]
    logprobs: np.ndarray
    finish_reason: FinishReason


class Engine(Protocol):
    """A sampler. Completion i answers request i; where the build allows it, its draws depend on its own seed only."""

    name: str

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, advance: Callable[[int], None] | None = None
    ) -> list[Completion]:
        """Sample one completion a request; `advance(n)` is told of every n that are finished."""
        ...
