"""Label scores equal a naive full re-run, whatever the model, the batch, the adapter; and the comparison can fail."""

from __future__ import annotations

import csv
import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sft.errors import ModelError
from sft.inference import classification, decoder
from sft.inference.classification import common_prefix, score_labels
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
FALLBACKS = {
    "no positions": ("bloom", {}, "position_ids"),
    "a running state": ("mamba", {}, "past_key_values"),
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
    told = [record.message for record in caplog.records if "re-run" in record.message]
    assert len(told) == 1
    assert reason in told[0]


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
    model.register_forward_pre_hook(lambda *_: calls.append(1))
    score_labels(model, [draw(4), draw(5)], [[1], [2], [3]], end_tokens=0, batch_size=2)
    assert len(calls) == 1


def broken_positions(mask_BK: torch.Tensor, count: int) -> torch.Tensor:
    return torch.arange(mask_BK.shape[1]).expand_as(mask_BK)[:, -count:]


def broken_mask(rows: Any, device: torch.device, whole: Any = decoder.left_padded) -> tuple[Any, Any]:
    ids_BS, mask_BS = whole(rows, device)
    return ids_BS, torch.ones_like(mask_BS)


class MisorderedLayer(decoder.SharedLayer):
    """Row r continues row r modulo B instead of row r // repeats."""

    def _joined(self, shared: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        return torch.cat([shared.repeat(self._repeats, 1, 1, 1), new], dim=-2)


class ContaminatedLayer(decoder.SharedLayer):
    """A label's keys and values take the place of the prompt's last ones, for the labels that follow."""

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        states = super().update(key_states, value_states, *args, **kwargs)
        rows, repeats = self.keys.shape[0], self._repeats
        self.keys[:, :, -1] = key_states.view(rows, repeats, *key_states.shape[1:])[:, 0, :, 0]
        self.values[:, :, -1] = value_states.view(rows, repeats, *value_states.shape[1:])[:, 0, :, 0]
        return states


def siblings_in_sight(labels: Any, device: torch.device, whole: Any = label_tree) -> Any:
    tree = whole(labels, device)
    return tree._replace(sees_QQ=torch.ones_like(tree.sees_QQ).tril())


def depths_in_a_row(labels: Any, device: torch.device, whole: Any = label_tree) -> Any:
    tree = whole(labels, device)
    return tree._replace(depth_Q=torch.arange(len(tree.depth_Q)))


BREAKAGES = {
    "positions": (decoder, "positions", broken_positions),
    "mask": (decoder, "left_padded", broken_mask),
    "contaminated cache": (decoder, "SharedLayer", ContaminatedLayer),
    "order of the cache's rows": (decoder, "SharedLayer", MisorderedLayer),
    "mask of the tree": (classification, "label_tree", siblings_in_sight),
    "positions of the tree": (classification, "label_tree", depths_in_a_row),
}
TREES = {"llama": {}, "gpt2": {}}
ROWS = {"mistral": {"sliding_window": 16}}  # a window within the prompts: each label in a row of its own


@pytest.mark.parametrize(
    ("breakage", "family", "overrides"),
    [
        pytest.param(breakage, family, overrides, id=f"{name}, {family}")
        for name, breakage in BREAKAGES.items()
        for family, overrides in {**TREES, **ROWS}.items()
        if not (family in TREES and "rows" in name) and not (family in ROWS and ("tree" in name or name == "positions"))
    ],
)
def test_the_comparison_fails_when_the_engine_is_broken(
    breakage: Any, family: str, overrides: Any, make_model: Any, naive: Any, request: pytest.FixtureRequest
) -> None:
    monkeypatch = request.getfixturevalue("monkeypatch")
    labels = [[5, 6, 258], [5, 258], [5, 6, 7, 8, 258], [9, 258], [258]]
    reference = naive(make_model(family, initializer_range=0.3, **overrides), request.getfixturevalue("alike"), labels)
    # three labels in a forward, so that there are several
    monkeypatch.setattr(classification.Capacity, "fitting", lambda *given: min(3, given[-1]))
    assert reference.gap(batch_size=3) < EXACT
    monkeypatch.setattr(*breakage)
    assert reference.gap(batch_size=3) > 100 * EXACT


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_out_of_memory_halves_and_goes_on(
    error: Exception, ragged: Any, labels: Any, make_model: Any, naive: Any
) -> None:
    model, refused = make_model("llama"), []

    def refuse(module: Any, args: Any, kwargs: Any) -> None:
        if kwargs["input_ids"].shape[0] > 3:
            refused.append(kwargs["input_ids"].shape[0])
            raise error

    reference = naive(model, ragged, labels)
    model.register_forward_pre_hook(refuse, with_kwargs=True)
    for batch_size in (7, "auto"):
        refused.clear()
        assert reference.gap(batch_size=batch_size) < EXACT
        assert refused
        assert len(refused) < 10, "once halved, a batch does not grow again"


@pytest.mark.parametrize("message", ["CUDA out of memory", "a real mistake"])
def test_errors_that_halving_does_not_mend_come_through(message: str, make_model: Any, draw: Any) -> None:
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
    score_labels(model, ragged, labels)
    assert [module.training for module in model.modules()] == modes
    assert model.config.use_cache is False
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_dropout_is_off(ragged: Any, labels: Any, make_model: Any) -> None:
    model = make_model("gpt2", resid_pdrop=0.5).train()
    first, second = (score_labels(model, ragged, labels) for _ in range(2))
    np.testing.assert_array_equal(first.sum_logprob_NL, second.sum_logprob_NL)


def test_progress_reaches_its_total(ragged: Any, labels: Any, make_model: Any) -> None:
    for family, total in (("llama", len(ragged)), ("bloom", len(ragged) * len(labels))):
        told: list[tuple[str, int, int]] = []
        score_labels(
            make_model(family), ragged, labels, batch_size=2,
            progress=lambda phase, done, of, note="", told=told: told.append((phase, done, of)),
        )  # fmt: skip
        assert told == sorted(told)
        assert told[-1] == ("score", total, total)


def test_nothing_to_score(make_model: Any, labels: Any) -> None:
    assert score_labels(make_model(), [], labels).sum_logprob_NL.shape == (0, len(labels))
    assert score_labels(make_model(), [[1]], []).sum_logprob_NL.shape == (1, 0)


def test_what_cannot_be_scored_is_refused(make_model: Any) -> None:
    with pytest.raises(ValueError, match="prompt 1 has no ids"):
        score_labels(make_model(), [[1], []], [[1, 258]])
    with pytest.raises(ValueError, match="label 0 has 1 ids"):
        score_labels(make_model(), [[1]], [[258]], end_tokens=2)


def test_encoder_decoder_models_are_refused() -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    model = T5ForConditionalGeneration(T5Config(vocab_size=20, d_model=8, d_ff=8, num_layers=1, num_heads=1, d_kv=8))
    with pytest.raises(ModelError, match="encoder-decoder"):
        score_labels(model, [[1]], [[2, 3]])


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
