"""Wrap a causal model for scoring and generation: read prompts into a cache, and continue them without changing it.

The module decides which models allow this (`obstacle` gives the reason if not), handles virtual tokens of adapters, and
builds masks and positions.

Shapes: B rows, S new tokens of a row, K tokens of the cache and the new ones together, C continuations of a row, T
tokens of a continuation or of a packed sequence, G packed sequences, V vocabulary.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from sft.errors import ModelError
from sft.inference.attention import attending, blocks_of
from sft.inference.caches import BufferCache, branched_cache, expanded_cache
from sft.inference.packing import Feed
from sft.model.structure import attention_of, base_of, cache_layers, refuses_masks, rope_grows, text_config, windows
from sft.model.trial import plain_logits
from sft.protocols import LanguageModel

SHAREABLE_LAYERS = (DynamicLayer, DynamicSlidingWindowLayer)


class Read(NamedTuple):
    """Prompts read into a cache: the cache, its mask, and the logits at the last token of each prompt."""

    cache: DynamicCache
    mask_BK: Tensor
    logits_BV: Tensor


class Decoder:
    """A causal model with the forwards `packed`, `read`, `extend` and `whole`.

    Args:
        model: a transformers causal model or a PEFT model around one.
        longest: number of tokens of the longest input.
        windowed: whether to trust the sliding windows of the model's config; some models ignore theirs.

    Attributes:
        obstacle: the reason why this model's cache cannot be shared among continuations, or None.
        slides: whether a sliding window is shorter than the longest sequence.
        grows: whether the position encoding of a text changes with its length.
        shares_prefix: whether a shared prefix of the prompts may be read once for all.
        apart: the reason why prompts and labels cannot be packed into one sequence, or None.

    Raises:
        ModelError: the model is an encoder-decoder model.
    """

    def __init__(self, model: LanguageModel, longest: int, windowed: bool = True) -> None:
        self.base, self.windowed = base_of(model), windowed
        if getattr(self.base.config, "is_encoder_decoder", False):
            raise ModelError(
                f"{type(self.base).__name__} is an encoder-decoder model; expected a causal language model"
            )
        self.device = self.base.get_input_embeddings().weight.device
        self._model = model
        self._adapter = getattr(model, "active_peft_config", None)
        self._virtual: int = self._adapter.num_virtual_tokens if self._adapter and has_virtual_tokens(model) else 0
        # the PEFT model would insert the virtual tokens a second time
        self._network = self.base if self._virtual else model
        self._layers = cache_layers(self.base)
        self._accepts = inspect.signature(self.base.forward).parameters
        longest += self._virtual
        self.slides = windowed and any(window < longest for window in windows(self.base))
        self.grows = rope_grows(self.base, longest)
        self.obstacle = self._obstacle(longest)
        self.shares_prefix = not self.slides  # padding between prefix and prompt would use up the window
        self._attention = attention_of(self.base)
        self.apart = self._apart()
        # eager attention adds the mask to its scores; so does torch on a CPU, which rebuilds that mask in every layer
        plain_cpu = self.device.type == "cpu" and self.base.dtype == torch.float32
        self._adds_masks = self._attention == "eager" or plain_cpu
        self._splits = self._attention == "sdpa" and self.device.type == "cpu"

    def _obstacle(self, longest: int) -> str | None:
        missing = [name for name in ("past_key_values", "use_cache", "position_ids") if name not in self._accepts]
        if missing:
            return f"its forward takes no {missing[0]}"
        if getattr(self.base, "_is_stateful", False):
            return "it keeps a running state instead of keys and values"
        if self._layers is None:
            return "no cache can be made by its config"
        if other := self._other_layers():
            return f"its cache has layers of the kind {other[0]}"
        if self.slides and self._virtual:
            return "its sliding window is shorter than the prompts and its adapter adds virtual tokens"
        if self.slides and getattr(text_config(self.base), "attention_chunk_size", None):
            return "its attention works in chunks shorter than the prompts"
        if self.grows:  # cached keys go stale
            return "its position encoding changes with the length of the text"
        if getattr(self._adapter, "alora_invocation_tokens", None):
            return "its adapter looks for invocation tokens in the whole text"
        return None

    def _other_layers(self) -> list[str]:
        """Return the cache layer types that hold something else than keys and values."""
        kinds = {type(layer) for layer in self._layers or ()}
        return sorted(kind.__name__ for kind in kinds.difference(SHAREABLE_LAYERS))

    @property
    def takes_full_cache(self) -> bool:
        """Whether the model accepts a cache that keeps all keys and values."""
        stateful = getattr(self.base, "_is_stateful", False)
        keeps_keys = self._layers is not None and not self._other_layers()
        return "past_key_values" in self._accepts and not stateful and keeps_keys

    def _apart(self) -> str | None:
        if self.slides:
            return "its sliding window is shorter than the prompts"
        return refuses_masks(self.base)

    @property
    def has_virtual_tokens(self) -> bool:
        """Whether the adapter inserts virtual tokens before every text."""
        return self._virtual > 0

    def empty_cache(self) -> DynamicCache:
        """Return an empty cache with the layer types of the model's config; full layers only, if not `windowed`."""
        cache = DynamicCache(config=self.base.config)
        if not self.windowed:
            cache.layers = [DynamicLayer() for _ in cache.layers]
        return cache

    def prefix_cache(self, prefix: Sequence[int]) -> DynamicCache:
        """Return a one-row cache of the adapter's virtual tokens and then `prefix` (either may be empty)."""
        cache = self.empty_cache()
        if self._virtual:
            adapted: Any = self._model  # a PEFT model
            virtual = adapted.get_prompt(batch_size=1)
            if isinstance(virtual, Tensor):
                embedded_1SD = virtual.to(self.base.dtype)
                self.base(inputs_embeds=embedded_1SD, past_key_values=cache, use_cache=True, **self._keep(1))
            else:  # prefix tuning gives keys and values
                cache = virtual
        if prefix:
            mask_1K = torch.ones(1, cache.get_seq_length() + len(prefix), dtype=torch.long, device=self.device)
            self._continue(torch.tensor([prefix], device=self.device), mask_1K, cache, keep=1)
        return cache

    def prefix_cache_of(self, ids: Sequence[int], prefix: int, keep: int) -> tuple[DynamicCache, Tensor]:
        """Run all ids in one forward; return the cache of the first `prefix` ids and the last logits [keep, V].

        The model must have no sliding window, and the adapter no virtual tokens.
        """
        cache, ids_1S = self.empty_cache(), torch.tensor([ids], device=self.device)
        mask_1S = torch.ones_like(ids_1S)
        outputs = self._network(
            input_ids=ids_1S, attention_mask=mask_1S, past_key_values=cache, use_cache=True, **self._keep(keep)
        )
        cache.crop(prefix - len(ids))
        return cache, outputs.logits[0, -keep:]

    def read(self, rows: Sequence[Sequence[int]], prefix_cache: DynamicCache) -> Read:
        """Read rows of at least one token after the prefix, padded on the left."""
        ids_BS, padding_BS = left_padded(rows, self.device)
        prefix_mask = padding_BS.new_ones(len(rows), prefix_cache.get_seq_length())
        mask_BK = torch.cat([prefix_mask, padding_BS], dim=1)
        cache = expanded_cache(prefix_cache, len(rows))
        logits_B1V = self._continue(ids_BS, mask_BK, cache, keep=1)
        return Read(cache, mask_BK, logits_B1V[:, -1])

    def extend(self, read: Read, ids_CT: Tensor, mask_CT: Tensor) -> Tensor:
        """Compute the logits at every token of every continuation of every prompt; `read` is not changed.

        Args:
            read: B prompts.
            ids_CT: C continuations, padded on the right.
            mask_CT: 1 where `ids_CT` holds a token.

        Returns:
            logits [B * C, T, V]; row b * C + c continues prompt b with c.
        """
        rows, count = read.mask_BK.shape[0], ids_CT.shape[0]
        mask = torch.cat([read.mask_BK.repeat_interleave(count, dim=0), mask_CT.repeat(rows, 1)], dim=1)
        return self._continue(ids_CT.repeat(rows, 1), mask, branched_cache(read.cache, count), keep=ids_CT.shape[1])

    def packing(self) -> contextlib.AbstractContextManager[None]:
        """Return the context in which to call `packed`, and nothing else."""
        return attending(self.base) if self._splits else contextlib.nullcontext()

    def packed(self, feed: Feed, cache: BufferCache) -> Tensor:
        """Compute the logits [G, reads, V] at the last tokens of packed sequences that continue `cache`."""
        mask_G1TK = feed.mask_GTK[:, None]
        if self._splits and feed.blocks is not None:  # the mask is not read
            with blocks_of(feed.blocks):
                return self._forward(feed.ids_GT, mask_G1TK, feed.positions_GT, cache, keep=feed.reads)
        if self._adds_masks:
            shut = torch.finfo(self.base.dtype).min
            mask_G1TK = torch.zeros_like(mask_G1TK, dtype=self.base.dtype).masked_fill_(~mask_G1TK, shut)
        return self._forward(feed.ids_GT, mask_G1TK, feed.positions_GT, cache, keep=feed.reads)

    def whole(self, ids_BS: Tensor, keep: int) -> Tensor:
        """Compute the logits [B, keep, V] at the last tokens of rows of equal length, without cache or padding."""
        self.forget_lengths()
        return plain_logits(self._model, ids_BS, keep)

    def forget_lengths(self) -> None:
        """Reset a position encoding that grows: transformers keeps that of the longest text so far."""
        if self.grows:
            plain_logits(self._model, torch.zeros(1, 1, dtype=torch.long, device=self.device), 1)

    def whole_labels(self, prompts: Sequence[Sequence[int]], labels: Sequence[Sequence[int]]) -> Tensor:
        """Compute the logits [M, T, V] that predict each label's tokens after its prompt, each pair run whole.

        Args:
            prompts: M prompts of equal length.
            labels: M labels of T tokens each.
        """
        pairs = zip(prompts, labels, strict=True)
        fed_MS = torch.tensor([[*prompt, *label] for prompt, label in pairs], device=self.device)
        return self.whole(fed_MS, keep=len(labels[0]) + 1)[:, :-1]

    def _continue(self, ids_BS: Tensor, mask_BK: Tensor, cache: DynamicCache, keep: int) -> Tensor:
        return self._forward(ids_BS, mask_BK, positions(mask_BK, ids_BS.shape[1]), cache, keep)

    def _forward(self, ids_BS: Tensor, mask: Tensor, positions_BS: Tensor, cache: DynamicCache, keep: int) -> Tensor:
        outputs = self._network(
            input_ids=ids_BS,
            attention_mask=mask,
            position_ids=positions_BS,
            past_key_values=cache,
            use_cache=True,
            **self._keep(keep),
        )
        return outputs.logits[:, -keep:]

    def _keep(self, count: int) -> dict[str, int]:
        """Return the arguments that compute logits at the last positions only, if the model supports it."""
        return {"logits_to_keep": count} if "logits_to_keep" in self._accepts else {}


def left_padded(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return ids [B, S] and mask [B, S], 1 for tokens. Padding has id 0; any id would do."""
    longest = max(len(row) for row in rows)
    ids_BS = torch.tensor([[0] * (longest - len(row)) + list(row) for row in rows], dtype=torch.long)
    mask_BS = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], dtype=torch.long)
    return ids_BS.to(device), mask_BS.to(device)


def positions(mask_BK: Tensor, count: int) -> Tensor:
    """Return the positions [B, count] of the last `count` tokens of each row, padding not counted."""
    return (mask_BK.cumsum(dim=1) - 1).clamp(min=0)[:, -count:]


def has_virtual_tokens(model: LanguageModel) -> bool:
    """Whether the active adapter inserts virtual tokens before every text (prompt tuning and similar methods)."""
    return bool(getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False))
