"""The parts of the decoder alone: padding, positions, caches that are shared and never changed."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sft.inference import decoder
from sft.inference.caches import BufferCache, ReadOnlyLayer, branched_cache, expanded_cache
from sft.inference.decoder import Decoder, left_padded, positions
from sft.inference.packing import PackedPrompts
from sft.inference.tree import label_tree
from sft.modes import evaluating

CPU = torch.device("cpu")


def contents(cache: Any) -> list[torch.Tensor]:
    return [tensor.clone() for layer in cache.layers for tensor in (layer.keys, layer.values)]


def test_padding_is_on_the_left_and_positions_count_tokens() -> None:
    ids, mask = left_padded([[7], [7, 8, 9]], CPU)
    assert ids[:, -1].tolist() == [7, 9]
    assert mask.tolist() == [[0, 0, 1], [1, 1, 1]]
    longer = torch.cat([torch.ones(2, 2, dtype=torch.long), mask], dim=1)
    assert positions(longer, 3).tolist() == [[1, 1, 2], [2, 3, 4]]
    assert positions(mask, 3)[:, -1].tolist() == [0, 2]


@pytest.mark.parametrize("family", [("llama", {}), ("mistral", {"sliding_window": 4})], ids=["full", "sliding"])
def test_continuations_leave_what_was_read_as_it_was(family: Any, make_model: Any, draw: Any) -> None:
    model = make_model(family[0], **family[1])
    with evaluating(model):
        engine = Decoder(model, longest=30)
        prefix_cache = engine.prefix_cache([])
        read = engine.read([draw(9), draw(3)], prefix_cache)
        assert prefix_cache.get_seq_length() == 0
        before = contents(read.cache)
        ids, mask = torch.tensor([[1, 2], [3, 0], [4, 5]]), torch.tensor([[1, 1], [1, 0], [1, 1]])
        first = engine.extend(read, ids, mask)
        again = engine.extend(read, ids, mask)
        assert first.shape[:2] == (2 * 3, 2)
        torch.testing.assert_close(first, again, rtol=0, atol=0)
        assert all(torch.equal(old, new) for old, new in zip(before, contents(read.cache), strict=True))


def test_a_prefix_cache_serves_many_batches(make_model: Any, draw: Any) -> None:
    model, prefix, rows = make_model("llama"), draw(12), [draw(5), draw(2)]
    with evaluating(model):
        engine = Decoder(model, longest=20)
        prefix_cache = engine.prefix_cache(prefix)
        before = contents(prefix_cache)
        first, again = engine.read(rows, prefix_cache), engine.read(rows, prefix_cache)
        torch.testing.assert_close(first.logits_BV, again.logits_BV, rtol=0, atol=0)
        assert first.mask_BK.sum(dim=1).tolist() == [17, 14]
        assert prefix_cache.get_seq_length() == 12
        assert all(torch.equal(old, new) for old, new in zip(before, contents(prefix_cache), strict=True))
        whole = engine.read([prefix + row for row in rows], engine.prefix_cache([]))
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
    many = expanded_cache(branchless(cache), 5)
    assert many.layers[0].keys.shape[0] == 5


def branchless(cache: Any) -> Any:
    cache.layers[0].keys, cache.layers[0].values = cache.layers[0].keys[:1], cache.layers[0].values[:1]
    return cache


def test_a_buffer_keeps_its_prefix_and_overwrites_the_rest() -> None:
    from transformers import DynamicCache

    def states(value: float, sequences: int, tokens: int) -> torch.Tensor:
        return torch.full((sequences, 1, tokens, 2), value)

    prefix_cache = DynamicCache()
    prefix_cache.update(states(1, 1, 3), states(-1, 1, 3), 0)
    cache = BufferCache(prefix_cache)
    keys, values = cache.update(states(2, 1, 2), states(-2, 1, 2), 0)
    assert keys[0, 0, :, 0].tolist() == [1, 1, 1, 2, 2]
    assert values[0, 0, :, 0].tolist() == [-1, -1, -1, -2, -2]
    assert cache.get_seq_length() == 3, "what was written is not part of the prefix"
    memory = cache.layers[0].keys.data_ptr()
    for value, tokens in ((3, 1), (4, 60)):  # shorter and longer, in the same memory
        keys, _ = cache.update(states(value, 1, tokens), states(value, 1, tokens), 0)
        assert keys[0, 0, :, 0].tolist() == [1] * 3 + [value] * tokens
        assert keys.data_ptr() == memory, "nothing is copied"
    cache.keep_first(4)
    keys, _ = cache.update(states(5, 1, 200), states(5, 1, 200), 0)  # more than there is room for
    assert keys[0, 0, :, 0].tolist() == [1, 1, 1, 4] + [5] * 200
    cache.keep_first(3)
    for sequences in (3, 2, 5):
        keys, _ = cache.update(states(6, sequences, 2), states(6, sequences, 2), 0)
        assert keys[:, 0, :, 0].tolist() == [[1, 1, 1, 6, 6]] * sequences


def test_a_buffer_without_a_prefix(make_model: Any) -> None:
    from transformers import DynamicCache

    cache = BufferCache(DynamicCache(config=make_model("llama").config))
    new = torch.ones(2, 1, 3, 4)
    assert cache.get_seq_length() == 0
    assert cache.update(new, new, 1)[0].shape == (2, 1, 3, 4)


def test_what_an_encoder_read_is_spread_without_copies_for_one_row() -> None:
    from transformers import DynamicCache

    cache = DynamicCache()
    cache.update(torch.arange(6.0).reshape(2, 1, 3, 1), torch.zeros(2, 1, 3, 1), 0)
    assert ReadOnlyLayer(cache.layers[0], 2).keys[:, 0, :, 0].tolist() == [[0, 1, 2], [0, 1, 2], [3, 4, 5], [3, 4, 5]]
    branchless(cache)
    assert ReadOnlyLayer(cache.layers[0], 4).keys.data_ptr() == cache.layers[0].keys.data_ptr()


@pytest.mark.parametrize("sequences", [1, 2, 3])
def test_packed_prompts_and_trees_equal_rows_of_their_own(sequences: int, make_model: Any, draw: Any) -> None:
    model, prefix = make_model("llama", initializer_range=0.3), draw(11)
    rows = [draw(9), draw(6), draw(4), draw(4), draw(1)]
    trees = [label_tree([[1, 2, 9], [1, 3, 9], [4, 9]], CPU), label_tree([[7, 8, 9]], CPU)]
    with evaluating(model):
        engine = Decoder(model, longest=40)
        cache = BufferCache(engine.prefix_cache(prefix))
        packed = PackedPrompts(rows, sequences, 11, CPU)
        logits = engine.packed(packed.with_tree(trees[0]), cache)
        last, nodes = logits[:, : packed.rows].flatten(0, 1), logits[:, packed.rows :].reshape(-1, 4, 300)
        cache.keep_first(11 + packed.context)
        further = engine.packed(packed.tree_alone(trees[1]), cache).reshape(-1, 2, 300)
        for row, index in zip(rows, packed.index_B.tolist(), strict=True):
            for label, found in (
                ([], last[index]), ([1], nodes[index, 0]), ([1, 2], nodes[index, 1]), ([1, 3], nodes[index, 2]),
                ([4], nodes[index, 3]), ([7], further[index, 0]), ([7, 8], further[index, 1]),
            ):  # fmt: skip
                alone = model(input_ids=torch.tensor([[*prefix, *row, *label]])).logits[0, -1]
                torch.testing.assert_close(found, alone, rtol=0, atol=1e-4)


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
    assert (plain.obstacle, plain.shares_prefix, plain.apart) == (None, True, None)
    narrow = make_model("mistral", sliding_window=16)
    assert Decoder(narrow, longest=16).apart is None
    slides = Decoder(narrow, longest=17)
    assert (slides.obstacle, slides.shares_prefix) == (None, False)
    assert "window" in str(slides.apart)
    assert decoder.has_virtual_tokens(narrow) is False
    assert "position_ids" in str(Decoder(make_model("bloom"), longest=5).obstacle)
