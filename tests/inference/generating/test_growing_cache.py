"""A growing layer holds the same states as transformers' layer, and copies only when its memory is full."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from sft.inference.generating.growing_cache import GrowingLayer, growing_cache


def states(rows: int, tokens: int) -> tuple[Any, Any]:
    return torch.randn(rows, 2, tokens, 4), torch.randn(rows, 2, tokens, 6)


@pytest.fixture
def filled() -> DynamicLayer:
    layer = DynamicLayer()
    layer.update(*states(3, 5))
    return layer


def test_it_holds_what_the_plain_layer_holds(filled: DynamicLayer) -> None:
    before = filled.keys.clone()
    layer = GrowingLayer(filled)
    assert layer.get_seq_length() == 5
    plain = GrowingLayer(filled)  # another one, to show that they share nothing that is written
    for count in (1, 1, 40, 1, 200, 1):
        new = states(3, count)
        keys, values = layer.update(*new)
        expected = torch.cat([before, new[0]], dim=-2)
        before = expected
        assert torch.equal(keys, expected)
        assert torch.equal(values[..., -count:, :], new[1])
        assert layer.get_seq_length() == expected.shape[-2]
        assert layer.get_mask_sizes(1) == (expected.shape[-2] + 1, 0)
    assert filled.keys.shape[-2] == plain.get_seq_length() == 5


def test_it_writes_into_allocated_memory(filled: DynamicLayer) -> None:
    layer = GrowingLayer(filled)
    addresses = []
    for _ in range(100):
        keys, _ = layer.update(*states(3, 1))
        addresses.append(keys.data_ptr())
    assert len(set(addresses)) <= 4


def test_reordered_rows(filled: DynamicLayer) -> None:
    """Beam search reorders rows at every step; the earlier memory must not be overwritten."""
    layer, plain = GrowingLayer(filled), DynamicLayer()
    plain.update(filled.keys, filled.values)
    for order in ([2, 0, 1], [0, 0, 1], [1, 1, 1]):
        new = states(3, 1)
        assert torch.equal(layer.update(*new)[0], plain.update(*new)[0])
        for one in (layer, plain):
            one.reorder_cache(torch.tensor(order))
    layer.crop(-2)
    plain.crop(-2)
    new = states(3, 1)
    assert torch.equal(layer.update(*new)[1], plain.update(*new)[1])


def test_all_rows_start_with_the_prefix() -> None:
    prefix_cache = DynamicCache()
    prefix_cache.update(*states(1, 5), 0)
    held = prefix_cache.layers[0].keys.clone()
    for rows in (2, 4):
        cache = growing_cache(prefix_cache, rows)
        keys, _ = cache.update(*states(rows, 3), 0)
        assert torch.equal(keys[:, :, :5], held.expand(rows, -1, -1, -1))
        assert cache.get_seq_length() == 8
    assert torch.equal(prefix_cache.layers[0].keys, held)


def test_an_empty_prefix() -> None:
    cache = growing_cache(DynamicCache(), 2)
    keys, values = states(2, 3)
    assert torch.equal(cache.update(keys, values, 0)[1], values)
