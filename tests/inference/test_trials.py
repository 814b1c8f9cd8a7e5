"""Trials find faults of every kind of cache on a row of the run, and the way used instead is exact."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from sft.inference.classification import score_labels
from sft.inference.generating.engine import GenerationSettings, Written, generate

EXACT = 1e-4
ATTENTIVE = {"initializer_range": 0.3}
LEFT_OVER = {**ATTENTIVE, "sliding_window": 16}
LABELS = [[5, 6, 258], [5, 258], [9, 258]]
pytestmark = [pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")]


def numbers_tokens_itself(forward: Callable[..., Any]) -> Callable[..., Any]:
    """As in a model that accepts positions and ignores them."""
    return lambda *args, **given: forward(*args, **{**given, "position_ids": None})


def forgets_positions_with_a_cache(forward: Callable[..., Any]) -> Callable[..., Any]:
    """As in a model that counts positions from 0 again when it continues a cache."""

    def run(*args: Any, **given: Any) -> Any:
        if given.get("past_key_values") is not None and given.get("position_ids") is not None:
            given["position_ids"] = given["position_ids"] * 0
        return forward(*args, **given)

    return run


def refuses_caches(forward: Callable[..., Any]) -> Callable[..., Any]:
    """As in a model whose own code expects another kind of cache."""

    def run(*args: Any, **given: Any) -> Any:
        if given.get("past_key_values") is not None:
            raise AttributeError("'DynamicCache' object has no attribute 'seen_tokens'")
        return forward(*args, **given)

    return run


def computes_otherwise_with_a_cache(forward: Callable[..., Any]) -> Callable[..., Any]:
    """As in a model that quantises its cache: even the first value it reads differs."""

    def run(*args: Any, **given: Any) -> Any:
        output = forward(*args, **given)
        if given.get("past_key_values") is not None:
            output.last_hidden_state = output.last_hidden_state * 1.05
        return output

    return run


FAULTS = [numbers_tokens_itself, forgets_positions_with_a_cache, refuses_caches, computes_otherwise_with_a_cache]


def faulty(model: Any, fault: Callable[..., Any]) -> Any:
    model.model.forward = fault(model.model.forward)
    return model


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("prompts", ["ragged", "with_prefix"])
def test_scores_of_a_model_with_a_fault(
    fault: Any, prompts: str, make_model: Any, naive: Any, request: pytest.FixtureRequest, caplog: Any
) -> None:
    rows = request.getfixturevalue(prompts)
    model = faulty(make_model(**ATTENTIVE), fault)
    reference = naive(model, rows, LABELS)
    with caplog.at_level(logging.INFO, logger="sft"):
        for batch_size in (3, "auto"):
            assert reference.gap(batch_size=batch_size) < EXACT
        fallback = score_labels(model, rows, LABELS).fallback
    # positions that are only shifted, as by padding, change nothing in this model
    way = "each label in a row of its own" if (fault, prompts) == (FAULTS[0], "ragged") else "whole re-runs"
    reason = "it fails with AttributeError" if fault is refuses_caches else "its label scores differ by up to"
    assert str(fallback).startswith(f"{way}: {reason}")
    assert [record.message for record in caplog.records] == [f"Labels are scored by {fallback}. Slower, but exact"]


def plain_answers(model: Any, prompts: list[list[int]], tokens: int) -> list[list[int]]:
    answers = []
    for prompt in prompts:
        ids = list(prompt)
        for _ in range(tokens):
            fed = torch.tensor([ids])
            with torch.no_grad():
                logits = model(input_ids=fed, attention_mask=torch.ones_like(fed), use_cache=False).logits
            ids.append(int(logits[0, -1].argmax()))
        answers.append(ids[len(prompt) :])
    return answers


def ids_of(written: list[Written]) -> list[list[int]]:
    return [answer.ids for answer in written]


@pytest.mark.parametrize("fault", FAULTS[1:])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_answers_of_a_model_with_a_fault(
    fault: Any, batch_size: int, make_model: Any, with_prefix: Any, caplog: Any
) -> None:
    model = faulty(make_model(**ATTENTIVE), fault)
    with caplog.at_level(logging.INFO, logger="sft"):
        written = generate(model, with_prefix, GenerationSettings(6), batch_size=batch_size)
    assert ids_of(written) == plain_answers(model, with_prefix, 6)
    assert {answer.fallback for answer in written} == {written[0].fallback}
    assert str(written[0].fallback).startswith("without a cache: it")
    messages = [record.message for record in caplog.records if "Answers are generated" in record.message]
    assert messages == [f"Answers are generated {written[0].fallback}. Slower, but exact"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_does_not_hide_a_window(dtype: torch.dtype, make_model: Any, with_prefix: Any) -> None:
    plain = score_labels(make_model(**ATTENTIVE).to(dtype), with_prefix, LABELS)
    left_over = score_labels(make_model(**LEFT_OVER).to(dtype), with_prefix, LABELS)
    assert plain.fallback is None
    assert "without the sliding window of its config" in str(left_over.fallback)
    np.testing.assert_allclose(left_over.sum_logprob_NL, plain.sum_logprob_NL, atol=1e-5)


@pytest.mark.parametrize("adapter", ["lora", "prompt tuning", "prefix tuning"])
def test_adapters_on_a_model_that_ignores_its_window(
    adapter: str, make_model: Any, with_prefix: Any, naive: Any
) -> None:
    from peft import LoraConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model

    causal = {"task_type": "CAUSAL_LM"}
    config = {
        "lora": lambda: LoraConfig(**causal, target_modules="all-linear", init_lora_weights=False),
        "prompt tuning": lambda: PromptTuningConfig(**causal, num_virtual_tokens=5),
        "prefix tuning": lambda: PrefixTuningConfig(**causal, num_virtual_tokens=5),
    }[adapter]()
    model = get_peft_model(make_model(**LEFT_OVER), config).eval()
    assert naive(model, with_prefix, LABELS).gap() < EXACT
    assert ids_of(generate(model, with_prefix, GenerationSettings(5))) == plain_answers(model, with_prefix, 5)


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_beams": 3}, {"prompt_lookup_num_tokens": 2}, {"repetition_penalty": 1.3}, {"guidance_scale": 1.5},
        {"do_sample": True, "top_k": 20}, {"prefill_chunk_size": 8}, {"cache_implementation": "static"},
    ],
    ids=lambda arguments: next(iter(arguments)),
)  # fmt: skip
def test_every_kind_of_answer_is_that_of_the_model_without_the_field(
    arguments: Any, make_model: Any, with_prefix: Any
) -> None:
    settings, answers = GenerationSettings(6, arguments=arguments), []
    for shape in (ATTENTIVE, LEFT_OVER):
        torch.manual_seed(5)
        answers.append(generate(make_model(**shape), with_prefix, settings, batch_size=4))
    assert ids_of(answers[0]) == ids_of(answers[1])
    assert [answer.fallback for answer in answers[0]] == [None] * len(with_prefix)
    assert answers[1][0].fallback is not None


def test_an_answer_that_grows_beyond_the_window(make_model: Any, draw: Any) -> None:
    """Neither the prompts nor the first batch's answers show the fault."""
    model, prompts = (
        make_model(**{**LEFT_OVER, "sliding_window": 24}),
        [draw(length) for length in (12, 11, 4, 3, 3, 2)],
    )
    expected = plain_answers(model, prompts, 30)
    stops = sorted({answer[1] for answer in expected[:1]})
    settings = GenerationSettings(30, stops)
    ends = [next((index for index, token in enumerate(answer) if token in stops), 30) for answer in expected]
    assert min(ends) < 10 and max(ends) == 30
    written = generate(model, prompts, settings, batch_size=1)
    assert ids_of(written) == [answer[:end] for answer, end in zip(expected, ends, strict=True)]


@pytest.mark.parametrize("rope", ["dynamic", "longrope"])
def test_positions_that_change_with_the_length(rope: str, make_model: Any, draw: Any) -> None:
    parameters: dict[str, Any] = {"rope_type": rope, "rope_theta": 1e4, "factor": 4.0}
    if rope == "longrope":
        factors = {"short_factor": [1.0] * 4, "long_factor": [1.0, 2.0, 4.0, 8.0]}
        parameters |= {"original_max_position_embeddings": 40, **factors}
    shape = {"rope_parameters": parameters, "max_position_embeddings": 40 if rope == "dynamic" else 400, **ATTENTIVE}
    prompts = [draw(length) for length in (90, 36, 50, 20, 38)]
    expected = [plain_answers(make_model(**shape), [prompt], 6)[0] for prompt in prompts]
    model = make_model(**shape)
    for batch_size in (1, 4):
        assert ids_of(generate(model, prompts, GenerationSettings(6), batch_size=batch_size)) == expected


def test_longer_rows_of_a_later_call_are_tried_too(make_model: Any, draw: Any, naive: Any) -> None:
    model = make_model(**{**LEFT_OVER, "sliding_window": 64})
    short, long = ([draw(length) for length in lengths] for lengths in ((20, 30), (60, 70)))
    assert score_labels(model, short, LABELS).fallback is None
    assert naive(model, long, LABELS).gap() < EXACT
    assert "sliding window" in str(score_labels(model, long, LABELS).fallback)
    assert score_labels(model, short, LABELS).fallback is None, "their scores need no window"
