"""What an update minimises, one micro-batch at a time."""

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from fst_cli.policy.logprobs import TokenSequence


@dataclass(frozen=True)
class Part:
    """What one micro-batch adds: its share of the loss (a scalar with a gradient) and figures of its tokens.

    `sums` are added up over the micro-batches, `tokens` are float64 arrays [N] that are joined.
    """

    loss: Any
    sums: dict[str, float] = field(default_factory=dict)
    tokens: dict[str, np.ndarray] = field(default_factory=dict)


class Objective(Protocol):
    """A loss over sequences that can be computed in parts; the parts' losses add up to the batch's."""

    sequences: list[TokenSequence]

    def part(self, rows: list[int]) -> Part:
        """The share of these sequences, whole ones."""
        ...

    def figures(self, sums: dict[str, float], tokens: dict[str, np.ndarray]) -> dict[str, Any]:
        """Metrics from the figures of all parts."""
        ...


def joined(parts: list[Part]) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Sums added up and token arrays joined."""
    sums: dict[str, float] = {}
    for part in parts:
        for name, value in part.sums.items():
            sums[name] = sums.get(name, 0.0) + value
    names = parts[0].tokens if parts else {}
    return sums, {name: np.concatenate([part.tokens[name] for part in parts]) for name in names}


def per_token(values: list[float], sequences: list[TokenSequence], like: Any) -> Any:
    """One value a sequence, repeated for its targets, as a tensor [N] like `like`."""
    import torch

    lengths = torch.tensor([len(sequence.target_ids) for sequence in sequences])
    return torch.tensor(values, dtype=torch.float64).repeat_interleave(lengths).to(like)


def array(tensor: Any) -> np.ndarray:
    """Float64 on the CPU."""
    found: np.ndarray = tensor.detach().cpu().double().numpy()
    return found
