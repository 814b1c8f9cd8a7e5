"""What the answers of one run show: confusions, each label's precision and recall, reliability, the worst errors.

All of it bounded, whatever the number of rows and labels. Arithmetic on arrays and a few texts; no statistics, no HTML.
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
from sft.evaluation.calibration_error import bin_places
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
    """What a run's page shows of its answers on the test split.

    Args:
        answers: of that run.
        run: whose stored scores tell what its probabilities were before they were calibrated.

    Returns:
        labels; confusion `[[reference, prediction, rows]]` by places in labels, the most frequent ones; per_label
        `[[label, precision, recall, F1, support]]`; reliability `{name: [[confidence, accuracy, rows]]}`; errors
        `[{row, inputs, reference, prediction, top}]`, the worst first; wrong (how many there are); each where the task
        has it.
    """
    try:
        if not answers.task.has_labels:
            return _generated(answers)
        return _multilabel(answers) if answers.task.takes_several else _classified(answers, run)
    except (UserError, ValueError, KeyError):  # files of another version: the page goes without
        return {}


def rounded(value: Any) -> float | None:
    """Six significant digits; None for what is no finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value if isinstance(value, int) else float(f"{value:.6g}")


def cut(text: str, most: int) -> str:
    """A text of at most so many characters, with a mark where it was cut."""
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
    """The cells that hold rows, the most frequent confusions first among those off the diagonal."""
    rows, columns = np.nonzero(confusion_LL)
    counts = confusion_LL[rows, columns]
    order = np.lexsort((-counts, rows != columns))[:CELLS]
    found = np.stack([rows, columns, counts], axis=1)[order].tolist()
    return {"confusion": found, "confusion_left_out": max(0, len(counts) - CELLS)}


def label_scores(right_L: Integers, predicted_L: Integers, support_L: Integers) -> list[list[float | None]]:
    """For each label its place, precision, recall, F1 (0 where not defined) and support; the worst ones of very many.

    Args:
        right_L: rows of the label that were given it.
        predicted_L: rows that were given it.
        support_L: rows of the label.
    """
    precision_L = _ratio(right_L, predicted_L)
    recall_L = _ratio(right_L, support_L)
    f1_L = _ratio(2 * right_L, predicted_L + support_L)
    places = np.sort(np.argsort(f1_L, kind="stable")[:LABELS]).tolist()
    columns = (precision_L, recall_L, f1_L)
    return [[place, *(round(float(one[place]), 4) for one in columns), int(support_L[place])] for place in places]


def _ratio(upper_L: Integers, lower_L: Integers) -> Floats:
    return np.divide(upper_L, lower_L, out=np.zeros(len(upper_L)), where=lower_L > 0)


def _reliability(answers: Answers, run: Run) -> dict[str, list[list[float]]]:
    """Bins of the probabilities as they were given; beside them as they were scored, where they were calibrated."""
    given_NL = answers.probabilities_NL
    if given_NL is None:
        return {}
    bins = answers.config.evaluation.ece_bins
    found = {"as answered": reliability_bins(given_NL, answers.reference_N, bins)}
    before_NL = probabilities_before(answers, run)
    if before_NL is None:
        return found
    return {
        "calibrated": found["as answered"],
        "uncalibrated": reliability_bins(before_NL, answers.reference_N, bins),
    }


def probabilities_before(answers: Answers, run: Run) -> Floats | None:
    """The probabilities of the test split [N, L] as they were scored; None where they were never calibrated."""
    given_NL = answers.probabilities_NL
    inference = answers.config.inference or InferenceConfig()
    if given_NL is None or (inference.calibration_args is None and answers.changed_probabilities_NL is None):
        return None
    try:
        scored = SplitScores(run.folder.read_scores("test", NEEDED_OF_ROWS))
        before_NL = np.asarray(probabilities(scored.scores(inference.label_scoring)), dtype=np.float64)
    except (UserError, KeyError):
        return None
    return before_NL if before_NL.shape == given_NL.shape else None


def reliability_bins(probabilities_NL: Floats, reference_N: Integers, bins: int) -> list[list[float]]:
    """Mean confidence, accuracy and rows of the bins of equal width that hold rows, as the calibration error has them.

    Args:
        probabilities_NL: rows sum to 1.
        reference_N: the rows' own labels, as columns.
        bins: how many, over 0..1.
    """
    confidence_N = probabilities_NL.max(axis=1)
    right_N = (probabilities_NL.argmax(axis=1) == reference_N).astype(np.float64)
    places_N = bin_places(confidence_N, bins)
    rows_B = np.bincount(places_N, minlength=bins)
    filled = np.flatnonzero(rows_B)
    confidence_B = np.bincount(places_N, weights=confidence_N, minlength=bins)[filled] / rows_B[filled]
    accuracy_B = np.bincount(places_N, weights=right_N, minlength=bins)[filled] / rows_B[filled]
    return np.stack([confidence_B.round(4), accuracy_B.round(4), rows_B[filled]], axis=1).tolist()


# --- Errors ---


def _wrong_labels(answers: Answers) -> dict[str, Any]:
    """The wrong rows that were surest of their label."""
    wrong = np.flatnonzero(answers.predicted_N != answers.reference_N)
    given_NL = answers.probabilities_NL
    if given_NL is None:
        return {"wrong": len(wrong), "errors": _errors(answers, wrong[:ERRORS].tolist())}
    sureness = given_NL[wrong].max(axis=1) if len(wrong) else np.zeros(0)
    rows = wrong[np.argsort(-sureness, kind="stable")[:ERRORS]].tolist()
    tops = {row: _top(answers.labels, given_NL[row]) for row in rows}
    return {"wrong": len(wrong), "errors": _errors(answers, rows, tops)}


def _top(labels: Sequence[str], probabilities_L: Floats) -> list[list[Any]]:
    places = np.argsort(-probabilities_L, kind="stable")[:TOP].tolist()
    return [[labels[place], round(float(probabilities_L[place]), 4)] for place in places]


def _multilabel(answers: Answers) -> dict[str, Any]:
    """Each label's scores, and the rows with the most labels wrong."""
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
    """The rows with the least words in common with their reference, where the run says; else the first that differ."""
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
            "inputs": [[name, cut(texts[place], INPUT_CHARACTERS)] for name, texts in columns.items()],
            "reference": cut(answers.references[row], INPUT_CHARACTERS),
            "prediction": cut(predictions[place], INPUT_CHARACTERS),
            "top": (tops or {}).get(row, []),
        }
        for place, row in enumerate(rows)
    ]


def _predictions(answers: Answers, rows: Sequence[int]) -> list[str]:
    if answers.changed_probabilities_NL is not None:
        return [answers.labels[place] for place in answers.predicted_N[list(rows)].tolist()]
    return answers.texts("predictions", rows)


def _input_columns(answers: Answers) -> dict[str, str]:
    """Column in the table by the data's name for it: one that has a name of ours got `_of_data` behind it."""
    wanted = answers.config.prompting.input_columns if answers.config.prompting is not None else ()
    there = set(answers.columns)
    places = {name: f"{name}_of_data" if f"{name}_of_data" in there else name for name in wanted}
    return {name: column for name, column in places.items() if column in there}
