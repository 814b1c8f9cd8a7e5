"""A trial distinguishes rounding from another function, and keeps its result for rows of similar length."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sft.model.trial import (
    FAILURES,
    DisagreementError,
    Trials,
    difference,
    failed,
    largest,
    plain_logits,
    require_agreement,
    tolerance,
)

numbers = st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=6)


@given(numbers, st.floats(0, 1), st.data())
def test_a_difference_above_what_is_allowed_is_found_wherever_it_is(values: Any, allowed: float, data: Any) -> None:
    plain = torch.tensor(values, dtype=torch.double)
    require_agreement(plain.clone(), plain, allowed, "logits")
    index = data.draw(st.integers(0, len(values) - 1))
    for beyond in (allowed + 0.01, math.nan, math.inf, -math.inf):
        fast = plain.clone()
        fast[index] += beyond
        with pytest.raises(DisagreementError, match="its logits differ by up to"):
            require_agreement(fast, plain, allowed, "logits")


def test_equal_infinities_agree_and_nan_proves_nothing() -> None:
    plain = torch.tensor([-math.inf, math.nan, 1.0])
    assert difference(torch.tensor([-math.inf, 5.0, 1.5]), plain).tolist() == [0, 0, 0.5]
    assert difference(torch.tensor([0.0, math.nan, math.nan]), plain).tolist() == [math.inf, 0, math.inf]
    assert largest(torch.tensor([-math.inf, math.nan, -3.0])) == 3
    assert largest(torch.tensor([0.25])) == largest(torch.tensor([math.nan])) == 1


def test_tolerances_are_those_of_the_dtype(make_model: Any) -> None:
    model = make_model()
    assert tolerance(model) < 1e-4 < tolerance(model, torch.float16) < tolerance(model, torch.bfloat16)
    assert tolerance(model.to(torch.bfloat16)) == tolerance(model, torch.bfloat16)
    model.quantization_method = "bitsandbytes"
    assert tolerance(model, torch.float32) == tolerance(model, torch.bfloat16)
    model.is_loaded_in_8bit = True
    assert tolerance(model) > 2.5e-2, "what int8 itself makes of other rows in the batch"


def test_the_plain_forward_has_no_cache(make_model: Any) -> None:
    model, seen = make_model(), []
    model.model.register_forward_pre_hook(lambda _, __, given: seen.append(given), with_kwargs=True)
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        assert plain_logits(model, ids, 2).shape == (1, 2, 300)
    assert seen[0]["use_cache"] is False
    assert seen[0].get("past_key_values") is None
    assert seen[0].get("position_ids") is None


def test_only_faults_of_the_form_are_held_against_it() -> None:
    assert failed(DisagreementError("its logits differ")) == "its logits differ"
    assert "TypeError (no such argument)" in str(failed(TypeError("no such argument")))
    assert failed(torch.OutOfMemoryError("CUDA out of memory")) is None
    assert failed(RuntimeError("DefaultCPUAllocator: can't allocate memory")) is None
    assert not issubclass(KeyboardInterrupt, FAILURES)


def test_rows_are_alike_unless_a_number_of_the_config_lies_between(make_model: Any) -> None:
    model = make_model(max_position_embeddings=5000)
    model.config.some_window = 600
    trials = Trials(model)
    trials.note(("form",), 500)
    assert trials.of(("form",), 3) is trials.of(("form",), 599) is not None
    assert trials.of(("form",), 600) is None
    assert trials.of(("form",), 1001) is None, "twice as long"
    assert trials.of(("another",), 3) is None
    trials.note(("form",), 700, "wrong")
    assert trials.of(("form",), 650).fault == trials.of(("form",), 1300).fault == "wrong"
    assert trials.of(("form",), 600) is None, "what is wrong with long rows may be right for short ones"


def test_what_was_found_is_kept_for_the_model_as_it_was(make_model: Any) -> None:
    model = make_model()
    Trials(model).note(("form",), 50)
    assert Trials(model).of(("form",), 50) is not None
    assert Trials(make_model()).of(("form",), 50) is None
    model.config.sliding_window = 16
    assert Trials(model).of(("form",), 50) is None, "its config was changed"
    del model.config.sliding_window
    assert Trials(model).of(("form",), 50) is not None
    model.set_attn_implementation("eager")
    assert Trials(model).of(("form",), 50) is None
    model.set_attn_implementation("sdpa")
    assert Trials(model.to(torch.bfloat16)).of(("form",), 50) is None


def test_what_was_found_is_kept_for_the_adapter_in_use(make_model: Any) -> None:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear")
    model = get_peft_model(make_model(), config)
    model.add_adapter("other", config)
    Trials(model).note(("form",), 50)
    model.set_adapter("other")
    assert Trials(model).of(("form",), 50) is None
    model.set_adapter("default")
    assert Trials(model).of(("form",), 50) is not None
