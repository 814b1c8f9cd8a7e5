"""Any number of labels a row: sets of labels as text, the threshold that makes them of probabilities, and metrics.

Arithmetic on arrays: no model, no files. Shapes: N rows, L labels; membership is [N, L], true where a label applies.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

DEFAULT_THRESHOLD = 0.5
_MOST_THRESHOLDS = 500  # that are tried

Membership = NDArray[np.bool_]
Floats = NDArray[np.float64]


def set_text(labels: Sequence[str]) -> str:
    """Some labels as one text, a JSON list, so that a label may hold any character."""
    return json.dumps(list(labels), ensure_ascii=False)


def membership(texts: Sequence[str], labels: Sequence[str]) -> Membership:
    """Which labels stand in each text [N, L]; others are left out."""
    found = [set(json.loads(text)) for text in texts]
    return np.array([[label in those for label in labels] for those in found], dtype=np.bool_).reshape(-1, len(labels))


def set_texts(membership_NL: Membership, labels: Sequence[str]) -> tuple[str, ...]:
    """The inverse of `membership`, the labels in their order."""
    return tuple(set_text([label for label, there in zip(labels, row, strict=True) if there]) for row in membership_NL)


def yes_probabilities(scores_NC: NDArray[Any]) -> Floats:
    """p(yes) [N, L] from the log-probabilities of yes and no to each label in turn, C = 2 L columns.

    What both answers to a question have in common (the question itself among it) falls out.
    """
    pairs_NL2 = np.asarray(scores_NC, dtype=np.float64).reshape(len(scores_NC), -1, 2)
    return 1.0 / (1.0 + np.exp(np.clip(pairs_NL2[..., 1] - pairs_NL2[..., 0], -700, 700)))


def best_threshold(yes_ML: Floats, truth_ML: Membership) -> float:
    """From which probability on a label applies, so that macro-F1 on M labelled rows is best: one for all labels.

    Of equally good ones that nearest to 0.5; between two neighbouring probabilities their middle. 0.5 for no rows.
    """
    levels = np.unique(yes_ML)
    middles = (levels[1:] + levels[:-1]) / 2
    if len(middles) > _MOST_THRESHOLDS:
        middles = middles[np.linspace(0, len(middles) - 1, _MOST_THRESHOLDS).astype(int)]
    best, chosen = -1.0, DEFAULT_THRESHOLD
    for threshold in sorted([DEFAULT_THRESHOLD, *middles.tolist()], key=lambda one: abs(one - DEFAULT_THRESHOLD)):
        if (value := float(_f1(truth_ML, yes_ML >= threshold, axis=0).mean())) > best + 1e-12:
            best, chosen = value, threshold
    return float(chosen)


def multilabel_metrics(truth_NL: Membership, given_NL: Membership, labels: Sequence[str]) -> dict[str, Any]:
    """`macro_f1` over labels, `micro_f1` over all questions, `sample_f1` over rows, `subset_accuracy` (the whole set is
    right), `question_accuracy`, `per_label_f1`, `support`.

    The F1 of a label that is neither there nor given is 0, as for classification; of a row without labels that is given
    none, 1: that answer is right.

    Raises:
        ValueError: no rows, or shapes that differ.
    """
    if truth_NL.shape != given_NL.shape or truth_NL.ndim != 2 or truth_NL.shape[1] != len(labels):
        raise ValueError(f"references are {truth_NL.shape}, predictions {given_NL.shape}, labels {len(labels)}")
    if not len(truth_NL):
        raise ValueError("metrics of no rows are not defined")
    per_label_L = _f1(truth_NL, given_NL, axis=0)
    empty_N = ~(truth_NL.any(axis=1) | given_NL.any(axis=1))
    return {
        "macro_f1": float(per_label_L.mean()),
        "micro_f1": float(_f1(truth_NL.ravel(), given_NL.ravel(), axis=0)),
        "sample_f1": float(np.where(empty_N, 1.0, _f1(truth_NL, given_NL, axis=1)).mean()),
        "subset_accuracy": float((truth_NL == given_NL).all(axis=1).mean()),
        "question_accuracy": float((truth_NL == given_NL).mean()),
        "per_label_f1": dict(zip(labels, per_label_L.tolist(), strict=True)),
        "support": dict(zip(labels, truth_NL.sum(axis=0).tolist(), strict=True)),
    }


def _f1(truth: Membership, given: Membership, axis: int) -> Any:
    """2 both / (there + given), 0 where nothing is."""
    both, all_of = (truth & given).sum(axis=axis), truth.sum(axis=axis) + given.sum(axis=axis)
    return np.where(all_of > 0, 2 * both / np.maximum(all_of, 1), 0.0)
