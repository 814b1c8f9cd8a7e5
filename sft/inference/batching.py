"""Batches that fit in memory: rows sorted by length, sized by an estimate, halved when memory runs out.

This module depends on lengths and bytes only, not on the kind of work.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch

from sft.log import get_logger
from sft.memory import halvings, is_out_of_memory
from sft.protocols import LanguageModel

logger = get_logger(__name__)

BatchSize = int | Literal["auto"]


_CPU_TOKENS = 8192  # a larger forward exceeds the processor's caches
_DEVICE_TOKENS = 131_072
_CPU_BYTES = 2**30
_SHARE = 0.4  # of free memory: the estimate leaves out the allocator's slack and the attention's own buffers
_ACTIVATIONS = 24  # hidden-sized vectors alive per token in a forward without gradients, the MLP's included


@dataclass(frozen=True)
class Costs:
    """Bytes that a forward needs, estimated from the model's config.

    Attributes:
        token: activations of one token.
        cached: keys and values of one token in all layers.
        cached_layer: keys and values of one token in one layer.
        logits: logits of one position, with their fp32 log-softmax.
    """

    token: int
    cached: int
    cached_layer: int
    logits: int

    @classmethod
    def of(cls, model: LanguageModel) -> Costs:
        """Estimate the costs of a transformers or PEFT model."""
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
        """Cost of a prompt of `length` tokens with the logits of its last position."""
        return length * (self.token + self.cached) + self.logits

    def label(self, context: int, tokens: int) -> int:
        """Cost of a label of `tokens` tokens after `context` shared ones, copied in one layer at a time."""
        return (context + tokens) * 2 * self.cached_layer + tokens * (self.token + self.logits)

    def packed(self, prompt: int, nodes: int, before: int, others: int) -> int:
        """Cost of a prompt with a tree of `nodes`, packed with `others` tokens after `before` tokens."""
        return (
            prompt * (self.token + self.cached)
            + self.logits
            + (prompt + nodes) * self._mask_row(before, others)
            + (nodes * (self.token + self.cached + self.logits))
        )

    def node(self, before: int, others: int) -> int:
        """Cost of one node of such a tree."""
        return self.token + self.cached + self.logits + self._mask_row(before, others)

    @staticmethod
    def _mask_row(before: int, others: int) -> int:
        """Cost of a token's row of the attention mask, boolean and floating point."""
        return 8 * (before + others)


def _layers(config: Any) -> list[Any]:
    """Return the config of each layer: the model's config, unless its layers differ in shape."""
    differ = getattr(config, "is_heterogeneous", False)
    return list(config.per_layer_config) if differ else [config] * config.num_hidden_layers


def _cached_numbers(layer: Any, hidden: int) -> int:
    """Return how many numbers a layer caches for one token."""
    heads = getattr(layer, "num_attention_heads", None) or 1
    head_size = getattr(layer, "head_dim", None) or hidden // heads
    return 2 * (getattr(layer, "num_key_value_heads", None) or heads) * head_size


class Grant(NamedTuple):
    """The size of the last forward that was allowed: items, bytes, tokens."""

    items: int
    memory: int
    tokens: int


class Capacity:
    """The most that one forward may hold. It shrinks when memory runs out and never grows again.

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
        """Return the capacity from the device's free memory, halved, like the batch size, for every earlier halving."""
        times = halvings()
        rows: BatchSize = "auto" if size == "auto" else max(1, size >> times)
        memory, tokens = _free(device)
        return cls(rows, memory >> times, max(1, tokens >> times))

    def rows(self, cost: int, tokens: int, left: int) -> int:
        """Return how many of the `left` rows, of `cost` bytes and `tokens` tokens each, form a batch; at least 1."""
        if self._rows is None:
            return self.fitting(cost, tokens, left)
        return self._granted(min(self._rows, left), cost, tokens)

    def fitting(self, cost: int, tokens: int, left: int) -> int:
        """Return how many of `left` items fit by memory and tokens alone, whatever the requested batch size."""
        items = min(self._memory // max(cost, 1), self._tokens // max(tokens, 1), left)
        return self._granted(max(1, items), cost, tokens)

    def _granted(self, items: int, cost: int, tokens: int) -> int:
        self._last = Grant(items, items * cost, items * tokens)
        return items

    def halve(self, rows: int) -> bool:
        """Allow half of the last grant, which was too large; return False if it was one item of a single row."""
        if rows == 1 and self._last.items == 1:
            return False
        self._memory = min(self._memory, self._last.memory) // 2
        self._tokens = max(1, min(self._tokens, self._last.tokens) // 2)
        if self._rows is not None:
            self._rows = max(1, rows // 2)
        return True


def _free(device: torch.device) -> tuple[int, int]:
    """Return the bytes and tokens that one forward may use on the device now."""
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
    """Call `work` with consecutive batches of `order`; after an out-of-memory error, retry with half the batch.

    Args:
        order: items in processing order, those that need most memory first.
        rows_from: returns the size of a batch, from its first item and the number of items left.
        work: computes and stores a batch; it may be called again with some of the same items.
        capacity: shrinks when memory runs out.
        done: called after each batch with the total number of finished items.
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
            logger.info("Out of memory with %d rows in a batch; retrying with half the batch (%s)", len(batch), error)


def padded_first(lengths: Sequence[int]) -> list[int]:
    """Order rows by length, the longest first, but the shortest second, so that a trial meets the most padding."""
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    return [*order[:1], *order[:0:-1][:1], *order[1:-1]]


def _release() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
