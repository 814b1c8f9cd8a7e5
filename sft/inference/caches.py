"""Caches that several forwards read and none spoils, made through transformers' own protocol for cache layers.

They know keys and values, not models or labels.

Shapes: B rows, G sequences side by side, H heads, K tokens, D numbers of a head.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

_ROOM = 64  # tokens: memory is laid out in whole steps of this, so that a slightly longer forward needs none anew


class BufferLayer(DynamicLayer):
    """One layer's keys and values: a beginning that stays, and room behind it that each forward writes anew.

    The memory is laid out once, with one copy of the beginning for each sequence; what `update` returns are views of
    it, so that nothing is copied from then on but what is new.

    Args:
        keys: of the beginning [1, H, K, D], or None where there is none.
        values: the same for the values.
    """

    def __init__(self, keys: Tensor | None, values: Tensor | None) -> None:
        super().__init__()
        self.keys, self.values = keys, values
        self.start = 0 if keys is None else keys.shape[-2]
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """The beginning and the new states [G, H, start + new, D]; they stand until the next call."""
        self.keys, keys = self._written(self.keys, key_states)
        self.values, values = self._written(self.values, value_states)
        return keys, values

    def _written(self, memory: Tensor | None, new: Tensor) -> tuple[Tensor, Tensor]:
        sequences, end = new.shape[0], self.start + new.shape[-2]
        if memory is None or memory.shape[0] < sequences or memory.shape[-2] < end:
            memory = self._laid_out(memory, new, end)
        view = memory[:sequences, :, :end]
        view[:, :, self.start :] = new
        return memory, view

    def _laid_out(self, memory: Tensor | None, new: Tensor, end: int) -> Tensor:
        sequences, heads, _, size = new.shape
        larger = new.new_empty(sequences, heads, -(-end // _ROOM) * _ROOM, size)
        if memory is not None:
            held = memory if memory.shape[0] >= sequences else memory[:1]  # all sequences begin alike
            larger[:, :, : self.start] = held[:sequences, :, : self.start]
        return larger

    def get_seq_length(self) -> int:
        """Tokens of the beginning."""
        return self.start

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of what `update` returns."""
        return self.start + query_length, 0


class BufferCache(DynamicCache):
    """A cache of `BufferLayer`s whose beginning is what another cache holds.

    Args:
        opening: a cache of one row; it gives its memory away layer by layer, as room is made.
    """

    def __init__(self, opening: DynamicCache) -> None:
        super().__init__()
        self.layer_class_to_replicate = None
        filled = bool(opening.get_seq_length())
        self.layers = [
            BufferLayer(*((layer.keys, layer.values) if filled else (None, None))) for layer in opening.layers
        ]

    def begin_at(self, tokens: int) -> None:
        """Let the first `tokens` tokens stay from now on; the room begins behind them."""
        for layer in self.layers:
            layer.start = tokens


class SharedLayer(DynamicLayer):
    """One layer's keys and values, read by `repeats` continuations of each row and changed by none.

    What a forward adds is joined for that forward's attention only, so that the copies of one layer are alive at a time
    and nothing of a label is left for the next.
    """

    def __init__(self, source: DynamicLayer, repeats: int) -> None:
        super().__init__()
        self._source, self._repeats = source, repeats
        self.keys, self.values = source.keys, source.values
        self.is_sliding, self.is_initialized = source.is_sliding, True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """The shared and the new states together, row b * repeats + c continuing row b."""
        return self._joined(self.keys, key_states), self._joined(self.values, value_states)

    def _joined(self, shared: Tensor, new: Tensor) -> Tensor:
        rows, *rest = shared.shape
        spread = shared[:, None].expand(rows, self._repeats, *rest)
        parted = new.view(rows, self._repeats, *new.shape[1:])
        return torch.cat([spread, parted], dim=-2).flatten(0, 1)

    def get_seq_length(self) -> int:
        """Tokens of the shared rows, those that slid out of a window included."""
        return self._source.get_seq_length()

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of what `update` returns, for the mask."""
        return self._source.get_mask_sizes(query_length)


class ReadOnlyLayer(DynamicLayer):
    """Keys and values of an encoder's text, read by `repeats` continuations of each row; no forward adds to them."""

    def __init__(self, source: DynamicLayer, repeats: int) -> None:
        self._spread = [
            states[:, None].expand(states.shape[0], repeats, *states.shape[1:])
            for states in (source.keys, source.values)
        ]
        self.is_initialized = True

    @property
    def keys(self) -> Tensor:
        """[B * repeats, H, K, D]: a view for one row, else a copy that lives as long as the attention that reads it."""
        return self._spread[0].flatten(0, 1)

    @property
    def values(self) -> Tensor:
        """The same for the values."""
        return self._spread[1].flatten(0, 1)

    def get_seq_length(self) -> int:
        """Tokens of the longest text."""
        return self._spread[0].shape[-2]


def branched_cache(cache: DynamicCache, repeats: int) -> DynamicCache:
    """A cache in which each row of `cache` is continued `repeats` times; `cache` itself is never changed."""
    branched = DynamicCache()
    branched.layer_class_to_replicate = None
    branched.layers = [SharedLayer(layer, repeats) for layer in cache.layers]
    return branched


def opened_cache(opening: DynamicCache, rows: int) -> DynamicCache:
    """A cache of `rows` rows that all begin as the one row of `opening`, which is never changed."""
    opened = copy.copy(opening)
    opened.layers = [copy.copy(layer) for layer in opening.layers]
    for layer in opened.layers:
        if layer.is_initialized:  # views: the first update joins them with the new states in fresh memory
            layer.keys = layer.keys.expand(rows, *layer.keys.shape[1:])
            layer.values = layer.values.expand(rows, *layer.values.shape[1:])
    return opened
