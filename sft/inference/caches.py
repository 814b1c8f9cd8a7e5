"""Caches that several forwards read and none changes, built on transformers' protocol for cache layers.

Shapes: B rows, G packed sequences, H heads, K tokens, D numbers of a head.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

_ROOM = 64  # tokens: memory is allocated in multiples of this, so that a slightly longer forward needs no new one


class BufferLayer(DynamicLayer):
    """One layer's keys and values: a prefix that stays, and space after it that each forward overwrites.

    The memory is allocated once, with one copy of the prefix for each sequence. `update` returns views of it, so only
    new states are copied.

    Args:
        keys: keys of the prefix [1, H, K, D], or None without a prefix.
        values: values of the prefix, likewise.
    """

    def __init__(self, keys: Tensor | None, values: Tensor | None) -> None:
        super().__init__()
        self.keys, self.values = keys, values
        self.start = 0 if keys is None else keys.shape[-2]
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Return the prefix and the new states [G, H, start + new, D]; they are valid until the next call."""
        self.keys, keys = self._write(self.keys, key_states)
        self.values, values = self._write(self.values, value_states)
        return keys, values

    def _write(self, memory: Tensor | None, new: Tensor) -> tuple[Tensor, Tensor]:
        sequences, end = new.shape[0], self.start + new.shape[-2]
        if memory is None or memory.shape[0] < sequences or memory.shape[-2] < end:
            memory = self._allocate(memory, new, end)
        view = memory[:sequences, :, :end]
        view[:, :, self.start :] = new
        return memory, view

    def _allocate(self, memory: Tensor | None, new: Tensor, end: int) -> Tensor:
        sequences, heads, _, size = new.shape
        larger = new.new_empty(sequences, heads, -(-end // _ROOM) * _ROOM, size)
        if memory is not None:
            held = memory if memory.shape[0] >= sequences else memory[:1]  # all sequences have the same prefix
            larger[:, :, : self.start] = held[:sequences, :, : self.start]
        return larger

    def get_seq_length(self) -> int:
        """Return the number of tokens of the prefix."""
        return self.start

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return length and offset of the states that `update` returns."""
        return self.start + query_length, 0


class BufferCache(DynamicCache):
    """A cache of `BufferLayer`s whose prefix comes from another cache.

    Args:
        prefix_cache: a cache of one row; its memory is freed layer by layer.
    """

    def __init__(self, prefix_cache: DynamicCache) -> None:
        super().__init__()
        self.layer_class_to_replicate = None
        filled = bool(prefix_cache.get_seq_length())
        self.layers = [
            BufferLayer(*((layer.keys, layer.values) if filled else (None, None))) for layer in prefix_cache.layers
        ]

    def keep_first(self, tokens: int) -> None:
        """Keep the first `tokens` tokens as the prefix from now on."""
        for layer in self.layers:
            layer.start = tokens


class SharedLayer(DynamicLayer):
    """One layer's keys and values, read by `repeats` continuations of each row and never changed.

    New states are joined for the attention of their forward only: copies of one layer exist at a time, and no label
    leaves anything for the next.
    """

    def __init__(self, source: DynamicLayer, repeats: int) -> None:
        super().__init__()
        self._source, self._repeats = source, repeats
        self.keys, self.values = source.keys, source.values
        self.is_sliding, self.is_initialized = source.is_sliding, True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Return the shared and the new states together; row b * repeats + c continues row b."""
        return self._joined(self.keys, key_states), self._joined(self.values, value_states)

    def _joined(self, shared: Tensor, new: Tensor) -> Tensor:
        rows, *rest = shared.shape
        spread = shared[:, None].expand(rows, self._repeats, *rest)
        parted = new.view(rows, self._repeats, *new.shape[1:])
        return torch.cat([spread, parted], dim=-2).flatten(0, 1)

    def get_seq_length(self) -> int:
        """Return the number of tokens of the shared rows, including those outside a sliding window."""
        return self._source.get_seq_length()

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return length and offset of the states that `update` returns."""
        return self._source.get_mask_sizes(query_length)


class ReadOnlyLayer(DynamicLayer):
    """Keys and values of an encoder's text, read by `repeats` continuations of each row and never changed."""

    def __init__(self, source: DynamicLayer, repeats: int) -> None:
        self._spread = [
            states[:, None].expand(states.shape[0], repeats, *states.shape[1:])
            for states in (source.keys, source.values)
        ]
        self.is_initialized = True

    @property
    def keys(self) -> Tensor:
        """Keys [B * repeats, H, K, D]: a view for one row, else a copy that lives during the attention."""
        return self._spread[0].flatten(0, 1)

    @property
    def values(self) -> Tensor:
        """Values, likewise."""
        return self._spread[1].flatten(0, 1)

    def get_seq_length(self) -> int:
        """Return the number of tokens of the longest text."""
        return self._spread[0].shape[-2]


def branched_cache(cache: DynamicCache, repeats: int) -> DynamicCache:
    """Return a cache in which each row of `cache` is continued `repeats` times; `cache` itself is never changed."""
    branched = DynamicCache()
    branched.layer_class_to_replicate = None
    branched.layers = [SharedLayer(layer, repeats) for layer in cache.layers]
    return branched


def expanded_cache(prefix_cache: DynamicCache, rows: int) -> DynamicCache:
    """Return a cache of `rows` rows with the prefix of the one-row `prefix_cache`, which is never changed."""
    expanded = copy.copy(prefix_cache)
    expanded.layers = [copy.copy(layer) for layer in prefix_cache.layers]
    for layer in expanded.layers:
        if layer.is_initialized:  # views: the first update joins them with the new states in fresh memory
            layer.keys = layer.keys.expand(rows, *layer.keys.shape[1:])
            layer.values = layer.values.expand(rows, *layer.values.shape[1:])
    return expanded
