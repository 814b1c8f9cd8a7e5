"""Caches for generation: new tokens are written into memory allocated ahead, and nothing else is copied.

The layer of transformers copies all keys and values at every step.

Shapes: B rows, H heads, K tokens so far, D numbers of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from sft.inference.caches import expanded_cache

_ROOM = 32  # minimum of tokens allocated ahead; a quarter of the length if larger, so that copies stay rare


class GrowingLayer(DynamicLayer):
    """One layer's keys [B, H, K, D] and values, as views of larger memory.

    Other operations of transformers (reordering the rows of a beam search, cropping) replace the tensors. They are then
    copied once into new memory.

    Args:
        source: the layer to continue, which is never changed; its rows may be views of a single one.
    """

    def __init__(self, source: DynamicLayer | None = None) -> None:
        super().__init__()
        self._memory: tuple[Tensor, Tensor] | None = None
        self._views: tuple[Tensor, Tensor] | None = None
        if source is not None and source.is_initialized:
            self.lazy_initialization(source.keys, source.values)
            self.keys, self.values = source.keys, source.values

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append the new states [B, H, new, D]; return all keys and values."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        before, new = self._held(), key_states.shape[-2]
        keys, values = self._room_for(before, new, key_states, value_states)
        keys[:, :, before : before + new] = key_states
        values[:, :, before : before + new] = value_states
        self.keys, self.values = self._views = keys[:, :, : before + new], values[:, :, : before + new]
        return self._views

    def _held(self) -> int:
        """Return the number of tokens in the layer."""
        return self.keys.shape[-2] if self.is_initialized and self.keys.numel() else 0

    def _room_for(self, before: int, new: int, *states: Tensor) -> tuple[Tensor, Tensor]:
        """Return memory that holds the first `before` tokens and has space for `new` ones."""
        memory, views, total = self._memory, self._views, before + new
        untouched = views is not None and self.keys is views[0] and self.values is views[1]
        if memory is None or not untouched or memory[0].shape[-2] < total:
            room = total + max(_ROOM, total // 4)
            memory = _allocated(states[0], room), _allocated(states[1], room)
            if before:
                for held, kept in zip(memory, (self.keys, self.values), strict=True):
                    held[:, :, :before] = kept
            self._memory = memory
        return memory


class SharedPrefixLayer(GrowingLayer):
    """A layer whose rows share one copy of the same prefix.

    For a single new token, `update` returns the keys and values of each row's own tokens only, and the attention adds
    the prefix (`shared_prefix_attention.py`). For several new tokens, it returns all keys and values, joined.

    Args:
        prefix: the shared row, never changed.
    """

    def __init__(self, prefix: DynamicLayer) -> None:
        super().__init__()
        self.prefix: tuple[Tensor, Tensor] = prefix.keys, prefix.values

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append the new states; return the rows' own states (one new token), or all keys and values."""
        keys, values = super().update(key_states, value_states)
        return (keys, values) if key_states.shape[-2] == 1 else self.joined(keys, values)

    def joined(self, *own: Tensor) -> tuple[Tensor, Tensor]:
        """Return the prefix joined with the rows' own keys and values."""
        keys, values = (
            torch.cat([shared.expand(states.shape[0], -1, -1, -1), states], dim=-2)
            for shared, states in zip(self.prefix, own, strict=True)
        )
        return keys, values

    def get_seq_length(self) -> int:
        """Return the number of tokens of a row, the prefix included."""
        return self.prefix[0].shape[-2] + self._held()


def _allocated(states: Tensor, tokens: int) -> Tensor:
    rows, heads, _, size = states.shape
    return states.new_empty(rows, heads, tokens, size)


def growing_cache(prefix_cache: DynamicCache, rows: int) -> DynamicCache:
    """Return a growing cache of `rows` rows with the prefix of the one-row `prefix_cache`, which is never changed."""
    cache = expanded_cache(prefix_cache, rows)
    cache.layers = [GrowingLayer(layer) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def shared_prefix_cache(prefix_cache: DynamicCache) -> DynamicCache:
    """Return a cache of any number of rows that share the one-row `prefix_cache`, which is never changed nor copied."""
    cache = expanded_cache(prefix_cache, 1)
    cache.layers = [SharedPrefixLayer(layer) for layer in prefix_cache.layers]
    return cache
