"""Attention of rows that begin alike: a new token's attention to the beginning is one product for all rows.

Otherwise every step reads the beginning's keys and values once for each row, which at a few hundred tokens costs more
than the model itself (Hydragen, arXiv 2402.05099). The same sum in another order. Registered through transformers' own
`AttentionInterface` and used while answers are generated; whatever is no single new token goes to the implementation
that it stands in for (sdpa).

Shapes: B rows, H heads, J heads of keys, G = H / J heads of queries for each of them, P tokens of the beginning, K own
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

from sft.inference.generating.growing_cache import SharedBeginningLayer, shared_beginning_cache

NAME = "sft_shared_beginning"
STANDS_IN_FOR = "sdpa"
_SHORTEST = 64  # tokens of a beginning for which this pays


class _Reading:
    """The cache that is being read, and how many layers' attention has found its beginning there."""

    def __init__(self, cache: DynamicCache) -> None:
        self.layers: list[SharedBeginningLayer] = cache.layers
        self.found = 0

    def layer_of(self, keys: Tensor) -> SharedBeginningLayer | None:
        """The layer that has just given these very keys out."""
        return next((layer for layer in self.layers if layer.keys is keys), None)


_reading: ContextVar[_Reading | None] = ContextVar("reading", default=None)


def attend(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, Tensor | None]:
    """transformers' attention function: query [B, H, S, D]; returns [B, S, H, D] and no weights."""
    now = _reading.get()
    layer = now.layer_of(key) if now is not None and query.shape[2] == 1 else None
    if layer is None or now is None:
        return _INTERFACE[STANDS_IN_FOR](module, query, key, value, attention_mask, **options)
    now.found += 1
    plain = attention_mask is not None and attention_mask.dtype == torch.bool and attention_mask.shape[1] == 1
    if not plain or options.get("position_bias") is not None or options.get("dropout"):
        key, value = layer.joined(key, value)
        return _INTERFACE[STANDS_IN_FOR](module, query, key, value, attention_mask, **options)
    scaling = options.get("scaling")
    scaled = query * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    return _attended(scaled, key, value, layer.beginning, attention_mask), None


def _attended(query: Tensor, keys: Tensor, values: Tensor, beginning: tuple[Tensor, Tensor], sees: Any) -> Tensor:
    """Softmax over the beginning and each row's own tokens; `sees` [B, 1, 1, P + K]."""
    rows, heads, _, size = query.shape
    groups = keys.shape[1]
    query_BJGD = query.view(rows, groups, heads // groups, size)
    first = _for_all(query_BJGD, beginning[0][0].transpose(-1, -2))
    scores_BJGK = torch.cat([first, query_BJGD @ keys.transpose(-1, -2)], dim=-1).float()
    weights_BJGK = scores_BJGK.masked_fill(~sees, -torch.inf).softmax(dim=-1).to(values.dtype)
    shared = first.shape[-1]
    out_BJGD = _for_all(weights_BJGK[..., :shared], beginning[1][0]) + weights_BJGK[..., shared:] @ values
    return out_BJGD.reshape(rows, heads, 1, -1).transpose(1, 2).contiguous()


def _for_all(left_BJGX: Tensor, right_JXY: Tensor) -> Tensor:
    """All rows times one matrix for each head of keys [B, J, G, Y]."""
    rows, groups, each, _ = left_BJGX.shape
    product = left_BJGX.transpose(0, 1).reshape(groups, rows * each, -1) @ right_JXY
    return product.view(groups, rows, each, -1).transpose(0, 1)


def _mask(*args: Any, **options: Any) -> Tensor | None:
    """That of sdpa, but always there: keys without their beginning and no mask would be wrong without a word."""
    mask: Tensor | None = sdpa_mask(*args, **{**options, "allow_is_causal_skip": False})
    return mask


_INTERFACE = AttentionInterface()
AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, _mask)


@contextmanager
def sharing(model: Any, opening: DynamicCache) -> Iterator[bool]:
    """Inside, the model attends to the beginning of all rows at once, where it can (True) and it pays.

    Args:
        model: a transformers causal model; its implementation of attention is put back afterwards.
        opening: one row of keys and values that all rows begin with.
    """
    if not _may_share(model, opening):
        yield False
        return
    model.set_attn_implementation(NAME)
    try:
        yield model.config._attn_implementation == NAME and _finds_all(model, opening)
    finally:
        model.set_attn_implementation(STANDS_IN_FOR)


@contextmanager
def reading(opening: DynamicCache) -> Iterator[DynamicCache]:
    """A cache that begins with `opening`, for any number of rows; to be used inside only."""
    cache = shared_beginning_cache(opening)
    token = _reading.set(_Reading(cache))
    try:
        yield cache
    finally:
        _reading.reset(token)


def _may_share(model: Any, opening: DynamicCache) -> bool:
    return (
        opening.get_seq_length() >= _SHORTEST
        and model.config._attn_implementation == STANDS_IN_FOR
        and getattr(model, "_supports_attention_backend", False)
        and all(type(layer) is DynamicLayer for layer in opening.layers)
    )


def _finds_all(model: Any, opening: DynamicCache) -> bool:
    """Whether every layer hands its keys on as the cache gives them: tried with one token."""
    device = model.get_input_embeddings().weight.device
    length = opening.get_seq_length()
    with reading(opening) as cache:
        mask_1K = torch.ones(1, length + 1, dtype=torch.long, device=device)
        ids_11 = torch.zeros(1, 1, dtype=torch.long, device=device)
        try:
            model(input_ids=ids_11, attention_mask=mask_1K, past_key_values=cache, use_cache=True)
        except RuntimeError:  # keys changed on their way, and without their beginning too few for the mask
            return False
        found = _reading.get()
        return found is not None and found.found == len(cache.layers)
