"""A causal model as the engines see it: read prompts into a cache, continue them without changing that cache.

It knows which models allow this (`obstacle` says why one does not), where adapters with virtual tokens keep them, and
how masks and positions are made. It does not know labels.

Shapes: B rows, S new tokens of a row, K tokens the cache and the new ones make together, Q tokens of a label tree,
V vocabulary.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from sft.errors import ModelError
from sft.inference.tree import LabelTree

SHAREABLE_LAYERS = (DynamicLayer, DynamicSlidingWindowLayer)
TREE_ATTENTION = ("sdpa", "eager")  # implementations that take a mask of who sees whom
GROWING_ROPES = ("dynamic", "longrope")  # their frequencies change once a sequence is long: cached keys go stale


class Read(NamedTuple):
    """Prompts that were read: their cache, its mask, and the logits at each one's last token."""

    cache: DynamicCache
    mask_BK: Tensor
    logits_BV: Tensor


class Decoder:
    """A causal model behind `read` and `extend`.

    Args:
        model: a transformers causal model or a PEFT model around one.
        longest: tokens of the longest sequence that will be fed.

    Attributes:
        obstacle: why this model's cache cannot be shared among continuations, or None.
        shares_prefix: whether tokens that all prompts begin with may be read once for all.
        sees_trees: whether continuations may be packed into one row (`extend_tree`).

    Raises:
        ModelError: an encoder-decoder model.
    """

    def __init__(self, model: Any, longest: int) -> None:
        self.base = model.get_base_model() if hasattr(model, "get_base_model") else model
        if getattr(self.base.config, "is_encoder_decoder", False):
            raise ModelError(
                f"{type(self.base).__name__} is an encoder-decoder model; a causal language model is needed"
            )
        self.device = self.base.get_input_embeddings().weight.device
        self._model = model
        self._adapter = getattr(model, "active_peft_config", None)
        self._virtual: int = self._adapter.num_virtual_tokens if self._adapter and has_virtual_tokens(model) else 0
        # continuing through the PEFT model would put the virtual tokens in a second time
        self._network = self.base if self._virtual else model
        self._accepts = inspect.signature(self.base.forward).parameters
        longest += self._virtual
        slides = any(window < longest for window in _windows(self.base))
        self.obstacle = self._obstacle(longest, slides)
        self.shares_prefix = not slides  # padding between prefix and prompt would take up places in the window
        self._attention = getattr(self.base.config, "_attn_implementation", None)
        modern = getattr(
            self.base, "_supports_attention_backend", False
        )  # such models take a mask with four axes as is
        self.sees_trees: bool = not slides and modern and self._attention in TREE_ATTENTION

    def _obstacle(self, longest: int, slides: bool) -> str | None:
        missing = [name for name in ("past_key_values", "use_cache", "position_ids") if name not in self._accepts]
        if missing:
            return f"its forward takes no {missing[0]}"
        if getattr(self.base, "_is_stateful", False):
            return "it keeps a running state instead of keys and values"
        kinds = {type(layer) for layer in DynamicCache(config=self.base.config).layers}
        if other := sorted(kind.__name__ for kind in kinds.difference(SHAREABLE_LAYERS)):
            return f"its cache has layers of the kind {other[0]}"
        if slides and self._virtual:
            return "its sliding window is shorter than the prompts and its adapter adds virtual tokens"
        if slides and getattr(_text_config(self.base), "attention_chunk_size", None):
            return "its attention works in chunks shorter than the prompts"
        if _rope_grows(_text_config(self.base), longest):
            return "its position encoding changes with the length of the text"
        if getattr(self._adapter, "alora_invocation_tokens", None):
            return "its adapter looks for invocation tokens in the whole text"
        return None

    def opening(self, prefix: Sequence[int]) -> DynamicCache:
        """The cache of one row that holds the adapter's virtual tokens and then `prefix` (either may be empty)."""
        cache = DynamicCache(config=self.base.config)
        if self._virtual:
            virtual = self._model.get_prompt(batch_size=1)
            if isinstance(virtual, Tensor):
                embedded_1SD = virtual.to(self.base.dtype)
                self.base(inputs_embeds=embedded_1SD, past_key_values=cache, use_cache=True, **self._keep(1))
            else:  # prefix tuning gives keys and values
                cache = virtual
        if prefix:
            mask_1K = torch.ones(1, cache.get_seq_length() + len(prefix), dtype=torch.long, device=self.device)
            self._continue(torch.tensor([prefix], device=self.device), mask_1K, cache, keep=1)
        return cache

    def read(self, rows: Sequence[Sequence[int]], opening: DynamicCache) -> Read:
        """Read rows of at least one token after `opening`, padded on the left."""
        ids_BS, padding_BS = left_padded(rows, self.device)
        opened = padding_BS.new_ones(len(rows), opening.get_seq_length())
        mask_BK = torch.cat([opened, padding_BS], dim=1)
        cache = opened_cache(opening, len(rows))
        logits_B1V = self._continue(ids_BS, mask_BK, cache, keep=1)
        return Read(cache, mask_BK, logits_B1V[:, -1])

    def extend(self, read: Read, ids_CT: Tensor, mask_CT: Tensor) -> Tensor:
        """Logits at every token of every continuation of every prompt; `read` stays as it is.

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

    def extend_tree(self, read: Read, tree: LabelTree) -> Tensor:
        """Logits [B, Q, V] at every token of a tree after every prompt; `read` stays as it is."""
        rows, size = read.mask_BK.shape[0], len(tree.ids_Q)
        prompt_B1QK = read.mask_BK.bool()[:, None, None].expand(-1, 1, size, -1)
        mask_B1QK = torch.cat([prompt_B1QK, tree.sees_QQ.expand(rows, 1, -1, -1)], dim=-1)
        if self._attention == "eager":  # it adds the mask to its scores
            shut = torch.finfo(self.base.dtype).min
            mask_B1QK = torch.zeros(mask_B1QK.shape, dtype=self.base.dtype, device=self.device).masked_fill(
                ~mask_B1QK, shut
            )
        positions_BQ = positions(read.mask_BK, 1) + 1 + tree.depth_Q
        cache = branched_cache(read.cache, 1)
        return self._forward(tree.ids_Q.expand(rows, -1), mask_B1QK, positions_BQ, cache, keep=size)

    def whole(self, ids_BS: Tensor, keep: int) -> Tensor:
        """Logits [B, keep, V] at the last `keep` tokens of rows of one length, without any cache or padding."""
        options = {"use_cache": False} if "use_cache" in self._accepts else {}
        outputs = self._model(input_ids=ids_BS, attention_mask=torch.ones_like(ids_BS), **options, **self._keep(keep))
        return outputs.logits[:, -keep:]

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
        """Ask for the head on the last positions only, where the model can."""
        return {"logits_to_keep": count} if "logits_to_keep" in self._accepts else {}


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


def left_padded(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids [B, S] and mask [B, S], 1 for tokens. Under the mask stands id 0: any would do."""
    longest = max(len(row) for row in rows)
    ids_BS = torch.tensor([[0] * (longest - len(row)) + list(row) for row in rows], dtype=torch.long)
    mask_BS = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], dtype=torch.long)
    return ids_BS.to(device), mask_BS.to(device)


def positions(mask_BK: Tensor, count: int) -> Tensor:
    """Positions [B, count] of the last `count` tokens: each one's number among the tokens of its row."""
    return (mask_BK.cumsum(dim=1) - 1).clamp(min=0)[:, -count:]


def has_virtual_tokens(model: Any) -> bool:
    """Whether the adapter in use puts virtual tokens before every text (prompt tuning and its kin)."""
    return bool(getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False))


@contextlib.contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Evaluation mode without gradients; every module's own mode is put back afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, training in modes:
            module.training = training


def _text_config(base: Any) -> Any:
    return base.config.get_text_config(decoder=True)


def _windows(base: Any) -> list[int]:
    """Sliding windows, in tokens, of the layers that have one."""
    return [
        layer.sliding_window for layer in DynamicCache(config=base.config).layers if hasattr(layer, "sliding_window")
    ]


def _rope_grows(config: Any, longest: int) -> bool:
    parameters = getattr(config, "rope_parameters", None) or {}
    kinds = [parameters, *(value for value in parameters.values() if isinstance(value, dict))]
    limits = [
        kind.get("original_max_position_embeddings") or config.max_position_embeddings
        for kind in kinds
        if kind.get("rope_type") in GROWING_ROPES
    ]
    return any(longest > limit for limit in limits)
