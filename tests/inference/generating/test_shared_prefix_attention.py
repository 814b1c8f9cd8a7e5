"""Attention to a shared prefix equals sdpa, is used if possible, and does not change the model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers.cache_utils import DynamicLayer

from sft.inference.decoder import Decoder, left_padded
from sft.inference.generating import shared_prefix_attention
from sft.inference.generating.growing_cache import SharedPrefixLayer, growing_cache
from sft.inference.generating.shared_prefix_attention import NAME, reading, sharing
from sft.modes import evaluating


@pytest.mark.parametrize("heads", [6, 2], ids=["grouped queries", "as many keys"])
def test_the_same_as_sdpa(heads: int) -> None:
    rows, shared, own = 5, 70, 9
    prefix = DynamicLayer()
    prefix.update(torch.randn(1, 2, shared, 8), torch.randn(1, 2, shared, 4))
    layer = SharedPrefixLayer(prefix)
    everything = layer.update(torch.randn(rows, 2, own - 1, 8), torch.randn(rows, 2, own - 1, 4))
    assert [states.shape[-2] for states in everything] == [shared + own - 1] * 2
    keys, values = layer.update(torch.randn(rows, 2, 1, 8), torch.randn(rows, 2, 1, 4))
    assert keys.shape[-2] == own
    assert layer.get_seq_length() == shared + own
    query = torch.randn(rows, heads, 1, 8)
    mask = torch.rand(rows, 1, 1, shared + own) > 0.3
    found = shared_prefix_attention._attended(query * 0.7, keys, values, layer.prefix, mask)
    all_keys, all_values = layer.joined(keys, values)
    expected = scaled_dot_product_attention(
        query, all_keys, all_values, attn_mask=mask, scale=0.7, enable_gqa=True
    ).transpose(1, 2)
    assert torch.allclose(found, expected, atol=1e-5)


def decoded(model: Any, draw: Any, shared: bool) -> Any:
    """Logits of three steps after a prefix of 80 tokens, rows padded."""
    prefix, rows = draw(80), [draw(3), draw(9)]
    decoder = Decoder(model, 200)
    with evaluating(model):
        prefix_cache = decoder.prefix_cache(prefix)
        with sharing(model, prefix_cache) as shares, reading(prefix_cache) as one_copy:
            assert shares
            cache = one_copy if shared else growing_cache(prefix_cache, 2)
            ids, padding = left_padded(rows, decoder.device)
            mask = torch.cat([torch.ones(2, 80, dtype=torch.long), padding], dim=1)
            steps = []
            for _ in range(3):
                positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
                logits = model(input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache).logits
                steps.append(logits[:, -1])
                ids, mask = logits[:, -1:].argmax(-1), torch.cat([mask, mask.new_ones(2, 1)], dim=1)
    return torch.stack(steps)


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2", "gemma", "qwen3", "mistral"])
def test_it_is_used_by_and_the_same_for(family: str, make_model: Any, draw: Any) -> None:
    plain = {"sliding_window": None} if family == "mistral" else {}
    model = make_model(family, initializer_range=0.3, **plain)
    assert torch.allclose(decoded(model, draw, True), decoded(model, _again(draw), False), atol=1e-3)
    assert model.config._attn_implementation == "sdpa"


def _again(draw: Any) -> Any:
    """The same ids as the first time."""
    import random

    generator = random.Random(0)  # noqa: S311 not for secrets
    return lambda length: [generator.randrange(256) for _ in range(length)]


@pytest.mark.parametrize("broken", ["mask", "prefix"])
def test_the_comparison_detects_faults(broken: str, make_model: Any, draw: Any, monkeypatch: Any) -> None:
    attended = shared_prefix_attention._attended

    def other(query: Any, keys: Any, values: Any, prefix: Any, mask: Any) -> Any:
        if broken == "mask":
            return attended(query, keys, values, prefix, torch.ones_like(mask))
        return attended(query, keys, values, tuple(states.roll(1, -2) for states in prefix[:1]) + prefix[1:], mask)

    model = make_model("llama", initializer_range=0.3)
    expected = decoded(model, draw, False)
    monkeypatch.setattr(shared_prefix_attention, "_attended", other)
    assert not torch.allclose(decoded(model, _again(draw), True), expected, atol=1e-3)


def test_where_it_is_not_used(make_model: Any, draw: Any) -> None:
    def shares(model: Any, length: int = 80) -> bool:
        with evaluating(model), sharing(model, Decoder(model, 200).prefix_cache(draw(length))) as answer:
            return answer

    assert shares(make_model("llama"))
    assert not shares(make_model("llama"), length=20)
    assert not shares(make_model("mistral", sliding_window=500))
    eager = make_model("llama")
    eager.set_attn_implementation("eager")
    assert not shares(eager)
    assert eager.config._attn_implementation == "eager"


def test_the_implementation_is_put_back_after_an_error(make_model: Any, draw: Any) -> None:
    model = make_model("llama")
    prefix_cache = Decoder(model, 200).prefix_cache(draw(80))
    with pytest.raises(KeyError), sharing(model, prefix_cache):
        assert model.config._attn_implementation == NAME
        raise KeyError
    assert model.config._attn_implementation == "sdpa"


def test_keys_that_change_on_their_way_are_noticed(make_model: Any, draw: Any, monkeypatch: Any) -> None:
    """A model that copies its keys uses the ordinary cache."""
    monkeypatch.setattr(shared_prefix_attention._Reading, "layer_of", lambda self, keys: None)
    model = make_model("llama")
    with evaluating(model), sharing(model, Decoder(model, 200).prefix_cache(draw(80))) as answer:
        assert not answer
