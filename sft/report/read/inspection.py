"""Analyses of one run's answers: confusions, precision and recall of each label, reliability, the worst errors.

Each result has a limited size, for any number of rows and labels. Computes no statistics and writes no HTML.
Shapes: N rows, L labels, B bins.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sft.calibration.arithmetic import probabilities
from sft.calibration.stored import NEEDED_OF_ROWS, SplitScores
from sft.config.sections.inference import InferenceConfig
from sft.errors import UserError
from sft.evaluation.calibration_error import bin_indices_of
from sft.evaluation.multilabel import membership
from sft.report.read.answers import OUTSIDE, Answers
from sft.report.read.runs import Run

ERRORS = 10
INPUT_CHARACTERS = 400
TOP = 3  # probabilities of an error
CELLS = 400  # of a confusion matrix
LABELS = 200  # whose scores are listed

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


def inspect(answers: Answers, run: Run) -> dict[str, Any]:
    """Return the analyses of a run's answers on the test split, for its page.

    Args:
        answers: of that run.
        run: their run; its stored scores give the probabilities before calibration.

    Returns:
        labels; confusion `[[reference, prediction, rows]]` by index of the label, the most frequent ones; per_label
        `[[label, precision, recall, F1, support]]`; reliability `{name: [[confidence, accuracy, rows]]}`; errors
        `[{row, inputs, reference, prediction, top}]`, the worst first; wrong (the number of errors). Keys that the task
        does not have are missing.
    """
    try:
        if not answers.task.has_labels:
            return _generated(answers)
        return _multilabel(answers) if answers.task.takes_several else _classified(answers, run)
    except (UserError, ValueError, KeyError):  # files of another version: the page is shown without them
        return {}


def rounded(value: Any) -> float | None:
    """Round to six significant digits; None unless the value is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value if isinstance(value, int) else float(f"{value:.6g}")


def cut(text: str, most: int) -> str:
    """Cut a text to at most `most` characters; ` …` marks the cut."""
    return text if len(text) <= most else f"{text[: most - 2]} …"


# --- Labels ---


def _classified(answers: Answers, run: Run) -> dict[str, Any]:
    reference_N, predicted_N = answers.reference_N, answers.predicted_N
    count = len(answers.labels)
    inside_N = predicted_N != OUTSIDE
    cells = np.bincount(reference_N[inside_N] * count + predicted_N[inside_N], minlength=count * count)
    confusion_LL = cells.reshape(count, count)
    return {
        "labels": list(answers.labels),
        **_cells(confusion_LL),
        "per_label": label_scores(
            confusion_LL.diagonal(), confusion_LL.sum(axis=0), np.bincount(reference_N, minlength=count)
        ),
        "reliability": _reliability(answers, run),
        **_wrong_labels(answers),
    }


def _cells(confusion_LL: Integers) -> dict[str, Any]:
    """Return the cells that are not empty: the diagonal, then the most frequent confusions."""
    rows, columns = np.nonzero(confusion_LL)
    counts = confusion_LL[rows, columns]
    order = np.lexsort((-counts, rows != columns))[:CELLS]
    cells = np.stack([rows, columns, counts], axis=1)[order].tolist()
    return {"confusion": cells, "confusion_left_out": max(0, len(counts) - CELLS)}


def label_scores(right_L: Integers, predicted_L: Integers, support_L: Integers) -> list[list[float | None]]:
    """Return index, precision, recall, F1 (0 where not defined) and support of each label; of many labels the worst.

    Args:
        right_L: rows of the label that were predicted as it.
        predicted_L: rows that were predicted as it.
        support_L: rows of the label.
    """
    precision_L = _ratio(right_L, predicted_L)
    recall_L = _ratio(right_L, support_L)
    f1_L = _ratio(2 * right_L, predicted_L + support_L)
    listed = np.sort(np.argsort(f1_L, kind="stable")[:LABELS]).tolist()
    scores = (precision_L, recall_L, f1_L)
    return [[label, *(round(float(one[label]), 4) for one in scores), int(support_L[label])] for label in listed]


def _ratio(upper_L: Integers, lower_L: Integers) -> Floats:
    return np.divide(upper_L, lower_L, out=np.zeros(len(upper_L)), where=lower_L > 0)


def _reliability(answers: Answers, run: Run) -> dict[str, list[list[float]]]:
    """Return the reliability bins of the probabilities; for calibrated runs those before calibration too."""
    probabilities_NL = answers.probabilities_NL
    if probabilities_NL is None:
        return {}
    bins = answers.config.evaluation.ece_bins
    curves = {"as answered": reliability_bins(probabilities_NL, answers.reference_N, bins)}
    before_NL = probabilities_before(answers, run)
    if before_NL is None:
        return curves
    return {
        "calibrated": curves["as answered"],
        "uncalibrated": reliability_bins(before_NL, answers.reference_N, bins),
    }


def probabilities_before(answers: Answers, run: Run) -> Floats | None:
    """Return the uncalibrated probabilities of the test split [N, L]; None where they were never calibrated."""
    probabilities_NL = answers.probabilities_NL
    inference = answers.config.inference or InferenceConfig()
    if probabilities_NL is None or (inference.calibration_args is None and answers.changed_probabilities_NL is None):
        return None
    try:
        scored = SplitScores(run.folder.read_scores("test", NEEDED_OF_ROWS))
        before_NL = np.asarray(probabilities(scored.scores(inference.label_scoring)), dtype=np.float64)
    except (UserError, KeyError):
        return None
    return before_NL if before_NL.shape == probabilities_NL.shape else None


def reliability_bins(probabilities_NL: Floats, reference_N: Integers, bins: int) -> list[list[float]]:
    """Return mean confidence, accuracy and rows of the bins that are not empty, binned as for the calibration error.

    Args:
        probabilities_NL: rows sum to 1.
        reference_N: the rows' own labels, as columns.
        bins: number of bins of equal width over 0..1.
    """
    confidence_N = probabilities_NL.max(axis=1)
    right_N = (probabilities_NL.argmax(axis=1) == reference_N).astype(np.float64)
    bins_N = bin_indices_of(confidence_N, bins)
    rows_B = np.bincount(bins_N, minlength=bins)
    filled = np.flatnonzero(rows_B)
    confidence_B = np.bincount(bins_N, weights=confidence_N, minlength=bins)[filled] / rows_B[filled]
    accuracy_B = np.bincount(bins_N, weights=right_N, minlength=bins)[filled] / rows_B[filled]
    return np.stack([confidence_B.round(4), accuracy_B.round(4), rows_B[filled]], axis=1).tolist()


# --- Errors ---


def _wrong_labels(answers: Answers) -> dict[str, Any]:
    """Return the wrong rows with the highest probability of their predicted label."""
    wrong = np.flatnonzero(answers.predicted_N != answers.reference_N)
    probabilities_NL = answers.probabilities_NL
    if probabilities_NL is None:
        return {"wrong": len(wrong), "errors": _errors(answers, wrong[:ERRORS].tolist())}
    confidence = probabilities_NL[wrong].max(axis=1) if len(wrong) else np.zeros(0)
    rows = wrong[np.argsort(-confidence, kind="stable")[:ERRORS]].tolist()
    tops = {row: _top(answers.labels, probabilities_NL[row]) for row in rows}
    return {"wrong": len(wrong), "errors": _errors(answers, rows, tops)}


def _top(labels: Sequence[str], probabilities_L: Floats) -> list[list[Any]]:
    best = np.argsort(-probabilities_L, kind="stable")[:TOP].tolist()
    return [[labels[label], round(float(probabilities_L[label]), 4)] for label in best]


def _multilabel(answers: Answers) -> dict[str, Any]:
    """Return the scores of each label, and the rows with the most wrong labels."""
    labels = answers.labels
    truth = answers.truth
    truth_NL = membership(answers.references, labels) if truth is None else truth.astype(np.bool_)
    given_NL = membership(answers.texts("predictions"), labels)
    wrong_NL = truth_NL != given_NL
    number_N = wrong_NL.sum(axis=1)
    rows = np.argsort(-number_N, kind="stable")[:ERRORS]
    rows = rows[number_N[rows] > 0].tolist()
    yes_NL = answers.probabilities_NL
    tops = {} if yes_NL is None else {row: _top(labels, yes_NL[row]) for row in rows}
    return {
        "labels": list(labels),
        "per_label": label_scores((truth_NL & given_NL).sum(axis=0), given_NL.sum(axis=0), truth_NL.sum(axis=0)),
        "wrong": int((number_N > 0).sum()),
        "errors": _errors(answers, rows, tops),
    }


def _generated(answers: Answers) -> dict[str, Any]:
    """Return the rows with the lowest token F1 where the run stored it, else the first rows that differ."""
    scores_N = answers.numbers("token_f1")
    if scores_N is not None:
        order = np.argsort(np.nan_to_num(scores_N, nan=1.0), kind="stable")[:ERRORS]
        rows = [row for row in order.tolist() if scores_N[row] < 1]
        wrong = int((scores_N < 1).sum())
        tops = {row: [["token F1", round(float(scores_N[row]), 4)]] for row in rows}
        return {"wrong": wrong, "errors": _errors(answers, rows, tops)}
    pairs = zip(answers.references, answers.texts("predictions"), strict=True)
    differ = [row for row, (reference, prediction) in enumerate(pairs) if reference.strip() != prediction.strip()]
    return {"wrong": len(differ), "errors": _errors(answers, differ[:ERRORS])}


def _errors(
    answers: Answers, rows: Sequence[int], tops: Mapping[int, list[list[Any]]] | None = None
) -> list[dict[str, Any]]:
    if not rows:
        return []
    inputs = _input_columns(answers)
    columns = {name: answers.texts(column, rows) for name, column in inputs.items()}
    predictions = _predictions(answers, rows)
    return [
        {
            "row": row,
            "inputs": [[name, cut(texts[number], INPUT_CHARACTERS)] for name, texts in columns.items()],
            "reference": cut(answers.references[row], INPUT_CHARACTERS),
            "prediction": cut(predictions[number], INPUT_CHARACTERS),
            "top": (tops or {}).get(row, []),
        }
        for number, row in enumerate(rows)
    ]


def _predictions(answers: Answers, rows: Sequence[int]) -> list[str]:
    if answers.changed_probabilities_NL is not None:
        return [answers.labels[column] for column in answers.predicted_N[list(rows)].tolist()]
    return answers.texts("predictions", rows)


def _input_columns(answers: Answers) -> dict[str, str]:
    """Map each input column of the data to its column in the table, `<name>_of_data` where the name is taken."""
    input_columns = answers.config.prompting.input_columns if answers.config.prompting is not None else ()
    available = set(answers.columns)
    names = {name: f"{name}_of_data" if f"{name}_of_data" in available else name for name in input_columns}
    return {name: column for name, column in names.items() if column in available}
