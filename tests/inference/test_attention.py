"""Attention in two parts equals attention with the mask, and the model's own attention is restored."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from sft.inference import packing
from sft.inference.attention import NAME, attending, blocks_of, packed_attention
from sft.inference.packing import PackedPrompts, find_blocks
from sft.inference.tree import label_tree

CPU = torch.device("cpu")
BEFORE = 11


def feeds(rows: int) -> list[Any]:
    prompts = [[1, 2, 3, 4], [5, 6], [7]][:rows]
    packed = PackedPrompts(prompts, 1, BEFORE, CPU)
    return [
        packed.with_tree(label_tree([[1, 2, 9], [1, 3, 9], [4, 9]], CPU)),
        packed.tree_alone(label_tree([[7, 8, 9], [6, 9]], CPU)),
        packed.with_tree(None),
    ]


@pytest.mark.parametrize("kinds", [4, 2, 1], ids=lambda count: f"{count} heads of keys")
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("block", [3, 64])
def test_two_parts_equal_the_mask(rows: int, kinds: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(packing, "_BLOCK", block)
    for feed in feeds(rows):
        tokens, seen = feed.mask_GTK.shape[1:]
        query = torch.randn(1, tokens, 4, 8).transpose(1, 2)
        key, value = (3 * torch.randn(1, kinds, seen + 5, 8)[:, :, :seen] for _ in range(2))
        expected = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=feed.mask_GTK[:, None], scale=0.7, enable_gqa=True
        )
        shut = torch.zeros_like(feed.mask_GTK[:, None])  # would give only NaN if it were read
        with torch.inference_mode(), blocks_of(feed.blocks):
            found, _ = packed_attention(torch.nn.Module(), query, key, value, shut, scaling=0.7, dropout=0.0)
        torch.testing.assert_close(found, expected.transpose(1, 2))


def test_unsupported_arguments_use_the_mask() -> None:
    feed = feeds(3)[0]
    states = torch.randn(1, 2, feed.mask_GTK.shape[1], 8)
    keys = torch.randn(1, 2, feed.mask_GTK.shape[2], 8)
    nothing_but_the_first = torch.zeros_like(feed.mask_GTK[:, None])
    nothing_but_the_first[..., 0] = True
    for blocks, bias in ((None, None), (feed.blocks, torch.zeros(1, 2, *feed.mask_GTK.shape[1:]))):
        with blocks_of(blocks):
            found, _ = packed_attention(
                torch.nn.Module(), states, keys, keys, nothing_but_the_first, position_bias=bias
            )
        torch.testing.assert_close(found, keys[:, None, :, 0].expand_as(found))


def test_blocks_need_a_prefix_visible_to_all() -> None:
    feed = feeds(2)[0]
    owners = torch.zeros(feed.mask_GTK.shape[1], dtype=torch.long)
    assert find_blocks(feed.mask_GTK[0], owners, BEFORE) is not None
    assert find_blocks(feed.mask_GTK[0, :, BEFORE:], owners, 0) is None
    feed.mask_GTK[0, 1, 2] = False
    assert find_blocks(feed.mask_GTK[0], owners, BEFORE) is None


def test_a_model_has_its_attention_back_after_an_error_too(make_model: Any) -> None:
    model = make_model("llama")
    assert model.config._attn_implementation == "sdpa"
    with pytest.raises(KeyError), attending(model):
        assert model.config._attn_implementation == NAME
        raise KeyError
    assert model.config._attn_implementation == "sdpa"
