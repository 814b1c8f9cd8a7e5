"""Metrics of a classifier: references, predictions and, where there are some, probabilities. No model, no files.

Shapes: N rows, L labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sft.evaluation.calibration_error import Norm, calibration_error
from sft.log import get_logger

logger = get_logger(__name__)


def classification_metrics(
    references: Sequence[str],
    predictions: Sequence[str],
    labels: Sequence[str],
    probabilities_NL: ArrayLike | None,
    *,
    ece_bins: int = 15,
    ece_norm: Norm = "l1",
) -> dict[str, Any]:
    """All classification metrics, by scikit-learn but for the calibration error.

    Precision, recall and F1 are averaged over ALL `labels`; one that is neither met nor predicted counts 0
    (`zero_division=0`). A prediction outside `labels` is wrong and in no column of the confusion matrix.
    `brier` is the squared distance summed over the labels (Brier 1950; 0 best, 2 worst, twice the one-sided form for
    two labels); `log_loss` is in nats; `auroc` the mean over one-vs-rest of the labels met in the references, which
    for two labels is the usual one; the calibration error takes the largest probability as confidence.

    Args:
        references: N labels.
        predictions: N labels.
        labels: L labels, in the order of the probabilities' columns.
        probabilities_NL: rows sum to 1; None when there are none.
        ece_bins: bins of the calibration error.
        ece_norm: its norm.

    Returns:
        accuracy, macro_f1, micro_f1, weighted_f1, macro_precision, macro_recall, mcc, ece, brier, log_loss, auroc
        (None where not defined, with the reason in the log), confusion_matrix (a row for each reference label, a column
        for each predicted one), support (rows of each label).

    Raises:
        ValueError: no rows, unequal lengths, or a reference outside `labels`.
    """
    _check(references, predictions, labels)
    return {
        **_agreement(references, predictions, labels),
        **_probabilistic(references, predictions, labels, probabilities_NL, (ece_bins, ece_norm)),
        **_counts(references, predictions, labels),
    }


def _agreement(references: Sequence[str], predictions: Sequence[str], labels: Sequence[str]) -> dict[str, float]:
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
        # with one label in all, scikit-learn warns and gives the same 0
        "mcc": float(matthews_corrcoef(references, predictions)) if len({*references, *predictions}) > 1 else 0.0,
    }


def _probabilistic(
    references: Sequence[str],
    predictions: Sequence[str],
    labels: Sequence[str],
    probabilities_NL: ArrayLike | None,
    binning: tuple[int, Norm],
) -> dict[str, float | None]:
    results: dict[str, float | None] = dict.fromkeys(("ece", "brier", "log_loss", "auroc"))
    if probabilities_NL is None:
        logger.info("No probabilities: ece, brier, log_loss and auroc are not defined")
        return results
    probabilities = np.asarray(probabilities_NL, dtype=np.float64)
    if probabilities.shape != (len(references), len(labels)):
        raise ValueError(f"probabilities are {probabilities.shape}, not {(len(references), len(labels))}")
    columns = {label: column for column, label in enumerate(labels)}
    truth_N = np.array([columns[reference] for reference in references])
    right_N = np.array([reference == given for reference, given in zip(references, predictions, strict=True)])
    results["ece"] = calibration_error(probabilities.max(axis=1), right_N, *binning)
    results["auroc"] = _auroc(truth_N, probabilities)
    if len(labels) < 2:
        logger.info("One label only: brier and log_loss are not defined")
        return results
    from sklearn.metrics import brier_score_loss, log_loss

    every = list(range(len(labels)))
    results["brier"] = float(brier_score_loss(truth_N, probabilities, labels=every, scale_by_half=False))
    results["log_loss"] = float(log_loss(truth_N, probabilities, labels=every))
    return results


def _auroc(truth_N: NDArray[Any], probabilities_NL: NDArray[np.float64]) -> float | None:
    """The mean, over the labels met in the references, of one label against the rest."""
    from sklearn.metrics import roc_auc_score

    met = np.unique(truth_N)
    if len(met) < 2:
        logger.info("The references hold one label only: auroc is not defined")
        return None
    return float(np.mean([roc_auc_score(truth_N == label, probabilities_NL[:, label]) for label in met]))


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
        raise ValueError("metrics of no rows are not defined")
    if len(references) != len(predictions):
        raise ValueError(f"{len(references)} references and {len(predictions)} predictions")
    if unknown := sorted(set(references).difference(labels)):
        raise ValueError(f"references hold labels that are not in the list: {', '.join(unknown[:5])}")
