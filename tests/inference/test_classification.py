"""Label scores equal a naive full re-run, whatever the model, the batch, the adapter; and the comparison can fail."""

from __future__ import annotations

import csv
import logging
import random
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sft.errors import ModelError
from sft.inference import caches, classification, decoder
from sft.inference.batching import Capacity
from sft.inference.caches import BufferCache
from sft.inference.classification import score_labels
from sft.inference.packing import PackedPrompts
from sft.inference.scoring.packed_scorer import PackedScorer, common_prefix
from sft.inference.tree import label_tree

EXACT = 1e-4
FAMILIES = {
    "llama": ("llama", {}),
    "qwen2": ("qwen2", {}),
    "gpt2": ("gpt2", {}),
    "gemma": ("gemma", {}),
    "mistral, window beyond the prompts": ("mistral", {"sliding_window": 1000}),
    "mistral, window within the prompts": ("mistral", {"sliding_window": 16}),
    "gemma3, windows in some layers": ("gemma3_text", {"sliding_window": 16, "num_hidden_layers": 6}),
    "eager attention": ("llama", {"attn_implementation": "eager"}),
}
LONG_ROPE = {
    "rope_type": "longrope", "rope_theta": 10000.0, "factor": 8.0, "original_max_position_embeddings": 64,
    "short_factor": [1.0] * 4, "long_factor": [1.0, 2.0, 4.0, 8.0],
}  # fmt: skip
JAMBA = {
    "attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 1, "mamba_d_state": 4,
}  # fmt: skip
FALLBACKS = {
    "no positions": ("bloom", {}, "position_ids"),
    "a running state": ("mamba", {}, "past_key_values"),
    "state and attention in turn": ("jamba", JAMBA, "running state"),
    "attention in chunks": ("llama4_text", {"attention_chunk_size": 32}, "chunks"),
    "positions that change": ("llama", {"rope_parameters": LONG_ROPE, "max_position_embeddings": 512}, "length"),
}

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"
    ),  # PEFT on transformers
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False:UserWarning"),  # PEFT on GPT-2
]


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
@pytest.mark.parametrize("prompts", ["ragged", "alike"])
def test_scores_equal_full_reruns_in_any_batch(
    family: Any, prompts: str, labels: Any, make_model: Any, naive: Any, request: pytest.FixtureRequest
) -> None:
    name, overrides = family
    attention = {"attn_implementation": overrides.get("attn_implementation", "sdpa")}
    model = make_model(name, **{key: value for key, value in overrides.items() if key not in attention})
    model.set_attn_implementation(attention["attn_implementation"])
    rows = request.getfixturevalue(prompts)
    reference = naive(model, rows, labels)
    for batch_size in (1, 3, 16, "auto"):
        assert reference.gap(batch_size=batch_size) < EXACT


@pytest.mark.parametrize("family", FALLBACKS.values(), ids=FALLBACKS.keys())
def test_models_whose_cache_cannot_be_shared_are_run_whole(
    family: Any, ragged: Any, labels: Any, make_model: Any, naive: Any, caplog: pytest.LogCaptureFixture
) -> None:
    name, overrides, reason = family
    model = make_model(name, **overrides)
    with caplog.at_level(logging.INFO, logger="sft"):
        assert naive(model, ragged, labels).gap(batch_size=3) < EXACT
        scores = score_labels(model, ragged[1:2], labels[4:5])
    reports = [record.message for record in caplog.records if "re-run" in record.message]
    assert len(reports) == 1, "once for a model, not at every call"
    assert reason in reports[0]
    assert scores.fallback is not None
    assert scores.fallback.startswith("whole re-runs: ")
    assert scores.fallback in reports[0]


def adapters() -> dict[str, Callable[[], Any]]:
    from peft import IA3Config, LoraConfig, PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig

    causal = {"task_type": "CAUSAL_LM"}
    return {
        "lora": lambda: LoraConfig(**causal, target_modules="all-linear", init_lora_weights=False),
        "dora": lambda: LoraConfig(**causal, target_modules="all-linear", init_lora_weights=False, use_dora=True),
        "ia3": lambda: IA3Config(**causal, init_ia3_weights=False),
        "prompt tuning": lambda: PromptTuningConfig(**causal, num_virtual_tokens=5),
        "p-tuning": lambda: PromptEncoderConfig(**causal, num_virtual_tokens=5, encoder_hidden_size=16),
        "prefix tuning": lambda: PrefixTuningConfig(**causal, num_virtual_tokens=5),
    }


@pytest.mark.parametrize("adapter", ["lora", "dora", "ia3", "prompt tuning", "p-tuning", "prefix tuning"])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_adapted_models(adapter: str, family: str, ragged: Any, alike: Any, make_model: Any, naive: Any) -> None:
    from peft import get_peft_model

    labels = [[5, 6, 258], [5, 258], [5, 6, 7, 8, 258], [258]]
    base = make_model(family)
    plain = score_labels(base, alike, labels)
    model = get_peft_model(base, adapters()[adapter]()).eval()
    for rows in (ragged, alike):
        reference = naive(model, rows, labels)
        for batch_size in (1, 3, "auto"):
            assert reference.gap(batch_size=batch_size) < EXACT
    assert np.abs(plain.sum_logprob_NL - reference.scores["sum"]).max() > EXACT, "the adapter changes nothing"


def test_virtual_tokens_before_a_short_window_are_run_whole(
    ragged: Any, labels: Any, make_model: Any, naive: Any
) -> None:
    from peft import get_peft_model

    model = get_peft_model(make_model("mistral", sliding_window=16), adapters()["prompt tuning"]()).eval()
    assert naive(model, ragged, labels).gap() < EXACT


QUANTISED = {
    # with the default threshold int8 itself depends on what else is in the batch
    "int8": ({"load_in_8bit": True, "llm_int8_threshold": 0.0}, {}, EXACT),
    # nf4 on a CPU: a text's own logits differ by 3e-3 with the tokens that follow it; very small layers are refused
    "nf4": (
        {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": torch.float32},
        {"hidden_size": 256, "head_dim": 64, "initializer_range": 0.1},
        2e-2,
    ),
}


@pytest.mark.parametrize("kind", QUANTISED.values(), ids=QUANTISED.keys())
def test_quantised_bases(kind: Any, ragged: Any, labels: Any, make_model: Any, naive: Any, tmp_path: Path) -> None:
    arguments, size, tolerance = kind
    pytest.importorskip("bitsandbytes")
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    plain = make_model("llama", **size)
    plain.save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(
        tmp_path, quantization_config=BitsAndBytesConfig(**arguments), dtype=torch.float32
    )
    reference = naive(model, ragged, labels)
    assert reference.gap(batch_size=3) < tolerance
    unquantised = score_labels(plain, ragged, labels).sum_logprob_NL
    assert np.abs(unquantised - reference.scores["sum"]).max() > 5 * tolerance, "quantisation changes nothing"


@pytest.mark.parametrize("count", [1, 2, 77, 1000])
def test_any_number_of_labels(count: int, draw: Any, make_model: Any, naive: Any) -> None:
    model = make_model("llama", num_hidden_layers=1)
    prompts = [draw(3), draw(9)]
    lengths = random.Random(count)  # noqa: S311 not for secrets
    labels = [[*draw(lengths.randrange(6)), 258] for _ in range(count)]
    assert naive(model, prompts, labels).gap() < EXACT


def test_rows_and_labels_keep_the_callers_order(ragged: Any, labels: Any, make_model: Any) -> None:
    model = make_model("llama")
    scores = score_labels(model, ragged, labels)
    rows, columns = [4, 2, 6, 0, 1, 5, 3], [3, 5, 0, 2, 4, 1]
    shuffled = score_labels(model, [ragged[row] for row in rows], [labels[column] for column in columns], batch_size=3)
    for name in ("sum_logprob_NL", "end_logprob_NL", "first_logprob_NL"):
        np.testing.assert_allclose(getattr(shuffled, name), getattr(scores, name)[rows][:, columns], atol=EXACT)
    assert shuffled.token_count_L.tolist() == [len(labels[column]) for column in columns]


@pytest.mark.parametrize("end_tokens", [0, 1, 2])
def test_the_end_of_turn_may_be_several_tokens_or_none(
    end_tokens: int, ragged: Any, make_model: Any, naive: Any
) -> None:
    model = make_model("qwen2")
    labels = [[5, 6, *[10, 258][2 - end_tokens :]], [7, *[10, 258][2 - end_tokens :]]]
    assert naive(model, ragged, labels, end_tokens).gap() < EXACT
    scores = score_labels(model, ragged, labels, end_tokens=end_tokens)
    assert (scores.end_logprob_NL == 0).all() == (end_tokens == 0)


def test_single_token_labels_without_end_need_no_second_forward(make_model: Any, draw: Any) -> None:
    model, calls = make_model("llama"), []
    prompts, labels = [draw(4), draw(5)], [[1], [2], [3]]
    score_labels(model, prompts, labels, end_tokens=0, batch_size=2)
    model.register_forward_pre_hook(lambda *_: calls.append(1))
    score_labels(model, prompts, labels, end_tokens=0, batch_size=2)
    assert len(calls) == 1, "such rows have been tried"


def siblings_in_sight(labels: Any, device: torch.device) -> Any:
    tree = label_tree(labels, device)
    return tree._replace(mask_QQ=torch.ones_like(tree.mask_QQ).tril())


def depths_in_a_row(labels: Any, device: torch.device) -> Any:
    tree = label_tree(labels, device)
    return tree._replace(depth_Q=torch.arange(len(tree.depth_Q)))


class NeighboursInSight(PackedPrompts):
    """Tokens attend to other prompts too."""

    def _of_own(self, owner_GT: torch.Tensor, position_GT: torch.Tensor) -> torch.Tensor:
        return super()._of_own(torch.zeros_like(owner_GT), position_GT)


class PrefixUnseen(PackedPrompts):
    """No token attends to the prefix."""

    def _with_prefix(self, mask_GTT: torch.Tensor) -> torch.Tensor:
        seen = super()._with_prefix(mask_GTT)
        seen[:, :, : self._before] = False
        return seen


class PositionsInARow(PackedPrompts):
    """Positions count along the sequence, as if it were one text."""

    def with_tree(self, tree: Any) -> Any:
        feed = super().with_tree(tree)
        positions = self._before + torch.arange(feed.ids_GT.shape[1])
        return feed._replace(positions_GT=positions.expand_as(feed.positions_GT))


class RowsReversed(PackedPrompts):
    """A prompt's scores are read at another's index."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.index_B = self.index_B.flip(0)


class ForgetfulCache(BufferCache):
    """The prompts are missing when further trees continue them."""

    def keep_first(self, tokens: int) -> None:
        for layer in self.layers:
            if tokens > layer.start:
                layer.keys[:, :, layer.start : tokens] = 0
        super().keep_first(tokens)


class ContaminatedCache(BufferCache):
    """A forward overwrites the last token of the prefix."""

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *rest: Any) -> Any:
        keys, values = super().update(key_states, value_states, layer_idx, *rest)
        start = self.layers[layer_idx].start
        keys[:, :, start - 1], values[:, :, start - 1] = keys[:, :, start], values[:, :, start]
        return keys, values


SABOTAGE = {
    "mask of the tree": {"make_tree": staticmethod(siblings_in_sight)},
    "positions of the tree": {"make_tree": staticmethod(depths_in_a_row)},
    "mask of the prompts": {"make_prompts": NeighboursInSight},
    "mask of the prefix": {"make_prompts": PrefixUnseen},
    "positions of the prompts": {"make_prompts": PositionsInARow},
    "order of the prompts": {"make_prompts": RowsReversed},
    "forgetful cache": {"make_cache": ForgetfulCache},
    "contaminated cache": {"make_cache": ContaminatedCache},
}


@pytest.mark.parametrize("sabotage", SABOTAGE.values(), ids=SABOTAGE.keys())
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_comparison_fails_when_the_engine_is_broken(
    sabotage: Any, family: str, make_model: Any, naive: Any, alike: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = [[5, 6, 258], [5, 258], [5, 7, 258], [9, 258], [258], [8, 9, 10, 258]]
    reference = naive(make_model(family, initializer_range=0.3), alike, labels)
    # three nodes of the tree in a forward, so that there are several
    fitting = Capacity.fitting
    monkeypatch.setattr(Capacity, "fitting", lambda *given: min(3, given[-1]))
    assert reference.gap(batch_size=3) < EXACT
    # this model has passed its trial
    monkeypatch.setattr(classification, "PackedScorer", type("PackedScorer", (PackedScorer,), sabotage))
    assert reference.gap(batch_size=3) > 100 * EXACT
    # another model gets a trial
    reference.model = make_model(family, initializer_range=0.3)
    if "make_tree" in sabotage:  # the label under trial must share its tree
        monkeypatch.setattr(Capacity, "fitting", fitting)
    assert reference.gap(batch_size=3) < EXACT


def broken_mask(rows: Any, device: torch.device, whole: Any = decoder.left_padded) -> tuple[Any, Any]:
    ids_BS, mask_BS = whole(rows, device)
    return ids_BS, torch.ones_like(mask_BS)


class MisorderedLayer(caches.SharedLayer):
    """Row r continues row r modulo B instead of row r // repeats."""

    def _joined(self, shared: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        return torch.cat([shared.repeat(self._repeats, 1, 1, 1), new], dim=-2)


class ContaminatedLayer(caches.SharedLayer):
    """A label's keys and values overwrite the prompt's last ones, for the labels that follow."""

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        states = super().update(key_states, value_states, *args, **kwargs)
        rows, repeats = self.keys.shape[0], self._repeats
        self.keys[:, :, -1] = key_states.view(rows, repeats, *key_states.shape[1:])[:, 0, :, 0]
        self.values[:, :, -1] = value_states.view(rows, repeats, *value_states.shape[1:])[:, 0, :, 0]
        return states


BREAKAGES = {
    "mask": (decoder, "left_padded", broken_mask),
    "contaminated cache": (caches, "SharedLayer", ContaminatedLayer),
    "order of the cache's rows": (caches, "SharedLayer", MisorderedLayer),
}


@pytest.mark.parametrize("breakage", BREAKAGES.values(), ids=BREAKAGES.keys())
def test_the_comparison_fails_when_labels_in_rows_of_their_own_are_broken(
    breakage: Any, make_model: Any, naive: Any, alike: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = [[5, 6, 258], [5, 258], [5, 6, 7, 8, 258], [9, 258], [258]]
    reference = naive(make_model("mistral", sliding_window=16, initializer_range=0.3), alike, labels)
    # three labels in a forward, so that there are several
    monkeypatch.setattr(Capacity, "fitting", lambda *given: min(3, given[-1]))
    assert reference.gap(batch_size=3) < EXACT
    monkeypatch.setattr(*breakage)
    assert reference.gap(batch_size=3) > 100 * EXACT
    # another model gets a trial
    reference.model = make_model("mistral", sliding_window=16, initializer_range=0.3)
    assert reference.gap(batch_size=3) < EXACT


class SideBySide(PackedScorer):
    """As on a GPU: several sequences at once, each of few tokens."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._on_cpu = False

    @property
    def _pack_limit(self) -> int:
        return 40


@pytest.mark.parametrize("prompts", ["ragged", "alike"])
def test_several_packed_sequences(
    prompts: str, labels: Any, make_model: Any, naive: Any, request: pytest.FixtureRequest
) -> None:
    reference = naive(make_model("qwen2", initializer_range=0.3), request.getfixturevalue(prompts), labels)
    request.getfixturevalue("monkeypatch").setattr(classification, "PackedScorer", SideBySide)
    for batch_size in (3, 5, "auto"):
        assert reference.gap(batch_size=batch_size) < EXACT


def test_prompts_beyond_the_length_of_a_sequence(draw: Any, labels: Any, make_model: Any, naive: Any) -> None:
    prefix = draw(30)
    prompts = [prefix + draw(length) for length in (700, 3, 460, 440)]
    assert naive(make_model("llama", initializer_range=0.3), prompts, labels).gap() < EXACT


def test_each_token_goes_through_the_model_once(make_model: Any, draw: Any) -> None:
    model, fed, read = make_model("llama"), [], []
    model.model.register_forward_hook(lambda _, __, output: fed.append(output.last_hidden_state.shape[:2].numel()))
    model.lm_head.register_forward_hook(lambda _, __, output: read.append(output.shape[:2].numel()))
    prefix = draw(50)
    labels = [[1, 2, 258], [1, 3, 258], [4, 258]]
    prompts = [[*prefix, 1], [*prefix, 2, 3], [*prefix, 4, 5, 6]]
    score_labels(model, prompts, labels)
    together = 1 + 2 + 3 + 3 * 4
    assert fed == [32, 32, 50 + 3 + 1, together], "a trial: few tokens without a cache and with one, then a whole row"
    assert read == [1, 1, 2, 3 + 3 * 4]
    fed.clear(), read.clear()
    score_labels(model, prompts, labels)
    assert fed == [50 + 3 + 1, together], "the prefix (with one row, whether tried or not), then all that is left"
    assert read == [2, 3 + 3 * 4], "the head on what predicts"


@pytest.mark.parametrize("family", [("llama", {}), ("mistral", {"sliding_window": 4})], ids=["tree", "rows"])
@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_out_of_memory_halves_and_goes_on(
    family: Any, error: Exception, draw: Any, labels: Any, make_model: Any, naive: Any
) -> None:
    model, refused = make_model(family[0], **family[1]), []
    prompts = [draw(length) for length in (3, 20, 5, 17, 9, 8, 12, 4, 3, 13, 2, 10)]

    def refuse(module: Any, args: Any, kwargs: Any) -> None:
        if kwargs["input_ids"].numel() > 60:
            refused.append(kwargs["input_ids"].numel())
            raise error

    reference = naive(model, prompts, labels)
    model.register_forward_pre_hook(refuse, with_kwargs=True)
    for batch_size in (7, "auto"):
        refused.clear()
        assert reference.gap(batch_size=batch_size) < EXACT
        assert refused
        assert len(refused) < 12, "once halved, a batch does not grow again"


@pytest.mark.parametrize("message", ["CUDA out of memory", "a real mistake"])
def test_errors_that_halving_does_not_fix_are_raised(message: str, make_model: Any, draw: Any) -> None:
    model = make_model("llama")

    def refuse(*_: Any) -> None:
        raise RuntimeError(message)

    model.register_forward_pre_hook(refuse)
    with pytest.raises(RuntimeError, match=message):
        score_labels(model, [draw(4), draw(5)], [[1, 258]], batch_size=2)


def test_the_model_is_left_as_it_was(ragged: Any, labels: Any, make_model: Any) -> None:
    model = make_model("llama").train()
    model.model.layers[0].eval()
    model.config.use_cache = False
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    config = model.config.to_dict() | {"attention": model.config._attn_implementation}
    score_labels(model, [[*range(20), *row] for row in ragged], labels)
    assert [module.training for module in model.modules()] == modes
    assert model.config.use_cache is False
    assert model.config.to_dict() | {"attention": model.config._attn_implementation} == config
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_dropout_is_off(ragged: Any, labels: Any, make_model: Any) -> None:
    model = make_model("gpt2", resid_pdrop=0.5).train()
    first, second = (score_labels(model, ragged, labels) for _ in range(2))
    np.testing.assert_array_equal(first.sum_logprob_NL, second.sum_logprob_NL)


def test_progress_reaches_its_total(ragged: Any, labels: Any, make_model: Any) -> None:
    for family, total in (("llama", len(ragged)), ("bloom", len(ragged) * len(labels))):
        reports: list[tuple[str, int, int]] = []
        score_labels(
            make_model(family), ragged, labels, batch_size=2,
            progress=lambda phase, done, of, note="", reports=reports: reports.append((phase, done, of)),
        )  # fmt: skip
        assert reports == sorted(reports)
        assert reports[-1] == ("score", total, total)


def test_nothing_to_score(make_model: Any, labels: Any) -> None:
    assert score_labels(make_model(), [], labels).sum_logprob_NL.shape == (0, len(labels))
    assert score_labels(make_model(), [[1]], []).sum_logprob_NL.shape == (1, 0)


def test_invalid_prompts_and_labels_are_refused(make_model: Any) -> None:
    with pytest.raises(ValueError, match="prompt 1 is empty"):
        score_labels(make_model(), [[1], []], [[1, 258]])
    with pytest.raises(ValueError, match="label 0 has 1 ids"):
        score_labels(make_model(), [[1]], [[258]], end_tokens=2)


def encoder_decoder(family: str, **overrides: Any) -> Any:
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    sizes = {
        "t5": {"d_model": 32, "d_ff": 64, "num_layers": 2, "num_heads": 4, "d_kv": 8},
        "bart": {
            "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64,
            "encoder_attention_heads": 4, "decoder_attention_heads": 4, "init_std": 0.3, "max_position_embeddings": 512,
        },
    }  # fmt: skip
    torch.manual_seed(0)
    common = {"vocab_size": 300, "decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 258}
    config = AutoConfig.for_model(family, **{**common, **sizes[family], **overrides})
    return AutoModelForSeq2SeqLM.from_config(config).eval()


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_encoder_decoder_models(family: str, ragged: Any, alike: Any, labels: Any) -> None:
    model = encoder_decoder(family)
    for prompts in (ragged, alike):
        expected = np.zeros((len(prompts), len(labels), 3))
        for (row, prompt), (column, label) in product(enumerate(prompts), enumerate(labels)):
            fed = torch.tensor([[0, *label[:-1]]])
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([prompt]), decoder_input_ids=fed, use_cache=False).logits[0]
            logprobs = logits.double().log_softmax(dim=-1)[torch.arange(len(label)), torch.tensor(label)]
            expected[row, column] = logprobs.sum(), logprobs[-1], logprobs[0]
        for batch_size in (1, 3, "auto"):
            scores = score_labels(model, prompts, labels, batch_size=batch_size)
            found = np.stack([scores.sum_logprob_NL, scores.end_logprob_NL, scores.first_logprob_NL], axis=-1)
            np.testing.assert_allclose(found, expected, atol=EXACT)
        assert np.abs(expected[0] - expected[1]).max() > 100 * EXACT, "the prompt means nothing"
        assert scores.fallback == "each label in a row of its own: its decoder counts positions by index"


def test_encoder_decoder_models_that_cannot_be_scored_are_refused() -> None:
    from peft import PromptTuningConfig, get_peft_model

    with pytest.raises(ModelError, match="decoder_start_token_id"):
        score_labels(encoder_decoder("t5", decoder_start_token_id=None), [[1]], [[2, 3]])
    config = PromptTuningConfig(task_type="SEQ_2_SEQ_LM", num_virtual_tokens=5)
    with pytest.raises(ModelError, match="virtual tokens"):
        score_labels(get_peft_model(encoder_decoder("t5"), config), [[1]], [[2, 3]])


def test_the_example_of_the_documentation_runs() -> None:
    import doctest

    tests = doctest.DocTestFinder().find(score_labels, "score_labels")
    assert sum(doctest.DocTestRunner().run(test).attempted for test in tests) > 5
    assert not any(doctest.DocTestRunner().run(test).failed for test in tests)


def test_common_prefix_leaves_each_prompt_a_token() -> None:
    assert common_prefix([[1, 2, 3, 4], [1, 2, 9], [1, 2, 3]]) == 2
    assert common_prefix([[1, 2], [1, 2]]) == 1
    assert common_prefix([[1, 2, 3]]) == 0
    assert common_prefix([[1], [1, 2]]) == 0
    assert common_prefix([[1, 2], [3, 2]]) == 0


def test_a_real_model_on_banking77(repository: Path, naive: Any) -> None:
    folder = repository.parent / "shared" / "models" / "stories260K"
    data = repository.parent / "shared" / "data" / "banking77"
    if not (folder.is_dir() and data.is_dir()):
        pytest.skip("the shared model and data are not here")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with (data / "test.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = sorted({row["category"] for row in rows})
    prompts = [tokenizer.encode(f"The question is: {row['text']} It is about") for row in rows[::154]]
    labels = [[*tokenizer.encode(name.replace("_", " "), add_special_tokens=False), 2] for name in names]
    assert (len(prompts), len(labels)) == (20, 77)
    reference = naive(model, prompts, labels)
    assert reference.gap() < EXACT
    assert reference.gap(batch_size=3) < EXACT


def test_the_demo_model(repository: Path, naive: Any) -> None:
    folder = repository / "etc" / "demo" / "model"
    if not (folder / "config.json").is_file():
        pytest.skip("etc/demo/model is not built yet")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompts = [
        tokenizer.apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True)["input_ids"]
        for text in ("The lamp is lovely and bright.", "It broke.", "I ordered a chair, it came late but it is fine.")
    ]
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    labels = [[*tokenizer.encode(name), end] for name in ("positive", "negative", "neither good nor bad", "good")]
    reference = naive(model, prompts, labels)
    for batch_size in (1, 3, "auto"):
        assert reference.gap(batch_size=batch_size) < EXACT
