"""Caches that answers grow in: a new token is written into room laid out ahead, and nothing else is copied.

transformers' own layer joins all keys and values anew at every step. They know keys and values, not models or prompts.

Shapes: B rows, H heads, K tokens so far, D numbers of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from sft.inference.caches import opened_cache

_ROOM = 32  # tokens laid out ahead at least; beyond, a quarter of what there is, so that copies stay rare


class GrowingLayer(DynamicLayer):
    """One layer's keys [B, H, K, D] and values, views of memory that has room for more.

    Whatever else transformers does with a layer (reorder the rows of a beam search, crop) puts other tensors in their
    place; they are then copied once into new memory.

    Args:
        source: the layer to go on from, which is never changed; its rows may be views of a single one.
    """

    def __init__(self, source: DynamicLayer | None = None) -> None:
        super().__init__()
        self._memory: tuple[Tensor, Tensor] | None = None
        self._views: tuple[Tensor, Tensor] | None = None
        if source is not None and source.is_initialized:
            self.lazy_initialization(source.keys, source.values)
            self.keys, self.values = source.keys, source.values

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write the new states [B, H, new, D] behind the others; all keys and values."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        before, new = self._held(), key_states.shape[-2]
        keys, values = self._room_for(before, new, key_states, value_states)
        keys[:, :, before : before + new] = key_states
        values[:, :, before : before + new] = value_states
        self.keys, self.values = self._views = keys[:, :, : before + new], values[:, :, : before + new]
        return self._views

    def _held(self) -> int:
        """How many tokens' keys it has."""
        return self.keys.shape[-2] if self.is_initialized and self.keys.numel() else 0

    def _room_for(self, before: int, new: int, *states: Tensor) -> tuple[Tensor, Tensor]:
        """Memory for keys and values that holds the first `before` tokens and room for `new` ones."""
        memory, views, total = self._memory, self._views, before + new
        untouched = views is not None and self.keys is views[0] and self.values is views[1]
        if memory is None or not untouched or memory[0].shape[-2] < total:
            room = total + max(_ROOM, total // 4)
            memory = _laid_out(states[0], room), _laid_out(states[1], room)
            if before:
                for held, kept in zip(memory, (self.keys, self.values), strict=True):
                    held[:, :, :before] = kept
            self._memory = memory
        return memory


class SharedBeginningLayer(GrowingLayer):
    """A layer whose rows all begin with the same tokens, of which there is one copy.

    A single new token gets the keys and values of each row's own tokens only: the attention that reads them has to know
    of the beginning (`shared_prefix_attention.py`). Several new tokens get all keys and values, joined for it.

    Args:
        beginning: one row that is shared, never changed.
    """

    def __init__(self, beginning: DynamicLayer) -> None:
        super().__init__()
        self.beginning: tuple[Tensor, Tensor] = beginning.keys, beginning.values

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write the new states behind the rows' own; the rows' own (one new token), or all keys and values."""
        keys, values = super().update(key_states, value_states)
        return (keys, values) if key_states.shape[-2] == 1 else self.joined(keys, values)

    def joined(self, *own: Tensor) -> tuple[Tensor, Tensor]:
        """The beginning and the rows' own keys and values."""
        keys, values = (
            torch.cat([shared.expand(states.shape[0], -1, -1, -1), states], dim=-2)
            for shared, states in zip(self.beginning, own, strict=True)
        )
        return keys, values

    def get_seq_length(self) -> int:
        """Tokens of a row, the beginning included."""
        return self.beginning[0].shape[-2] + self._held()


def _laid_out(states: Tensor, tokens: int) -> Tensor:
    rows, heads, _, size = states.shape
    return states.new_empty(rows, heads, tokens, size)


def growing_cache(opening: DynamicCache, rows: int) -> DynamicCache:
    """A cache of `rows` rows that all begin as the one row of `opening`, which is never changed."""
    cache = opened_cache(opening, rows)
    cache.layers = [GrowingLayer(layer) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def shared_beginning_cache(opening: DynamicCache) -> DynamicCache:
    """A cache of any number of rows that begin as the one row of `opening`, which is never changed nor copied."""
    cache = opened_cache(opening, 1)
    cache.layers = [SharedBeginningLayer(layer) for layer in opening.layers]
    return cache
