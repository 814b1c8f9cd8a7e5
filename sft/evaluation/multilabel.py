"""Rows with any number of labels: sets of labels as strings, the threshold on probabilities, and metrics.

Arithmetic on arrays: no model, no files. Shapes: N rows, L labels; membership is [N, L], true where a label applies.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

DEFAULT_THRESHOLD = 0.5
_MOST_THRESHOLDS = 500  # to try

Membership = NDArray[np.bool_]
Floats = NDArray[np.float64]


def set_text(labels: Sequence[str]) -> str:
    """Return labels as one string: a JSON list, so that a label may hold any character."""
    return json.dumps(list(labels), ensure_ascii=False)


def membership(texts: Sequence[str], labels: Sequence[str]) -> Membership:
    """Return which labels each string holds [N, L]; other labels are ignored."""
    sets = [set(json.loads(text)) for text in texts]
    return np.array([[label in members for label in labels] for members in sets], dtype=np.bool_).reshape(
        -1, len(labels)
    )


def set_texts(membership_NL: Membership, labels: Sequence[str]) -> tuple[str, ...]:
    """Return the inverse of `membership`, with the labels in their order."""
    return tuple(
        set_text([label for label, applies in zip(labels, row, strict=True) if applies]) for row in membership_NL
    )


def yes_probabilities(scores_NC: NDArray[Any]) -> Floats:
    """Return p(yes) [N, L] from the log-probabilities of yes and no for each label in turn, C = 2 L columns.

    Parts that both answers to a question share, such as the question itself, cancel out.
    """
    pairs_NL2 = np.asarray(scores_NC, dtype=np.float64).reshape(len(scores_NC), -1, 2)
    return 1.0 / (1.0 + np.exp(np.clip(pairs_NL2[..., 1] - pairs_NL2[..., 0], -700, 700)))


def best_threshold(yes_ML: Floats, truth_ML: Membership) -> float:
    """Return the threshold, one for all labels, with the best macro-F1 on M labelled rows; 0.5 without rows.

    Candidates are the middles between neighbouring probabilities. Among ties, the candidate nearest to 0.5 wins.
    """
    levels = np.unique(yes_ML)
    middles = (levels[1:] + levels[:-1]) / 2
    if len(middles) > _MOST_THRESHOLDS:
        middles = middles[np.linspace(0, len(middles) - 1, _MOST_THRESHOLDS).astype(int)]
    best, chosen = -1.0, DEFAULT_THRESHOLD
    for threshold in sorted([DEFAULT_THRESHOLD, *middles.tolist()], key=lambda value: abs(value - DEFAULT_THRESHOLD)):
        if (macro_f1 := float(_f1(truth_ML, yes_ML >= threshold, axis=0).mean())) > best + 1e-12:
            best, chosen = macro_f1, threshold
    return float(chosen)


def multilabel_metrics(truth_NL: Membership, predicted_NL: Membership, labels: Sequence[str]) -> dict[str, Any]:
    """Return the metrics of sets of labels.

    `macro_f1` is over labels, `micro_f1` over all questions, `sample_f1` over rows; `subset_accuracy` is the share of
    rows with the whole set right; `question_accuracy`, `per_label_f1` and `support` are as named.
    The F1 of a label that is neither a reference nor predicted is 0, as for classification. The F1 of a row without
    labels and without predicted labels is 1: this answer is right.

    Raises:
        ValueError: no rows, or shapes that differ.
    """
    if truth_NL.shape != predicted_NL.shape or truth_NL.ndim != 2 or truth_NL.shape[1] != len(labels):
        raise ValueError(
            f"expected two arrays of shape (rows, {len(labels)}), got {truth_NL.shape} and {predicted_NL.shape}"
        )
    if not len(truth_NL):
        raise ValueError("metrics are not defined for no rows")
    per_label_L = _f1(truth_NL, predicted_NL, axis=0)
    empty_N = ~(truth_NL.any(axis=1) | predicted_NL.any(axis=1))
    return {
        "macro_f1": float(per_label_L.mean()),
        "micro_f1": float(_f1(truth_NL.ravel(), predicted_NL.ravel(), axis=0)),
        "sample_f1": float(np.where(empty_N, 1.0, _f1(truth_NL, predicted_NL, axis=1)).mean()),
        "subset_accuracy": float((truth_NL == predicted_NL).all(axis=1).mean()),
        "question_accuracy": float((truth_NL == predicted_NL).mean()),
        "per_label_f1": dict(zip(labels, per_label_L.tolist(), strict=True)),
        "support": dict(zip(labels, truth_NL.sum(axis=0).tolist(), strict=True)),
    }


def _f1(truth: Membership, predicted: Membership, axis: int) -> Any:
    """Return 2 * both / (truth + predicted); 0 where both are empty."""
    both, total = (truth & predicted).sum(axis=axis), truth.sum(axis=axis) + predicted.sum(axis=axis)
    return np.where(total > 0, 2 * both / np.maximum(total, 1), 0.0)
