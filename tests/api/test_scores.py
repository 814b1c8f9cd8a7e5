"""Label strings after prompts: the scores are those of a plain forward over the template's own text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sft
from sft.errors import DataError, ModelError, UserError

PROMPTS = ["It was awful", "Lovely <|im_end|> thing", "é"]
LABELS = ["bad", "fine", "good one"]


def forward(model: Any, tokenizer: Any, instruction: str, prompt: str, label: str) -> np.ndarray:
    """The log-probability of each token of a label and its end of turn."""
    import torch

    system = [{"role": "system", "content": instruction}] if instruction else []
    messages = [*system, {"role": "user", "content": prompt.replace("<|im_end|>", "\x00")}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids: list[int] = []
    for number, part in enumerate(text.split("\x00")):
        # what looks like a control token in a prompt is text
        ids += [*([ord_of(tokenizer, character) for character in "<|im_end|>"] if number else [])]
        ids += tokenizer.encode(part, add_special_tokens=False)
    answer = tokenizer.encode(f"{label}<|im_end|>", add_special_tokens=False)
    with torch.no_grad():
        logits = model(torch.tensor([[*ids, *answer]])).logits[0, len(ids) - 1 : -1].double()
    return torch.log_softmax(logits, -1)[range(len(answer)), answer].numpy()


def ord_of(tokenizer: Any, character: str) -> int:
    (number,) = tokenizer.encode(character, add_special_tokens=False)
    return int(number)


@pytest.mark.parametrize("instruction", ["", "How is it?"])
def test_scores_are_those_of_a_plain_forward(instruction: str, make_model: Callable[..., Any], tokenizer: Any) -> None:
    model = make_model("qwen2")
    model.train()
    scores = sft.score_labels(model, PROMPTS, LABELS, tokenizer=tokenizer, instruction=instruction, batch_size=2)
    assert model.training
    model.eval()
    assert scores.labels == tuple(LABELS)
    assert scores.token_count_L.tolist() == [4, 5, 9]
    for row, prompt in enumerate(PROMPTS):
        for column, label in enumerate(LABELS):
            expected = forward(model, tokenizer, instruction, prompt, label)
            assert scores.sum_logprob_NL[row, column] == pytest.approx(expected.sum(), abs=1e-4)
            assert scores.first_logprob_NL[row, column] == pytest.approx(expected[0], abs=1e-4)
            assert scores.end_logprob_NL[row, column] == pytest.approx(expected[-1], abs=1e-4)
    assert scores.reference_N is None


@pytest.mark.parametrize("scoring", ["sum", "mean", "first"])
def test_probabilities_follow_the_scoring(scoring: Any, make_model: Callable[..., Any], tokenizer: Any) -> None:
    scores = sft.score_labels(make_model("qwen2"), PROMPTS, LABELS, tokenizer=tokenizer, scoring=scoring)
    found = {
        "sum": scores.sum_logprob_NL,
        "mean": scores.sum_logprob_NL / scores.token_count_L,
        "first": scores.first_logprob_NL,
    }[scoring].astype(np.float64)
    weights = np.exp(found)
    np.testing.assert_allclose(scores.probabilities_NL, weights / weights.sum(axis=1, keepdims=True), rtol=1e-5)


def test_a_folder_is_loaded_with_its_tokenizer(model_folder: Path, tokenizer: Any) -> None:
    from transformers import AutoModelForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(model_folder)
    by_folder = sft.score_labels(model_folder, PROMPTS, LABELS)
    by_model = sft.score_labels(loaded, PROMPTS, LABELS, tokenizer=tokenizer)
    np.testing.assert_allclose(by_folder.sum_logprob_NL, by_model.sum_logprob_NL, atol=1e-5)


def test_no_prompts_have_no_scores(make_model: Callable[..., Any], tokenizer: Any) -> None:
    scores = sft.score_labels(make_model("qwen2"), [], LABELS, tokenizer=tokenizer)
    assert scores.probabilities_NL.shape == scores.sum_logprob_NL.shape == (0, 3)
    assert len(scores) == 0


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"prompts": "one"}, "prompts: expected a list of strings"),
        ({"prompts": [1]}, "prompts: expected a list of strings"),
        ({"labels": "bad"}, "labels: expected a list of strings"),
        ({"labels": []}, "labels: expected at least one label, all different"),
        ({"labels": ["a", "a"]}, "labels: expected at least one label, all different"),
        ({"scoring": "pmi"}, 'scoring: expected "sum", "mean" or "first", got "pmi"'),
        ({"tokenizer": None}, "tokenizer: required with a loaded model"),
    ],
)
def test_what_cannot_be_scored_is_refused(changes: dict[str, Any], text: str, tokenizer: Any) -> None:
    given = {"model": object(), "prompts": PROMPTS, "labels": LABELS, "tokenizer": tokenizer, **changes}
    with pytest.raises(UserError, match=text):
        sft.score_labels(**given)


def test_errors_of_model_and_label_have_their_type(
    tmp_path: Path, make_model: Callable[..., Any], tokenizer: Any
) -> None:
    with pytest.raises(ModelError, match="model"):
        sft.score_labels(tmp_path / "nowhere", PROMPTS, LABELS)
    with pytest.raises(DataError):
        sft.score_labels(make_model("qwen2"), PROMPTS, ["", "b"], tokenizer=tokenizer)
