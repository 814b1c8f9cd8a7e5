"""The stored log-probability is that of one forward of prompt and answer, however the tokens were chosen."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

from sft.inference.generating.engine import GenerationSettings
from sft.inference.generating.engine import generate as written

ATTENTIVE = {"initializer_range": 0.3}
STOPS = tuple(range(0, 300, 9))  # many, so that a random model generates them


def logprob_of(model: Any, prompt: list[int], answer: list[int]) -> float:
    """The log-probability of an answer by one forward of everything, in float64."""
    ids = torch.tensor([[*prompt, *answer]])
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
    logprobs = logits[-len(answer) - 1 : -1].double().log_softmax(dim=-1)
    return float(logprobs[torch.arange(len(answer)), torch.tensor(answer)].sum())


@pytest.mark.parametrize(
    "arguments",
    [
        {}, {"repetition_penalty": 1.5}, {"do_sample": True, "temperature": 3.0, "top_k": 20}, {"num_beams": 3},
        {"min_new_tokens": 5}, {"prompt_lookup_num_tokens": 2}, {"guidance_scale": 1.5}, {"prefill_chunk_size": 8},
        {"cache_implementation": "static"},
    ],
    ids=lambda arguments: next(iter(arguments), "greedy"),
)  # fmt: skip
def test_logprobs_are_those_of_the_model_alone(arguments: Any, with_prefix: Any, make_model: Any) -> None:
    model = make_model("llama", **ATTENTIVE)
    torch.manual_seed(0)
    answers = written(model, with_prefix, GenerationSettings(10, STOPS, arguments), batch_size=4)
    for prompt, answer in zip(with_prefix, answers, strict=True):
        ends = [[*answer.ids, stop] for stop in STOPS] if answer.tokens > len(answer.ids) else [answer.ids]
        assert answer.tokens == len(ends[0])
        assert min(abs(answer.logprob - logprob_of(model, prompt, end)) for end in ends) < 1e-3
    assert {answer.tokens - len(answer.ids) for answer in answers} == {0, 1}


@pytest.mark.parametrize("family", ["mamba", "bloom", "mistral", "prompt tuning"])
def test_logprobs_of_every_kind_of_model(family: str, with_prefix: Any, make_model: Any) -> None:
    from peft import PromptTuningConfig, get_peft_model

    if family == "prompt tuning":
        tuned = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5)
        model = get_peft_model(make_model("llama", **ATTENTIVE), tuned).eval()
    else:
        model = make_model(family, **ATTENTIVE, **({"sliding_window": 16} if family == "mistral" else {}))
    for prompt, answer in zip(with_prefix, written(model, with_prefix, GenerationSettings(8)), strict=True):
        assert answer.tokens == len(answer.ids) == 8
        assert answer.logprob == pytest.approx(logprob_of(model, prompt, answer.ids), abs=1e-3)
