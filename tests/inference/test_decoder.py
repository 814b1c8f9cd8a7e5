"""The parts of the decoder alone: padding, positions, caches that are shared and never changed, modes put back."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sft.inference import decoder
from sft.inference.decoder import Decoder, branched_cache, evaluating, left_padded, opened_cache, positions
from sft.inference.tree import label_tree

CPU = torch.device("cpu")


def contents(cache: Any) -> list[torch.Tensor]:
    return [tensor.clone() for layer in cache.layers for tensor in (layer.keys, layer.values)]


def test_padding_stands_on_the_left_and_positions_count_tokens() -> None:
    ids, mask = left_padded([[7], [7, 8, 9]], CPU)
    assert ids[:, -1].tolist() == [7, 9]
    assert mask.tolist() == [[0, 0, 1], [1, 1, 1]]
    opened = torch.cat([torch.ones(2, 2, dtype=torch.long), mask], dim=1)
    assert positions(opened, 3).tolist() == [[1, 1, 2], [2, 3, 4]]
    assert positions(mask, 3)[:, -1].tolist() == [0, 2]


@pytest.mark.parametrize("family", [("llama", {}), ("mistral", {"sliding_window": 4})], ids=["full", "sliding"])
def test_continuations_leave_what_was_read_as_it_was(family: Any, make_model: Any, draw: Any) -> None:
    model = make_model(family[0], **family[1])
    with evaluating(model):
        engine = Decoder(model, longest=30)
        opening = engine.opening([])
        read = engine.read([draw(9), draw(3)], opening)
        assert opening.get_seq_length() == 0
        before = contents(read.cache)
        ids, mask = torch.tensor([[1, 2], [3, 0], [4, 5]]), torch.tensor([[1, 1], [1, 0], [1, 1]])
        first = engine.extend(read, ids, mask)
        again = engine.extend(read, ids, mask)
        assert first.shape[:2] == (2 * 3, 2)
        torch.testing.assert_close(first, again, rtol=0, atol=0)
        if engine.sees_trees:
            tree = label_tree([[1, 2, 9], [3, 9], [4, 5, 9]], CPU)
            packed = engine.extend_tree(read, tree)
            torch.testing.assert_close(packed[0, 0], first[0, 0])
            torch.testing.assert_close(packed[1, 4], first[5, 1])
        assert all(torch.equal(old, new) for old, new in zip(before, contents(read.cache), strict=True))


def test_an_opening_serves_many_batches(make_model: Any, draw: Any) -> None:
    model, prefix, rows = make_model("llama"), draw(12), [draw(5), draw(2)]
    with evaluating(model):
        engine = Decoder(model, longest=20)
        opening = engine.opening(prefix)
        before = contents(opening)
        first, again = engine.read(rows, opening), engine.read(rows, opening)
        torch.testing.assert_close(first.logits_BV, again.logits_BV, rtol=0, atol=0)
        assert first.mask_BK.sum(dim=1).tolist() == [17, 14]
        assert opening.get_seq_length() == 12
        assert all(torch.equal(old, new) for old, new in zip(before, contents(opening), strict=True))
        whole = engine.read([prefix + row for row in rows], engine.opening([]))
        torch.testing.assert_close(first.logits_BV, whole.logits_BV)


def test_a_branch_keeps_rows_apart() -> None:
    from transformers import DynamicCache

    cache = DynamicCache()
    shared = torch.arange(2.0).reshape(2, 1, 1, 1).expand(2, 1, 3, 4)
    cache.update(shared, shared, 0)
    new = torch.full((4, 1, 1, 4), 9.0)
    keys, _ = branched_cache(cache, 2).update(new, new, 0)
    assert keys[:, 0, :, 0].tolist() == [[0, 0, 0, 9], [0, 0, 0, 9], [1, 1, 1, 9], [1, 1, 1, 9]]
    assert cache.get_seq_length() == branched_cache(cache, 2).get_seq_length() == 3
    many = opened_cache(branchless(cache), 5)
    assert many.layers[0].keys.shape[0] == 5


def branchless(cache: Any) -> Any:
    cache.layers[0].keys, cache.layers[0].values = cache.layers[0].keys[:1], cache.layers[0].values[:1]
    return cache


def test_modes_are_put_back_after_an_error_too(make_model: Any) -> None:
    model = make_model("llama").train()
    model.lm_head.eval()
    with pytest.raises(KeyError), evaluating(model):
        assert not any(module.training for module in model.modules())
        assert torch.is_inference_mode_enabled()
        raise KeyError
    assert model.training
    assert not model.lm_head.training
    assert not torch.is_inference_mode_enabled()


def test_what_a_model_allows_is_read_from_its_parts(make_model: Any) -> None:
    plain = Decoder(make_model("llama"), longest=50)
    assert (plain.obstacle, plain.shares_prefix, plain.sees_trees) == (None, True, True)
    narrow = make_model("mistral", sliding_window=16)
    assert Decoder(narrow, longest=16).sees_trees
    slides = Decoder(narrow, longest=17)
    assert (slides.obstacle, slides.shares_prefix, slides.sees_trees) == (None, False, False)
    assert decoder.has_virtual_tokens(narrow) is False
    assert "position_ids" in str(Decoder(make_model("bloom"), longest=5).obstacle)
