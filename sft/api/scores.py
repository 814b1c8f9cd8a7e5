"""Label scores of a finished run or of any model, and `sft.score_labels`, which computes them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from sft.calibration.arithmetic import probabilities
from sft.errors import UserError
from sft.protocols import LanguageModel, Tokenizer

if TYPE_CHECKING:
    from pandas import DataFrame

_COLUMN = "prompt"


@dataclass(frozen=True)
class LabelScores:
    """The scores of every label after every prompt: log-probabilities in nats, and probabilities.

    Shapes: N prompts (rows of a split), L labels. A multilabel run asks for each label whether it applies: its first
    four arrays have a further axis of 2, yes and no: [N, L, 2] and [L, 2]. They score the rest of the label's question
    (the same for both) and the answer.

    Attributes:
        labels: the L labels, in the order of the columns.
        sum_logprob_NL: log p(label and end of turn | prompt), float32.
        end_logprob_NL: log p(end of turn | prompt, label), float32.
        first_logprob_NL: log p(first token of the label | prompt), float32.
        token_count_L: number of tokens scored per label, including the end of turn, int64.
        probabilities_NL: probabilities of the labels, float64, [N, L]; for a run with its label_scoring and
            calibration. Rows sum to 1, except for multilabel.
        reference_N: the correct labels as column indices, int64 [N]; for multilabel which labels apply, [N, L]; None if
            unknown.
    """

    labels: tuple[str, ...]
    sum_logprob_NL: NDArray[np.float32]
    end_logprob_NL: NDArray[np.float32]
    first_logprob_NL: NDArray[np.float32]
    token_count_L: NDArray[np.int64]
    probabilities_NL: NDArray[np.float64]
    reference_N: NDArray[Any] | None = None

    def __len__(self) -> int:
        """Return the number of prompts, N."""
        return len(self.probabilities_NL)

    def to_frame(self) -> DataFrame:
        """Return the probabilities as a DataFrame: a row for each prompt, a column for each label."""
        from pandas import DataFrame

        return DataFrame(self.probabilities_NL, columns=list(self.labels))


def score_labels(
    model: LanguageModel | str | os.PathLike[str],
    prompts: Sequence[str],
    labels: Sequence[str],
    *,
    tokenizer: Tokenizer | None = None,
    instruction: str = "",
    scoring: Literal["sum", "mean", "first"] = "sum",
    batch_size: int | Literal["auto"] = "auto",
) -> LabelScores:
    """Score every label after every prompt with a model: exact log-probabilities, as in the evaluation of experiments.

    Prompts are rendered as in experiments: as a user turn of the tokenizer's chat template, with the instruction as the
    system turn if the template has one; as plain text without a template. Nothing is truncated. The model's mode and
    config do not change.

        >>> import sft
        >>> task = {"labels": ["negative", "neutral", "positive"], "instruction": "Label this review."}
        >>> scores = sft.score_labels("etc/demo/model", ["I love this lamp. It is lovely."], **task)  # doctest: +SKIP
        >>> scores.to_frame().idxmax(axis=1).tolist()  # doctest: +SKIP
        ['positive']

    Args:
        model: a loaded transformers model, causal or encoder-decoder, or a PEFT model around it; or the name or folder
            of a model, which is loaded on the best device.
        prompts: N strings, such as `"Review: it broke"`.
        labels: L different strings.
        tokenizer: the model's fast tokenizer; optional if `model` is a name.
        instruction: the task in words.
        scoring: the score behind the probabilities: the summed log-probability of a label, its mean per token, or that
            of its first token.
        batch_size: largest number of prompts in a forward pass; "auto" adapts to the memory.

    Returns:
        Scores [N, L]. `probabilities_NL` is their softmax over the labels.

    Raises:
        UserError: no labels, duplicate labels, or a loaded model without a tokenizer.
        ModelError: the model or the tokenizer cannot be used.
        DataError: an empty label.
    """
    _check(model, prompts, labels, tokenizer, scoring)
    from sft.config.sections.model import ModelConfig
    from sft.config.sections.prompting import PromptingConfig
    from sft.model.load import load_model
    from sft.model.source import quiet
    from sft.model.tokenizer import load_tokenizer
    from sft.prompting.render import Renderer

    with quiet():  # torchao, if installed, reports kernels that are not used
        from sft.inference.answer import score_prompts

    if isinstance(model, str | os.PathLike):
        config = ModelConfig(name=os.fspath(model))
        tokenizer = tokenizer or load_tokenizer(config)
        model = load_model(config)
    prompting = PromptingConfig(instruction=instruction, input_columns=(_COLUMN,), output_column="label")
    renderer = Renderer(cast("Tokenizer", tokenizer), prompting)
    rendered = [renderer.render_labels({_COLUMN: prompt}, (), labels) for prompt in prompts]
    found = score_prompts(model, rendered, len(labels), batch_size)
    return LabelScores(
        labels=tuple(labels),
        sum_logprob_NL=found.sum_logprob_NL,
        end_logprob_NL=found.end_logprob_NL,
        first_logprob_NL=found.first_logprob_NL,
        token_count_L=found.token_count_L,
        probabilities_NL=probabilities(found.scores(scoring)),
    )


def _check(
    model: LanguageModel | str | os.PathLike[str],
    prompts: Sequence[str],
    labels: Sequence[str],
    tokenizer: Tokenizer | None,
    scoring: str,
) -> None:
    for name, texts in (("prompts", prompts), ("labels", labels)):
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise UserError(f"{name}: expected a list of strings")
    if not labels or len(set(labels)) < len(labels):
        raise UserError(f"labels: expected at least one label, all different, got {list(labels)}")
    if scoring not in ("sum", "mean", "first"):
        raise UserError(f'scoring: expected "sum", "mean" or "first", got "{scoring}"')
    if tokenizer is None and not isinstance(model, str | Path | os.PathLike):
        raise UserError("tokenizer: required with a loaded model; give the model's tokenizer")
