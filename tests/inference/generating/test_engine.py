"""Batched answers equal `generate` on single prompts, and depend only on the user's config."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch

from sft.errors import ModelError
from sft.inference.decoder import left_padded, positions
from sft.inference.generating.engine import GenerationSettings
from sft.inference.generating.engine import generate as written
from sft.inference.generating.growing_cache import growing_cache

pytestmark = [pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")]

FAMILIES = {
    "llama": ("llama", {}),
    "qwen2": ("qwen2", {}),
    "gpt2": ("gpt2", {}),
    "gemma": ("gemma", {}),
    "gemma, windows in every other layer": ("gemma2", {"sliding_window": 16}),
    "a window longer than all": ("mistral", {"sliding_window": 512}),
    "sliding window": ("mistral", {"sliding_window": 16}),
    "no positions": ("bloom", {}),
    "a running state": ("mamba", {"num_hidden_layers": 1}),
}
STOPS = tuple(range(0, 300, 9))  # many, so that a random model generates them


ATTENTIVE = {"initializer_range": 0.3}  # with smaller weights, answers would hardly depend on the prompts


def generate(model: Any, prompts: Any, settings: GenerationSettings, **options: Any) -> list[list[int]]:
    """The answers' ids only."""
    return [answer.ids for answer in written(model, prompts, settings, **options)]


def alone(model: Any, prompt: list[int], stops: tuple[int, ...], length: int, **arguments: Any) -> list[int]:
    """One prompt by transformers alone."""
    from transformers import GenerationConfig

    ids = torch.tensor([prompt])
    config = GenerationConfig(
        max_new_tokens=length, do_sample=False, eos_token_id=list(stops), pad_token_id=0, **arguments
    )
    with torch.no_grad():
        output = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
    new = output[0, len(prompt) :].tolist()
    return new[: next((index for index, token in enumerate(new) if token in stops), length)]


@pytest.fixture
def prompts(draw: Any) -> list[list[int]]:
    return [draw(length) for length in (1, 30, 7, 40, 2, 41, 90, 90, 7)]


@pytest.fixture
def with_long_prefix(draw: Any) -> list[list[int]]:
    """Prompts whose common prefix is long enough for its keys to be shared."""
    prefix = draw(80)
    return [prefix + draw(length) for length in (1, 30, 7, 40, 2, 41, 7)]


def tokens_read(model: Any, act: Callable[[], Any]) -> list[int]:
    """Return the number of tokens, padding included, of each forward with several tokens per row."""
    read: list[int] = []

    def note(module: Any, args: Any, kwargs: Any) -> None:
        shape = kwargs["input_ids"].shape
        if shape[1] > 1:
            read.append(shape[0] * shape[1])

    handle = model.register_forward_pre_hook(note, with_kwargs=True)
    act()
    handle.remove()
    return read


SHARING = ("llama", "qwen2", "gpt2", "gemma")  # their rows may read one copy of a long prefix


@pytest.mark.parametrize(
    ("family", "prompts_fixture"),
    [
        pytest.param(family, prompts_fixture, id=f"{name}, {prompts_fixture}")
        for name, family in FAMILIES.items()
        for prompts_fixture in ("prompts", "with_prefix", *(["with_long_prefix"] if name in SHARING else []))
    ],
)
def test_greedy_answers_equal_one_by_one(
    family: Any, prompts_fixture: str, make_model: Any, request: pytest.FixtureRequest
) -> None:
    model, prompts = make_model(family[0], **family[1], **ATTENTIVE), request.getfixturevalue(prompts_fixture)
    expected = [alone(model, prompt, STOPS, 12) for prompt in prompts]
    for batch_size in (1, 3, 16, "auto"):
        assert generate(model, prompts, GenerationSettings(12, STOPS), batch_size=batch_size) == expected


def test_a_shared_prefix_is_read_once(with_prefix: Any, make_model: Any, caplog: Any) -> None:
    settings = GenerationSettings(3)
    model = make_model("llama")
    own = sorted((len(prompt) - 24 for prompt in with_prefix), reverse=True)
    batches = [3 * own[0], 3 * own[2], 3 * own[5]]  # the shortest is in the first one
    generate(model, with_prefix, settings)  # later rows of these lengths need no trial
    assert tokens_read(model, lambda: generate(model, with_prefix, settings, batch_size=3)) == [24, *batches]
    assert not caplog.records
    sliding = make_model("mistral", sliding_window=16)
    generate(sliding, with_prefix, settings)
    caplog.clear()
    with caplog.at_level(logging.INFO):
        read = tokens_read(sliding, lambda: generate(sliding, with_prefix, settings, batch_size=3))
    assert read == [batch + 3 * 24 for batch in batches]
    messages = [record.message for record in caplog.records if record.name.startswith("sft")]
    assert messages == [
        "Prefix sharing is off, each prompt is read with the 24 tokens that all share: "
        "its sliding window is shorter than the prompts"
    ]


def _seen_padding(rows: Any, device: Any) -> Any:
    ids, mask = left_padded(rows, device)
    return ids, torch.ones_like(mask)


def _misplaced(prefix_cache: Any, rows: int) -> Any:
    cache = growing_cache(prefix_cache, rows)
    for layer in cache.layers:
        layer.keys = layer.keys.roll(1, dims=-2)
    return cache


def _at_another_index(mask: Any, count: int) -> Any:
    return positions(mask, count) + 1


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("sft.inference.writing.left_padded", _seen_padding),
        ("sft.inference.writing.growing_cache", _misplaced),
        ("sft.inference.decoder.positions", _at_another_index),
    ],
    ids=["mask", "cache", "positions"],
)
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_comparison_detects_faults(
    family: str, name: str, broken: Any, with_prefix: Any, make_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(family, **ATTENTIVE)
    expected = [alone(model, prompt, STOPS, 12) for prompt in with_prefix]
    assert generate(model, with_prefix, GenerationSettings(12, STOPS)) == expected
    monkeypatch.setattr(name, broken)
    assert generate(model, with_prefix, GenerationSettings(12, STOPS)) != expected


def test_answers_stop_and_differ(prompts: Any, make_model: Any) -> None:
    """The comparison above is meaningful: some answers end early, some do not, and not all are empty."""
    answers = generate(make_model("llama"), prompts, GenerationSettings(12, STOPS))
    lengths = {len(answer) for answer in answers}
    assert len(lengths) > 2
    assert max(lengths) == 12
    assert not any(set(answer) & set(STOPS) for answer in answers)


@pytest.mark.parametrize("prompts_fixture", ["prompts", "with_long_prefix"])
@pytest.mark.parametrize(
    "arguments",
    [
        {"repetition_penalty": 1.5}, {"no_repeat_ngram_size": 1}, {"num_beams": 2}, {"prompt_lookup_num_tokens": 2},
        {"use_cache": False}, {"cache_implementation": "static"}, {"guidance_scale": 1.5},
    ],
    ids=lambda arguments: next(iter(arguments)),
)  # fmt: skip
def test_arguments_reach_generate_and_padding_does_not_matter(
    arguments: Any, prompts_fixture: str, make_model: Any, request: pytest.FixtureRequest
) -> None:
    model, prompts = make_model("llama", **ATTENTIVE), request.getfixturevalue(prompts_fixture)
    expected = [alone(model, prompt, STOPS, 12, **arguments) for prompt in prompts]
    assert generate(model, prompts, GenerationSettings(12, STOPS, arguments), batch_size=4) == expected
    changes = {"repetition_penalty", "no_repeat_ngram_size", "num_beams", "guidance_scale"} & arguments.keys()
    assert bool(changes) == (expected != generate(model, prompts, GenerationSettings(12, STOPS), batch_size=4))


@pytest.mark.parametrize("adapter", ["lora", "prompt tuning", "prefix tuning"])
@pytest.mark.parametrize("prompts_fixture", ["prompts", "with_prefix", "with_long_prefix"])
def test_adapted_models(adapter: str, prompts_fixture: str, make_model: Any, request: pytest.FixtureRequest) -> None:
    prompts = request.getfixturevalue(prompts_fixture)
    from peft import LoraConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model

    causal = {"task_type": "CAUSAL_LM"}
    config = {
        "lora": lambda: LoraConfig(**causal, target_modules="all-linear", init_lora_weights=False),
        "prompt tuning": lambda: PromptTuningConfig(**causal, num_virtual_tokens=5),
        "prefix tuning": lambda: PrefixTuningConfig(**causal, num_virtual_tokens=5),
    }[adapter]()
    model = get_peft_model(make_model("llama", **ATTENTIVE), config).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT's, at every step; ours must not show them
        expected = [alone(model, prompt, STOPS, 8) for prompt in prompts]
    for batch_size in (1, 3, "auto"):
        assert generate(model, prompts, GenerationSettings(8, STOPS), batch_size=batch_size) == expected


def test_the_models_own_generation_config_does_not_surprise(prompts: Any, make_model: Any) -> None:
    from transformers import GenerationConfig

    model = make_model("qwen2")
    expected = generate(model, prompts, GenerationSettings(10))
    own = GenerationConfig(
        do_sample=True, temperature=1.7, top_k=20, repetition_penalty=1.8, eos_token_id=list(STOPS), max_new_tokens=3,
        no_repeat_ngram_size=1, suppress_tokens=list(range(100)),
    )  # fmt: skip
    model.generation_config = own
    assert generate(model, prompts, GenerationSettings(10)) == expected
    assert model.generation_config is own
    assert own.repetition_penalty == 1.8


def test_sampling_is_seeded_by_the_caller(prompts: Any, make_model: Any) -> None:
    model = make_model("llama")
    settings = GenerationSettings(10, STOPS, {"do_sample": True, "temperature": 2.0, "top_k": 0})

    def sampled(seed: int) -> list[list[int]]:
        torch.manual_seed(seed)
        return generate(model, prompts, settings)

    assert sampled(1) == sampled(1)
    assert sampled(1) != sampled(2)
    assert sampled(1) != generate(model, prompts, GenerationSettings(10, STOPS))


def test_contradictions_are_resolved_and_logged(
    prompts: Any, make_model: Any, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    model = make_model("llama")
    given = {"temperature": 0.7, "top_p": 0.9, "max_length": 20, "length_penalty": 2.0, "min_p": None}
    with caplog.at_level(logging.INFO):
        answers = generate(model, prompts, GenerationSettings(10, STOPS, given))
    assert answers == generate(model, prompts, GenerationSettings(10, STOPS))
    reports = [record.message for record in caplog.records if record.name.startswith("sft")]
    assert [name for line in reports for name in given if name in line] == [
        "temperature", "top_p", "length_penalty", "max_length",
    ]  # fmt: skip
    assert not [record for record in caplog.records if record.name.startswith("transformers")]
    assert not recwarn.list


def test_lengths_and_stops_of_the_arguments(prompts: Any, make_model: Any) -> None:
    model = make_model("llama")
    assert {len(answer) for answer in generate(model, prompts, GenerationSettings(9))} == {9}
    longer = generate(model, prompts, GenerationSettings(9, arguments={"max_new_tokens": 11}))
    assert {len(answer) for answer in longer} == {11}
    more = GenerationSettings(12, STOPS[::2], {"eos_token_id": list(STOPS[1::2])})
    assert generate(model, prompts, more) == generate(model, prompts, GenerationSettings(12, STOPS))
    at_least = generate(model, prompts, GenerationSettings(12, STOPS, {"min_new_tokens": 4}))
    assert min(len(answer) for answer in at_least) >= 4
    assert min(len(answer) for answer in generate(model, prompts, GenerationSettings(12, STOPS))) < 4


@pytest.mark.parametrize("name", ["num_return_sequences", "stop_strings", "return_dict_in_generate"])
def test_arguments_without_a_meaning_here_are_refused(name: str, make_model: Any) -> None:
    with pytest.raises(ModelError, match=f"inference.generation_args.{name}"):
        generate(make_model(), [[1]], GenerationSettings(3, arguments={name: 2}))


def test_out_of_memory_halves_and_goes_on(prompts: Any, make_model: Any) -> None:
    model = make_model("llama")
    expected = generate(model, prompts, GenerationSettings(6, STOPS))
    refused: list[int] = []

    def refuse(module: Any, args: Any, kwargs: Any) -> None:
        if kwargs["input_ids"].shape[0] > 2:
            refused.append(kwargs["input_ids"].shape[0])
            raise torch.OutOfMemoryError("CUDA out of memory")

    model.register_forward_pre_hook(refuse, with_kwargs=True)
    assert generate(model, prompts, GenerationSettings(6, STOPS), batch_size="auto") == expected
    assert refused[:2] == [9, 4]


def test_the_model_is_left_as_it_was(prompts: Any, make_model: Any) -> None:
    model = make_model("gpt2", resid_pdrop=0.5).train()
    own = model.generation_config
    first, second = (generate(model, prompts, GenerationSettings(6)) for _ in range(2))
    assert first == second, "dropout is off while answers are generated"
    assert all(module.training for module in model.modules())
    assert model.generation_config is own


def test_progress_and_nothing_to_do(prompts: Any, make_model: Any) -> None:
    reports: list[tuple[str, int, int]] = []
    for family in ("llama", "bloom"):
        reports.clear()
        generate(
            make_model(family), prompts, GenerationSettings(2), batch_size=2,
            progress=lambda phase, done, of, note="": reports.append((phase, done, of)),
        )  # fmt: skip
        assert reports == sorted(reports)
        assert reports[-1] == ("generate", len(prompts), len(prompts))
    assert generate(make_model(), [], GenerationSettings(2)) == []
    with pytest.raises(ValueError, match="a prompt is empty"):
        generate(make_model(), [[]], GenerationSettings(2))


def test_frozen_outputs_of_a_real_model(repository: Any) -> None:
    folder = repository.parent / "shared" / "models" / "stories260K"
    frozen = repository.parent / "shared" / "models" / "stories260K.reference.json"
    if not frozen.is_file():
        pytest.skip("the shared model is not here")
    import json

    from transformers import AutoModelForCausalLM

    reference = json.loads(frozen.read_text(encoding="utf-8"))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    prompt, whole = reference["input_ids"], reference["greedy_60"]
    others = [prompt[:5], prompt + whole[len(prompt) : 40]]
    answers = generate(model, [prompt, *others], GenerationSettings(len(whole) - len(prompt), (2,)))
    assert answers[0] == whole[len(prompt) :]
