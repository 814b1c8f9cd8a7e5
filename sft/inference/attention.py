"""Attention of packed prompts on a CPU: to the shared prefix without a mask, to their own tokens block by block.

With an attention mask, torch computes every pair of tokens of a sequence, also across prompts, and more slowly than
without one. Here the two parts are computed separately and combined by the sums of their exponentials, as in Juravsky
et al. 2024 (Hydragen, arXiv 2402.05099): the same numbers, without the masked pairs.

It is registered with transformers under `NAME` and activated by `attending`. Outside of it, and for arguments that it
does not support, torch's own attention with the mask is used.

Shapes: T tokens of a sequence, H heads (of keys and values: J), D numbers of a head, P tokens of the prefix, R
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
from sft.protocols import LanguageModel

NAME = "sft_packed"
_UNKNOWN = ("softcap", "s_aux", "position_bias", "cache")  # arguments that change the attention

_blocks: ContextVar[Blocks | None] = ContextVar("blocks", default=None)
# torch's public function returns no sums of exponentials; its CPU operator does, where it exists
_OPERATOR = "_scaled_dot_product_flash_attention_for_cpu"


@contextlib.contextmanager
def attending(base: LanguageModel) -> Iterator[None]:
    """Inside, a model with `sdpa` attention uses `packed_attention` instead."""
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
    """Inside, each forward is one sequence with these blocks."""
    token = _blocks.set(blocks)
    try:
        yield
    finally:
        _blocks.reset(token)


def packed_attention(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Compute the attention [1, T, H, D] of one packed sequence; the signature is that of transformers.

    Args:
        module: the attention layer.
        query: [1, H, T, D].
        key: [1, J, P + …, D], the prefix first.
        value: same shape.
        attention_mask: the mask for the fallback.
        options: `scaling`, and options of the fallback.
    """
    blocks = _blocks.get()
    same_size = query.shape[-1] == key.shape[-1] == value.shape[-1]
    supported = not options.get("dropout") and all(options.get(name) is None for name in _UNKNOWN)
    if blocks is None or not same_size or not supported:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    scale = options.get("scaling")
    prefix_THD, prefix_TH = _to_prefix(query, key[:, :, : blocks.before], value[:, :, : blocks.before], scale)
    own_THD, own_TH = _to_own(query, key[:, :, blocks.before :], value[:, :, blocks.before :], blocks, scale)
    share_TH1 = torch.sigmoid(prefix_TH - own_TH)[..., None]
    # the sums are always fp32
    return torch.lerp(own_THD.float(), prefix_THD.float(), share_TH1).to(query.dtype)[None], None


AttentionInterface.register(NAME, packed_attention)


def _to_prefix(query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> tuple[Tensor, Tensor]:
    """Attention of all tokens to the whole prefix [T, H, D], and logarithms of the sums [T, H]."""
    (_, heads, tokens, size), kinds = query.shape, key.shape[1]
    together = heads // kinds  # query heads per key head; their queries are concatenated
    folded = query.reshape(1, kinds, together * tokens, size)
    out, sums = _attention(folded, key, value, None, scale)
    if together == 1:
        return out[0].transpose(0, 1), sums[0].transpose(0, 1)
    out_THD = out.reshape(heads, tokens, size).transpose(0, 1)
    return out_THD, sums.reshape(heads, tokens).transpose(0, 1)


def _to_own(query: Tensor, key: Tensor, value: Tensor, blocks: Blocks, scale: float | None) -> tuple[Tensor, Tensor]:
    """Attention of each block's tokens to the visible tokens of their own prompt, as in `_to_prefix`."""
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
    return out_THD[blocks.index_T], sums_TH[blocks.index_T]


def _attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None
) -> tuple[Tensor, Tensor]:
    operator = getattr(torch.ops.aten, _OPERATOR)
    out, sums = operator(query, key, value, 0.0, False, attn_mask=mask, scale=scale)
    return out, sums
