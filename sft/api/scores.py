"""Label scores with their labels, of a finished run or of any model; and `sft.score_labels`, which makes them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from sft.calibration.arithmetic import probabilities
from sft.errors import UserError

if TYPE_CHECKING:
    from pandas import DataFrame

_COLUMN = "prompt"


@dataclass(frozen=True)
class LabelScores:
    """What a model says of every label after every prompt: log-probabilities in nats, and probabilities.

    Shapes: N prompts (rows of a split), L labels. Of a multilabel run, which asks for each label whether it applies,
    the first four arrays have a further axis of 2, yes and no: [N, L, 2] and [L, 2]. What is scored there is the rest
    of the label's question (the same for both) and the answer.

    Attributes:
        labels: the L labels, in the order of the columns.
        sum_logprob_NL: log p(label and end of turn | prompt), float32.
        end_logprob_NL: the end-of-turn part of it, float32.
        first_logprob_NL: log p(first token of the label | prompt), float32.
        token_count_L: ids scored per label, the end of turn included, int64.
        probabilities_NL: of the labels, float64, [N, L]: of a run as it was evaluated, with its label_scoring and
            calibration; rows sum to 1, but for multilabel.
        reference_N: the rows' own labels as columns, int64 [N]; for multilabel which apply, [N, L]; None where they
            are not known.
    """

    labels: tuple[str, ...]
    sum_logprob_NL: NDArray[np.float32]
    end_logprob_NL: NDArray[np.float32]
    first_logprob_NL: NDArray[np.float32]
    token_count_L: NDArray[np.int64]
    probabilities_NL: NDArray[np.float64]
    reference_N: NDArray[Any] | None = None

    def __len__(self) -> int:
        """N."""
        return len(self.probabilities_NL)

    def to_frame(self) -> DataFrame:
        """Return the probabilities as a DataFrame: a row for each prompt, a column for each label."""
        from pandas import DataFrame

        return DataFrame(self.probabilities_NL, columns=list(self.labels))


def score_labels(
    model: Any,
    prompts: Sequence[str],
    labels: Sequence[str],
    *,
    tokenizer: Any = None,
    instruction: str = "",
    scoring: Literal["sum", "mean", "first"] = "sum",
    batch_size: int | Literal["auto"] = "auto",
) -> LabelScores:
    """Score every label after every prompt with a model: exact log-probabilities, as experiments are evaluated.

    Each prompt is written as experiments write it: as a user turn of the tokenizer's chat template, with the
    instruction as the system turn where the template has one; as plain text without a template. Nothing is cut. The
    model's mode and config stay as they are.

        >>> import sft
        >>> task = {"labels": ["negative", "neutral", "positive"], "instruction": "Label this review."}
        >>> scores = sft.score_labels("etc/demo/model", ["I love this lamp. It is lovely."], **task)  # doctest: +SKIP
        >>> scores.to_frame().idxmax(axis=1).tolist()  # doctest: +SKIP
        ['positive']

    Args:
        model: a loaded transformers model, causal or encoder-decoder, or a PEFT model around one; or the name or folder
            of one, which is loaded on the best device.
        prompts: N texts, such as `"Review: it broke"`.
        labels: L different label texts.
        tokenizer: of the model, with a fast form; may be absent where `model` is a name.
        instruction: the task in words.
        scoring: what the probabilities are made of: the summed log-probability of a label, its mean per token, or that
            of its first token.
        batch_size: prompts in a forward pass at most; "auto" lets memory decide.

    Returns:
        Scores [N, L]. `probabilities_NL` is their softmax over the labels.

    Raises:
        UserError: no labels, labels that are the same, or a loaded model without a tokenizer.
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

    with quiet():  # torchao, where it is installed, reports kernels that nobody asked for
        from sft.inference.answer import score_prompts

    if isinstance(model, str | os.PathLike):
        config = ModelConfig(name=os.fspath(model))
        tokenizer = tokenizer or load_tokenizer(config)
        model = load_model(config)
    prompting = PromptingConfig(instruction=instruction, input_columns=(_COLUMN,), output_column="label")
    renderer = Renderer(tokenizer, prompting)
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


def _check(model: Any, prompts: Sequence[str], labels: Sequence[str], tokenizer: Any, scoring: str) -> None:
    for name, texts in (("prompts", prompts), ("labels", labels)):
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise UserError(f"{name}: expected a list of strings")
    if not labels or len(set(labels)) < len(labels):
        raise UserError(f"labels: expected at least one, all different, got {list(labels)}")
    if scoring not in ("sum", "mean", "first"):
        raise UserError(f'scoring: expected "sum", "mean" or "first", got "{scoring}"')
    if tokenizer is None and not isinstance(model, str | Path | os.PathLike):
        raise UserError("tokenizer: a loaded model needs one; give that of the model")
