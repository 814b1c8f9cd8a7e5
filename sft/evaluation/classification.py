"""Metrics of a classifier, from references, predictions and optional probabilities. No model, no files.

Shapes: N rows, L labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sft.evaluation.calibration_error import Norm, calibration_error
from sft.log import get_logger

logger = get_logger(__name__)

Floats = NDArray[np.float64]

_PROBABILISTIC = ("ece", "brier", "log_loss", "auroc")


class Probabilities(NamedTuple):
    """Probabilities [N, L] with logarithms that are more exact than those of the rounded probabilities."""

    values_NL: ArrayLike
    logs_NL: ArrayLike


def with_logarithms(values_NL: ArrayLike) -> Probabilities:
    """Return probabilities with their own logarithms; the logarithm of 0 is minus infinity."""
    with np.errstate(divide="ignore"):
        return Probabilities(values_NL, np.log(np.asarray(values_NL, dtype=np.float64)))


def classification_metrics(
    references: Sequence[str],
    predictions: Sequence[str],
    labels: Sequence[str],
    probabilities_NL: ArrayLike | Probabilities | None,
    *,
    ece_bins: int = 15,
    ece_norm: Norm = "l1",
) -> dict[str, Any]:
    """Compute all classification metrics, with scikit-learn except for the calibration error and the log-loss.

    - Precision, recall and F1 are averaged over all `labels`. A label that is neither a reference nor a prediction
      counts as 0 (`zero_division=0`).
    - A prediction outside `labels` is wrong and is in no column of the confusion matrix.
    - `brier` is the squared distance summed over the labels (Brier 1950): 0 best, 2 worst, twice the one-sided form for
      two labels.
    - `log_loss` is minus the mean log-probability of the rows' own labels, in nats, never clipped. (scikit-learn raises
      smaller probabilities to 2.2e-16: at most 36 nats a row.)
    - `auroc` is the mean one-vs-rest area over the labels in the references; for two labels, the usual area.
    - The calibration error takes the largest probability as the confidence.

    Args:
        references: N labels.
        predictions: N labels.
        labels: L labels, in the order of the probabilities' columns.
        probabilities_NL: probabilities, whose rows sum to 1, with or without exact logarithms; None: no probabilities.
        ece_bins: number of bins of the calibration error.
        ece_norm: norm of the calibration error.

    Returns:
        accuracy, macro_f1, micro_f1, weighted_f1, macro_precision, macro_recall, mcc, ece, brier, log_loss, auroc
        (None if not defined: see `undefined_metrics`), confusion_matrix (a row for each reference label, a column for
        each predicted label), support (number of rows of each label).

    Raises:
        ValueError: no rows, unequal lengths, or a reference outside `labels`.
    """
    _check(references, predictions, labels)
    known = (
        probabilities_NL if isinstance(probabilities_NL, Probabilities | None) else with_logarithms(probabilities_NL)
    )
    results = _agreement(references, predictions, labels) | dict.fromkeys(_PROBABILISTIC)
    reasons = undefined_metrics(references, labels, None if known is None else known.logs_NL)
    for reason in dict.fromkeys(reasons.values()):
        names = [name for name in _PROBABILISTIC if reasons.get(name) == reason]
        are = "is" if len(names) == 1 else "are"
        logger.info("%s: %s %s not defined", f"{reason[0].upper()}{reason[1:]}", ", ".join(names), are)
    if known is not None:
        values_NL, logs_NL = (_checked(array, (len(references), len(labels))) for array in known)
        truth_N = _columns(references, labels)
        right_N = np.array(
            [reference == prediction for reference, prediction in zip(references, predictions, strict=True)]
        )
        results["ece"] = calibration_error(values_NL.max(axis=1), right_N, ece_bins, ece_norm)
        functions = {
            "brier": lambda: _brier(truth_N, values_NL),
            "log_loss": lambda: log_loss(truth_N, logs_NL),
            "auroc": lambda: _auroc(truth_N, values_NL),
        }
        results |= {name: function() for name, function in functions.items() if name not in reasons}
    return {**results, **_counts(references, predictions, labels)}


def undefined_metrics(
    references: Sequence[str], labels: Sequence[str], log_probabilities_NL: ArrayLike | None
) -> dict[str, str]:
    """Return the metrics that `classification_metrics` returns as None, each with the reason."""
    if log_probabilities_NL is None:
        return dict.fromkeys(_PROBABILISTIC, "no probabilities")
    reasons: dict[str, str] = {}
    if len(labels) < 2:
        reasons |= dict.fromkeys(("brier", "log_loss"), "one label only")
    elif impossible := _impossible(references, labels, log_probabilities_NL):
        rows = "1 row has" if impossible == 1 else f"{impossible} rows have"
        reasons["log_loss"] = f"infinite, since {rows} probability 0 for the right label"
    if len(set(references)) < 2:
        reasons["auroc"] = "the references hold one label only"
    return reasons


def _impossible(references: Sequence[str], labels: Sequence[str], log_probabilities_NL: ArrayLike) -> int:
    """Count the rows whose own label has probability 0."""
    logs_NL = _checked(log_probabilities_NL, (len(references), len(labels)))
    return int(np.isneginf(_own(_columns(references, labels), logs_NL)).sum())


def log_loss(truth_N: NDArray[Any], log_probabilities_NL: Floats) -> float:
    """Return minus the mean log-probability of the rows' own labels, in nats."""
    return max(0.0, float(-_own(truth_N, log_probabilities_NL).mean()))  # 0, not -0.0


def _agreement(references: Sequence[str], predictions: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
    from sklearn.metrics import accuracy_score, matthews_corrcoef, precision_recall_fscore_support

    def averaged(average: str) -> tuple[float, float, float]:
        precision, recall, f1, _ = precision_recall_fscore_support(
            references, predictions, labels=list(labels), average=average, zero_division=0
        )
        return float(precision), float(recall), float(f1)

    precision, recall, f1 = averaged("macro")
    return {
        "accuracy": float(accuracy_score(references, predictions)),
        "macro_f1": f1,
        "micro_f1": averaged("micro")[2],
        "weighted_f1": averaged("weighted")[2],
        "macro_precision": precision,
        "macro_recall": recall,
        # With a single label in all, scikit-learn warns and returns the same 0.
        "mcc": float(matthews_corrcoef(references, predictions)) if len({*references, *predictions}) > 1 else 0.0,
    }


def _brier(truth_N: NDArray[Any], probabilities_NL: Floats) -> float:
    from sklearn.metrics import brier_score_loss

    every = list(range(probabilities_NL.shape[1]))
    return float(brier_score_loss(truth_N, probabilities_NL, labels=every, scale_by_half=False))


def _auroc(truth_N: NDArray[Any], probabilities_NL: Floats) -> float:
    """Return the mean area of one label against the rest, over the labels in the references."""
    from sklearn.metrics import roc_auc_score

    present = np.unique(truth_N)
    return float(np.mean([roc_auc_score(truth_N == label, probabilities_NL[:, label]) for label in present]))


def _columns(references: Sequence[str], labels: Sequence[str]) -> NDArray[np.int64]:
    columns = {label: column for column, label in enumerate(labels)}
    return np.array([columns[reference] for reference in references], dtype=np.int64)


def _own(truth_N: NDArray[Any], values_NL: Floats) -> Floats:
    """Return the value of each row's own label."""
    return np.take_along_axis(values_NL, truth_N[:, None], axis=1)[:, 0]


def _checked(array: ArrayLike, shape: tuple[int, int]) -> Floats:
    array_NL = np.asarray(array, dtype=np.float64)
    if array_NL.shape != shape:
        raise ValueError(f"expected probabilities of shape {shape}, got {array_NL.shape}")
    return array_NL


def _counts(references: Sequence[str], predictions: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
    columns = {label: column for column, label in enumerate(labels)}
    matrix = [[0] * len(labels) for _ in labels]
    for reference, prediction in zip(references, predictions, strict=True):
        if prediction in columns:
            matrix[columns[reference]][columns[prediction]] += 1
    counted = list(references)
    return {"confusion_matrix": matrix, "support": {label: counted.count(label) for label in labels}}


def _check(references: Sequence[str], predictions: Sequence[str], labels: Sequence[str]) -> None:
    if not references:
        raise ValueError("metrics are not defined for no rows")
    if len(references) != len(predictions):
        raise ValueError(
            f"expected a prediction per reference, got {len(references)} references and {len(predictions)} predictions"
        )
    if unknown := sorted(set(references).difference(labels)):
        raise ValueError(f"references hold labels that are not among the labels: {', '.join(unknown[:5])}")
