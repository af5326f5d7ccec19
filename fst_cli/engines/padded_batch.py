"""Decoding in a padded batch with transformers' own cache: for models whose attention can't be replaced.

A prompt that is asked for several times is prefilled once.
"""

from collections.abc import Sequence
from typing import Any

import torch

from fst_cli.engines.growing_cache import growing_cache
from fst_cli.policy.model import Policy


class PaddedBatch:
    """Sequences that are decoded side by side, padded on the left; new ones are admitted when it is empty."""

    joins = False

    def __init__(self, policy: Policy, prompts: Sequence[list[int]]) -> None:
        self.policy = policy
        self.prompts = prompts
        self.mask_BT: Any = None
        self.cache: Any = None

    def admit(self, rows: Sequence[int]) -> torch.Tensor:
        """Prefill these of the prompts, in place of all that was there; the logits [B, V] after each."""
        prompts = [tuple(self.prompts[row]) for row in rows]
        unique = {prompt: place for place, prompt in enumerate(dict.fromkeys(prompts))}
        length = max(map(len, unique))
        pad = self.policy.tokenizer.pad_token_id or 0
        device = self.policy.device
        ids_UT = torch.tensor([[pad] * (length - len(p)) + list(p) for p in unique], device=device)
        mask_UT = torch.tensor([[0] * (length - len(p)) + [1] * len(p) for p in unique], device=device)
        self.cache = growing_cache(self.policy.model.config)
        logits_UV = self._forward(ids_UT, mask_UT)
        rows_B = torch.tensor([unique[prompt] for prompt in prompts], device=device)
        if len(unique) < len(prompts):
            self.cache.batch_select_indices(rows_B)
        self.mask_BT = mask_UT[rows_B]
        return logits_UV[rows_B]

    def step(self, ids_B: torch.Tensor) -> torch.Tensor:
        """Append one token to every sequence; the logits [B, V] after it."""
        self.mask_BT = torch.cat([self.mask_BT, self.mask_BT.new_ones(len(self.mask_BT), 1)], dim=1)
        return self._forward(ids_B[:, None], self.mask_BT)

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all sequences but these."""
        if rows and self.cache is not None:
            keep = torch.tensor(rows, device=self.mask_BT.device)
            self.mask_BT = self.mask_BT[keep]
            self.cache.batch_select_indices(keep)

    def _forward(self, ids_BT: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
        """Float32 logits [B, V] of the last position."""
        positions_BT = (mask_BT.cumsum(1) - 1).clamp(min=0)[:, -ids_BT.shape[1] :]
        output = self.policy.model(
            input_ids=ids_BT,
            attention_mask=mask_BT,
            position_ids=positions_BT,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1].float()
