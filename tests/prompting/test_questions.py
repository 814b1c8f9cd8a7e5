"""Questions about single labels: one prompt per row, followed by a tree that all rows share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sft.config.sections.prompting import PromptingConfig
from sft.prompting.questions import Questions
from sft.prompting.render import Renderer

PROMPTING = {"instruction": "Read.", "input_columns": ["text"], "output_column": "labels"}
LABELS, TEXTS = ("joy", "fear"), ("great joy", "fear")
ROWS = [{"text": "It rains."}, {"text": "A lovely day"}, {"text": "?"}]


def questions(**changes: Any) -> Questions:
    return Questions(PromptingConfig.model_validate({**PROMPTING, **changes}), LABELS, TEXTS)


def renderer_of(asked: Questions, tokenizer: Any, limit: int | None = None) -> Renderer:
    renderer = Renderer(tokenizer, asked.prompting, limit)
    renderer.whole = frozenset({asked.column})
    return renderer


def test_a_row_is_asked_about_each_label_after_its_own_text(tokenizer: Any) -> None:
    asked = questions(question="Is there {label}?", yes_no=["true", "false"])
    renderer = Renderer(tokenizer, asked.prompting)
    tails = set()
    for row in ROWS:
        labelled = asked.ask(renderer, row)
        start = tokenizer.decode(labelled.prompt.ids)
        assert start.endswith(f"text: {row['text']}\nquestion: Is there ")
        rest = [tokenizer.decode(ids) for ids in labelled.label_ids]
        end = "?<|im_end|>\n<|im_start|>assistant\n"
        assert rest == [f"{text}{end}{word}<|im_end|>" for text in TEXTS for word in ("true", "false")]
        tails.add(tuple(map(tuple, labelled.label_ids)))
        assert all(span.end <= len(labelled.prompt.ids) for span in labelled.prompt.spans)
    assert len(tails) == 1, "the same for all rows, so that they are scored together"


def test_the_probability_is_that_of_the_whole_prompt(tokenizer: Any, make_model: Callable[..., Any]) -> None:
    """Compare with a full forward for each row, label and answer, on the prompts that training uses."""
    import torch

    from sft.evaluation.multilabel import yes_probabilities
    from sft.inference.answer import score_prompts

    asked = questions()
    renderer = Renderer(tokenizer, asked.prompting)
    model = make_model("qwen2")
    scores = score_prompts(model, [asked.ask(renderer, row) for row in ROWS], 4)
    yes_NL = yes_probabilities(scores.sum_logprob_NL)
    for number, row in enumerate(ROWS):
        for column, label in enumerate(LABELS):
            sums = []
            for applying in ({label}, set()):
                prompt = asked.answered(renderer, row, applying)[column]
                ids = torch.tensor([[*prompt.ids, *prompt.completion_ids]])
                with torch.no_grad():
                    logprobs = model(ids).logits.log_softmax(-1)[0, len(prompt.ids) - 1 : -1]
                sums.append(float(logprobs.gather(1, ids[0, len(prompt.ids) :, None]).sum()))
            assert yes_NL[number, column] == pytest.approx(1 / (1 + np.exp(sums[1] - sums[0])), abs=1e-4)


def test_training_asks_about_every_label(tokenizer: Any) -> None:
    asked = questions()
    trained = asked.answered(Renderer(tokenizer, asked.prompting), ROWS[0], {"fear"})
    answers = [tokenizer.decode(prompt.completion_ids) for prompt in trained]
    assert answers == ["no<|im_end|>", "yes<|im_end|>"]
    assert [('"great joy"' in prompt.text, '"fear"' in prompt.text) for prompt in trained] == [
        (True, False),
        (False, True),
    ]


def test_a_column_may_have_the_name_of_the_question(tokenizer: Any) -> None:
    asked = questions(input_columns=["question", "text"])
    labelled = asked.ask(Renderer(tokenizer, asked.prompting), {"question": "Why?", "text": "So."})
    assert 'question: Why?\ntext: So.\nyes or no: Does the label "great joy" apply?' in labelled.prompt.text


@pytest.mark.parametrize("limits", [(3, None), (None, 115)])
def test_the_question_itself_is_never_cut(tokenizer: Any, limits: tuple[int | None, int | None]) -> None:
    each, together = limits  # of an input text, and of the whole prompt: shorter than the question, or nearly
    asked = questions(max_input_length=each)
    labelled = asked.ask(renderer_of(asked, tokenizer, together), {"text": "long " * 50})
    assert labelled.prompt.cut_tokens > 200
    for label, ids in zip(TEXTS, labelled.label_ids[::2], strict=True):
        assert f'question: Does the label "{label}" apply?' in tokenizer.decode([*labelled.prompt.ids, *ids])
    trained = asked.answered(renderer_of(asked, tokenizer, together), {"text": "long " * 50}, {"joy"})
    assert ['"great joy" apply?' in trained[0].text, '"fear" apply?' in trained[1].text] == [True, True]


def test_the_row_is_cut_if_the_prompt_does_not_fit(tokenizer: Any) -> None:
    asked = questions()
    row = {"text": "long " * 50}
    labelled = asked.ask(renderer_of(asked, tokenizer, 200), row)
    assert labelled.prompt.cut_tokens > 50
    assert all(len(labelled.prompt.ids) + len(ids) <= 200 for ids in labelled.label_ids)
    assert 'fear" apply?' in tokenizer.decode(labelled.label_ids[2])
