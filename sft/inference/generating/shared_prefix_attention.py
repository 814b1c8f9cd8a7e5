"""Attention of rows with a shared prefix: a new token's attention to the prefix is one product for all rows.

Otherwise every step reads the prefix's keys and values once for each row, which at a few hundred tokens costs more
than the model itself (Hydragen, arXiv 2402.05099). The result is the same sum in another order. The attention is
registered with transformers' `AttentionInterface` and used during generation. Anything but a single new token is passed
to the implementation that it replaces (sdpa).

Shapes: B rows, H heads, J heads of keys, G = H / J heads of queries for each of them, P tokens of the prefix, K own
tokens of a row, D numbers of a head.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache
from transformers.cache_utils import DynamicLayer
from transformers.masking_utils import sdpa_mask

from sft.inference.generating.growing_cache import SharedPrefixLayer, shared_prefix_cache
from sft.model.structure import attention_of
from sft.protocols import LanguageModel

NAME = "sft_shared_prefix"
REPLACED = "sdpa"
_SHORTEST = 64  # tokens of a prefix for which this is faster


class _Reading:
    """The cache in use, and the number of layers whose attention has used its prefix."""

    def __init__(self, cache: DynamicCache) -> None:
        self.layers: list[SharedPrefixLayer] = cache.layers
        self.used = 0

    def layer_of(self, keys: Tensor) -> SharedPrefixLayer | None:
        """Return the layer that has just returned these keys."""
        return next((layer for layer in self.layers if layer.keys is keys), None)


_reading: ContextVar[_Reading | None] = ContextVar("reading", default=None)


def attend(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, Tensor | None]:
    """Attention function for transformers: query [B, H, S, D]; return [B, S, H, D] and no weights."""
    now = _reading.get()
    layer = now.layer_of(key) if now is not None and query.shape[2] == 1 else None
    if layer is None or now is None:
        return _INTERFACE[REPLACED](module, query, key, value, attention_mask, **options)
    now.used += 1
    plain = attention_mask is not None and attention_mask.dtype == torch.bool and attention_mask.shape[1] == 1
    if not plain or options.get("position_bias") is not None or options.get("dropout"):
        key, value = layer.joined(key, value)
        return _INTERFACE[REPLACED](module, query, key, value, attention_mask, **options)
    scaling = options.get("scaling")
    scaled = query * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    return _attended(scaled, key, value, layer.prefix, attention_mask), None


def _attended(query: Tensor, keys: Tensor, values: Tensor, prefix: tuple[Tensor, Tensor], mask: Any) -> Tensor:
    """Attend to the prefix and each row's own tokens; `mask` is [B, 1, 1, P + K]."""
    rows, heads, _, size = query.shape
    groups = keys.shape[1]
    query_BJGD = query.view(rows, groups, heads // groups, size)
    first = _for_all(query_BJGD, prefix[0][0].transpose(-1, -2))
    scores_BJGK = torch.cat([first, query_BJGD @ keys.transpose(-1, -2)], dim=-1).float()
    weights_BJGK = scores_BJGK.masked_fill(~mask, -torch.inf).softmax(dim=-1).to(values.dtype)
    shared = first.shape[-1]
    out_BJGD = _for_all(weights_BJGK[..., :shared], prefix[1][0]) + weights_BJGK[..., shared:] @ values
    return out_BJGD.reshape(rows, heads, 1, -1).transpose(1, 2).contiguous()


def _for_all(left_BJGX: Tensor, right_JXY: Tensor) -> Tensor:
    """Multiply all rows by one matrix for each key head [B, J, G, Y]."""
    rows, groups, each, _ = left_BJGX.shape
    product = left_BJGX.transpose(0, 1).reshape(groups, rows * each, -1) @ right_JXY
    return product.view(groups, rows, each, -1).transpose(0, 1)


def _mask(*args: Any, **options: Any) -> Tensor | None:
    """Return the mask of sdpa, never None: without a mask, keys without their prefix would be silently wrong."""
    mask: Tensor | None = sdpa_mask(*args, **{**options, "allow_is_causal_skip": False})
    return mask


_INTERFACE = AttentionInterface()
AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, _mask)


@contextmanager
def sharing(model: LanguageModel, prefix_cache: DynamicCache) -> Iterator[bool]:
    """Inside, the model attends to the shared prefix of all rows at once; yield whether it does.

    Args:
        model: a transformers causal model; its attention implementation is restored afterwards.
        prefix_cache: a one-row cache of the shared prefix.
    """
    if not _may_share(model, prefix_cache):
        yield False
        return
    model.set_attn_implementation(NAME)
    try:
        yield attention_of(model) == NAME and _finds_all(model, prefix_cache)
    finally:
        model.set_attn_implementation(REPLACED)


@contextmanager
def reading(prefix_cache: DynamicCache) -> Iterator[DynamicCache]:
    """Yield a cache that continues `prefix_cache` for any number of rows; it is valid inside only."""
    cache = shared_prefix_cache(prefix_cache)
    token = _reading.set(_Reading(cache))
    try:
        yield cache
    finally:
        _reading.reset(token)


def _may_share(model: LanguageModel, prefix_cache: DynamicCache) -> bool:
    return (
        prefix_cache.get_seq_length() >= _SHORTEST
        and attention_of(model) == REPLACED
        and getattr(model, "_supports_attention_backend", False)
        and all(type(layer) is DynamicLayer for layer in prefix_cache.layers)
    )


def _finds_all(model: LanguageModel, prefix_cache: DynamicCache) -> bool:
    """Whether every layer passes on the keys that the cache returns, tried with one token."""
    device = model.get_input_embeddings().weight.device
    length = prefix_cache.get_seq_length()
    with reading(prefix_cache) as cache:
        mask_1K = torch.ones(1, length + 1, dtype=torch.long, device=device)
        ids_11 = torch.zeros(1, 1, dtype=torch.long, device=device)
        try:
            model(input_ids=ids_11, attention_mask=mask_1K, past_key_values=cache, use_cache=True)
        except RuntimeError:  # changed keys without their prefix do not fit the mask
            return False
        now = _reading.get()
        return now is not None and now.used == len(cache.layers)
