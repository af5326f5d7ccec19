"""A key-value cache that grows in place.

transformers' DynamicLayer copies the whole cache at every token. This one reserves room ahead and hands out views,
so that a token costs its own keys and values only.
"""

from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

ROOM = 64  # positions reserved at a time, at least


class GrowingLayer(DynamicLayer):
    """Keys and values [B, H, T, D], views of larger buffers."""

    keys: torch.Tensor
    values: torch.Tensor

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> tuple:
        """Append [B, H, t, D]; returns the keys and values so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._key_buffer, self._value_buffer = self.keys, self.values
        length = self.get_seq_length()
        end = length + key_states.shape[-2]
        if self._key_buffer.numel() == 0 or self._key_buffer.shape[-2] < end:
            capacity = end + max(ROOM, end // 4)
            self._key_buffer = self._grown(self.keys, key_states, length, capacity)
            self._value_buffer = self._grown(self.values, value_states, length, capacity)
        self._key_buffer[:, :, length:end] = key_states
        self._value_buffer[:, :, length:end] = value_states
        self.keys, self.values = self._key_buffer[:, :, :end], self._value_buffer[:, :, :end]
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep (or repeat) these rows of the batch."""
        super().batch_select_indices(indices)
        self._key_buffer, self._value_buffer = self.keys, self.values

    @staticmethod
    def _grown(old: torch.Tensor, new: torch.Tensor, length: int, capacity: int) -> torch.Tensor:
        batch, heads, _, width = new.shape
        buffer = new.new_empty(batch, heads, capacity, width)
        if length:
            buffer[:, :, :length] = old
        return buffer


def growing_cache(config: Any) -> DynamicCache:
    """An empty cache for a model; layers that are not plain attention keep transformers' own kind."""
    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
