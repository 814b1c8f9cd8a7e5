"""Batches that fit: rows sorted by length, sized by an estimate of memory, halved when memory runs out all the same.

It knows lengths and bytes; not what the work is.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch

from sft.log import get_logger
from sft.memory import halvings, is_out_of_memory

logger = get_logger(__name__)

BatchSize = int | Literal["auto"]


_CPU_TOKENS = 8192  # a larger forward only leaves the processor's caches
_DEVICE_TOKENS = 131_072
_CPU_BYTES = 2**30
_SHARE = 0.4  # of free memory: the estimate leaves out the allocator's slack and the attention's own buffers
_ACTIVATIONS = 24  # hidden-sized vectors alive per token in a forward without gradients, the MLP's included


@dataclass(frozen=True)
class Costs:
    """Bytes that a forward needs, estimated from the model's config.

    Attributes:
        token: for one token's activations.
        cached: for one token's keys and values in all layers.
        cached_layer: the same in one layer.
        logits: for the logits of one position, with their fp32 log-softmax.
    """

    token: int
    cached: int
    cached_layer: int
    logits: int

    @classmethod
    def of(cls, model: Any) -> Costs:
        """Estimate them for a transformers model (an adapted one too)."""
        config = model.config.get_text_config(decoder=True)
        size = torch.empty((), dtype=model.dtype).element_size()
        each = [size * _cached_numbers(layer, config.hidden_size) for layer in _layers(config)]
        return cls(
            token=_ACTIVATIONS * config.hidden_size * size,
            cached=sum(each),
            cached_layer=max(each),
            logits=config.vocab_size * (size + 8),
        )

    def prompt(self, length: int) -> int:
        """A prompt of `length` tokens, read on its last position."""
        return length * (self.token + self.cached) + self.logits

    def label(self, context: int, tokens: int) -> int:
        """A label of `tokens` ids after `context` shared ones, whose keys and values one layer at a time copies."""
        return (context + tokens) * 2 * self.cached_layer + tokens * (self.token + self.logits)

    def packed(self, prompt: int, nodes: int, before: int, others: int) -> int:
        """A prompt of `prompt` tokens with a tree of `nodes`, packed behind `before` tokens beside some `others`."""
        return (
            prompt * (self.token + self.cached)
            + self.logits
            + (prompt + nodes) * self._seeing(before, others)
            + (nodes * (self.token + self.cached + self.logits))
        )

    def node(self, before: int, others: int) -> int:
        """A node of such a tree."""
        return self.token + self.cached + self.logits + self._seeing(before, others)

    @staticmethod
    def _seeing(before: int, others: int) -> int:
        """A token's row of the mask, and of its like in floating point."""
        return 8 * (before + others)


def _layers(config: Any) -> list[Any]:
    """The config of each layer: the model's own, unless its layers differ in shape."""
    differ = getattr(config, "is_heterogeneous", False)
    return list(config.per_layer_config) if differ else [config] * config.num_hidden_layers


def _cached_numbers(layer: Any, hidden: int) -> int:
    """How many numbers a layer keeps of one token."""
    heads = getattr(layer, "num_attention_heads", None) or 1
    head_size = getattr(layer, "head_dim", None) or hidden // heads
    return 2 * (getattr(layer, "num_key_value_heads", None) or heads) * head_size


class Grant(NamedTuple):
    """What a forward was allowed last: items, bytes, tokens."""

    items: int
    memory: int
    tokens: int


class Capacity:
    """How much one forward may hold. Shrinks when memory runs out; never grows again.

    Args:
        size: rows in a batch, or `"auto"` for as many as fit.
        memory: bytes that one forward may use.
        tokens: tokens that one forward may feed.
    """

    def __init__(self, size: BatchSize, memory: int, tokens: int) -> None:
        self._rows = None if size == "auto" else size
        self._memory = memory
        self._tokens = tokens
        self._last = Grant(1, memory, tokens)

    @classmethod
    def of(cls, device: torch.device, size: BatchSize) -> Capacity:
        """What the device has free now; half of it, and of the batch size, for every earlier halving."""
        times = halvings()
        rows: BatchSize = "auto" if size == "auto" else max(1, size >> times)
        memory, tokens = _free(device)
        return cls(rows, memory >> times, max(1, tokens >> times))

    def rows(self, cost: int, tokens: int, left: int) -> int:
        """How many of the `left` rows, of `cost` bytes and `tokens` tokens each, make a batch; at least 1."""
        if self._rows is None:
            return self.fitting(cost, tokens, left)
        return self._granted(min(self._rows, left), cost, tokens)

    def fitting(self, cost: int, tokens: int, left: int) -> int:
        """How many of `left` such items fit by memory and tokens alone, whatever batch size was asked for."""
        items = min(self._memory // max(cost, 1), self._tokens // max(tokens, 1), left)
        return self._granted(max(1, items), cost, tokens)

    def _granted(self, items: int, cost: int, tokens: int) -> int:
        self._last = Grant(items, items * cost, items * tokens)
        return items

    def halve(self, rows: int) -> bool:
        """Allow half of what was granted last, which was too much; False when that was one item of a single row."""
        if rows == 1 and self._last.items == 1:
            return False
        self._memory = min(self._memory, self._last.memory) // 2
        self._tokens = max(1, min(self._tokens, self._last.tokens) // 2)
        if self._rows is not None:
            self._rows = max(1, rows // 2)
        return True


def _free(device: torch.device) -> tuple[int, int]:
    """Bytes and tokens that one forward may take of the device now."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(_SHARE * (torch.cuda.mem_get_info(device)[0] + unused)), _DEVICE_TOKENS
    import psutil

    free = int(_SHARE * psutil.virtual_memory().available)
    return (min(free, _CPU_BYTES) if device.type == "cpu" else free), _CPU_TOKENS


def run_batches(
    order: Sequence[int],
    rows_from: Callable[[int, int], int],
    work: Callable[[Sequence[int]], None],
    capacity: Capacity,
    done: Callable[[int], None] = lambda count: None,
) -> None:
    """Call `work` with consecutive batches of `order`; after an out-of-memory error the batch is tried again, halved.

    Args:
        order: items in the order in which they are taken; those that need most memory first.
        rows_from: how many items a batch may hold that starts with this item, of so many left; asked for each batch.
        work: computes and stores a batch; must bear to be called again with part of the same items.
        capacity: shrinks when memory runs out.
        done: told after each batch how many items are done in all.
    """
    start = 0
    while start < len(order):
        batch = order[start : start + rows_from(order[start], len(order) - start)]
        error: str | None = None
        try:
            work(batch)
        except (RuntimeError, MemoryError) as caught:
            if not is_out_of_memory(caught) or not capacity.halve(len(batch)):
                raise
            error = str(caught).partition("\n")[0]
        if error is None:
            start += len(batch)
            done(start)
        else:  # outside the handler, where the traceback no longer holds the batch's tensors
            _release()
            logger.info("Out of memory with %d rows in a batch; going on with half as much (%s)", len(batch), error)


def padded_first(lengths: Sequence[int]) -> list[int]:
    """Rows by length, the longest first, but the shortest second: a trial then meets as much padding as can be."""
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    return [*order[:1], *order[:0:-1][:1], *order[1:-1]]


def _release() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
