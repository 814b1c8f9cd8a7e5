"""Attention of packed prompts on a CPU: to the shared beginning without a mask, to their own tokens block by block.

A mask of who sees whom makes torch compute every pair of tokens of a sequence, those of different prompts too, and more
slowly than without. Here the two parts are computed apart and put together by the sums of their exponentials, as in
Juravsky et al. 2024 (Hydragen, arXiv 2402.05099): the same numbers, without the pairs that the mask would take away.

It is registered with transformers under `NAME` and asked for by `attending`; outside of it, and wherever it meets
something that it does not know, attention is torch's own with the mask. It knows keys and values, not models.

Shapes: T tokens of a sequence, H heads (of keys and values: J), D numbers of a head, P tokens of the beginning, R
blocks, N tokens of the longest (as queries), M (as keys).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from sft.inference.packing import Blocks

NAME = "sft_packed"
_UNKNOWN = ("softcap", "s_aux", "position_bias", "cache")  # arguments that change what attention is

_blocks: ContextVar[Blocks | None] = ContextVar("blocks", default=None)
# torch's public function gives no sums of exponentials; the operator behind it on a CPU does, where there is one
_OPERATOR = "_scaled_dot_product_flash_attention_for_cpu"


@contextlib.contextmanager
def attending(base: Any) -> Iterator[None]:
    """Inside, a model whose attention is torch's (`sdpa`) attends by `packed_attention`; as before afterwards."""
    if not hasattr(torch.ops.aten, _OPERATOR):
        yield
        return
    base.set_attn_implementation(NAME)
    try:
        yield
    finally:
        base.set_attn_implementation("sdpa")


@contextlib.contextmanager
def blocks_of(blocks: Blocks | None) -> Iterator[None]:
    """Inside, forwards are of one sequence with these blocks."""
    token = _blocks.set(blocks)
    try:
        yield
    finally:
        _blocks.reset(token)


def packed_attention(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Attention [1, T, H, D] of one packed sequence, in the form that transformers calls.

    Args:
        module: the attention layer.
        query: [1, H, T, D].
        key: [1, J, P + …, D], the beginning first.
        value: the same.
        attention_mask: what the whole would be computed with.
        options: `scaling`, and what is handed on where the two parts cannot be computed apart.
    """
    blocks = _blocks.get()
    same_size = query.shape[-1] == key.shape[-1] == value.shape[-1]
    known = not options.get("dropout") and all(options.get(name) is None for name in _UNKNOWN)
    if blocks is None or not same_size or not known:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    scale = options.get("scaling")
    first_THD, first_TH = _to_beginning(query, key[:, :, : blocks.before], value[:, :, : blocks.before], scale)
    own_THD, own_TH = _to_own(query, key[:, :, blocks.before :], value[:, :, blocks.before :], blocks, scale)
    share_TH1 = torch.sigmoid(first_TH - own_TH)[..., None]
    # the sums are fp32 whatever the dtype of the states
    return torch.lerp(own_THD.float(), first_THD.float(), share_TH1).to(query.dtype)[None], None


AttentionInterface.register(NAME, packed_attention)


def _to_beginning(query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> tuple[Tensor, Tensor]:
    """All tokens to all of the beginning: attention [T, H, D] and logarithms of the sums [T, H]."""
    (_, heads, tokens, size), kinds = query.shape, key.shape[1]
    together = heads // kinds  # heads that share keys and values: their queries stand behind one another
    folded = query.reshape(1, kinds, together * tokens, size)
    out, sums = _attention(folded, key, value, None, scale)
    if together == 1:
        return out[0].transpose(0, 1), sums[0].transpose(0, 1)
    out_THD = out.reshape(heads, tokens, size).transpose(0, 1)
    return out_THD, sums.reshape(heads, tokens).transpose(0, 1)


def _to_own(query: Tensor, key: Tensor, value: Tensor, blocks: Blocks, scale: float | None) -> tuple[Tensor, Tensor]:
    """Each block's tokens to what they see of their own prompt."""
    heads, kinds, size = query.shape[1], key.shape[1], query.shape[-1]
    rows, longest = blocks.query_RN.shape
    whole = rows == 1 and blocks.key_RM.shape[1] == key.shape[2]
    if whole:
        queries, keys, values = query, key, value
    else:
        queries = query[0].transpose(0, 1)[blocks.query_RN].transpose(1, 2)
        keys, values = (states[0][:, blocks.key_RM].transpose(0, 1) for states in (key, value))
    if heads != kinds:
        keys, values = (states.repeat_interleave(heads // kinds, dim=1) for states in (keys, values))
    out, sums = _attention(queries, keys, values, blocks.mask_R1NM.to(query.dtype), scale)
    out_THD, sums_TH = out.transpose(1, 2).reshape(rows * longest, heads, size), sums.transpose(1, 2).reshape(-1, heads)
    if whole:
        return out_THD, sums_TH
    return out_THD[blocks.place_T], sums_TH[blocks.place_T]


def _attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None
) -> tuple[Tensor, Tensor]:
    operator = getattr(torch.ops.aten, _OPERATOR)
    out, sums = operator(query, key, value, 0.0, False, attn_mask=mask, scale=scale)
    return out, sums
