"""Details of the best configuration, over all its seeds: confusions, scores per label, reliability, loss.

Shapes: N rows of all seeds, L labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from sft.errors import UserError
from sft.report.comparison import Comparison, Row
from sft.report.figures.base import Figure, Record, Spec, filled, finish, is_better_up
from sft.report.figures.confusion import confusion, confusion_of
from sft.report.figures.labels import per_label
from sft.report.figures.loss import loss_figure
from sft.report.figures.reliability import reliability
from sft.report.figures.settings import short_labels
from sft.report.read.answers import OUTSIDE, Answers
from sft.report.read.inspection import label_scores, probabilities_before, reliability_bins
from sft.report.read.runs import Run

MOST_LABELS = 25  # a larger matrix cannot be read
AnswersOf = Callable[[Run], Answers | None]


def best_row_figures(comparison: Comparison, answers: AnswersOf) -> tuple[Figure, ...]:
    """Return figures of the report's best row of the leading metric; of the row with the best mean if it has none.

    Args:
        comparison: the report's comparison.
        answers: function that returns a run's answers on the test split; None if it has none.
    """
    index = _best(comparison)
    if index is None:
        return ()
    row = comparison.rows[index]
    pairs = [(run, found) for run in row.runs if run.result is not None and (found := answers(run)) is not None]
    labelled = [(run, found) for run, found in pairs if found.task.has_one_label]
    same = [(run, found) for run, found in labelled if found.labels == labelled[0][1].labels]
    drawn = list(_of_labels(row, same)) if same else []
    return finish([*drawn, *loss_figure(row.name, row.runs)])


def _best(comparison: Comparison) -> int | None:
    for metric in comparison.metrics[:1]:
        if best := comparison.best.get(metric):
            return best[0]
        means = {i: found.mean for i, row in enumerate(comparison.rows) if (found := row.estimate(metric)) is not None}
        if means and (up := is_better_up(metric)) is not None:
            return (max if up else min)(means, key=lambda index: means[index])
    return 0 if len(comparison.rows) == 1 else None


def _of_labels(row: Row, pairs: Sequence[tuple[Run, Answers]]) -> Iterator[Figure]:
    """Yield figures of classification. Runs with unknown references are left out."""
    known = [(run, answers) for run, answers in pairs if _has_references(answers)]
    if not known:
        return
    labels = known[0][1].labels
    reference_N = np.concatenate([answers.reference_N for _, answers in known])
    predicted_N = np.concatenate([answers.predicted_N for _, answers in known])
    matrix_LL = _matrix(reference_N, predicted_N, len(labels))
    seeds = f", {len(known)} seeds together" if len(known) > 1 else ""
    outside = int((predicted_N == OUTSIDE).sum())
    left_out = f" {outside} predictions that are not a label are left out." if outside else ""
    kept = most_confused(matrix_LL)
    names = [list(short_labels(labels).values())[label] for label in kept]
    caption = f"Rows of the test split by reference and prediction{seeds}.{left_out}"
    if len(kept) < len(labels):
        caption = f"The {len(kept)} labels with the most confusions, of {len(labels)}. {caption}"
    spec = filled(confusion(names), confusion_of(matrix_LL[np.ix_(kept, kept)], names, matrix_LL.sum(axis=1)[kept]))
    yield Figure("best-confusion", f"Confusions of {row.name}", caption, spec)
    rows_L = np.bincount(reference_N, minlength=len(labels))
    same = all(np.array_equal(answers.reference_N, known[0][1].reference_N) for _, answers in known)
    each = " in each seed" if same and seeds else ""
    yield Figure(
        "best-labels",
        f"Scores per label of {row.name}",
        f"F1, precision and recall of each label{seeds}; in brackets its rows{each}.",
        filled(per_label(), _scores(matrix_LL, labels, rows_L, len(known) if same else 1)),
    )
    reliable = _reliability(known, reference_N)
    if reliable is not None:
        caption = (
            f"Accuracy of the rows in each bin of confidence{seeds}. On the dashed line, confidence equals accuracy. "
            "Bars: number of rows in a bin."
        )
        yield Figure("best-reliability", f"Reliability of {row.name}", caption, reliable)


def _has_references(answers: Answers) -> bool:
    try:
        return len(answers.reference_N) > 0
    except UserError:
        return False


def _matrix(reference_N: NDArray[np.int64], predicted_N: NDArray[np.int64], labels: int) -> NDArray[np.int64]:
    """Return the number of rows by reference and prediction [L, L], without predictions that are not a label."""
    inside_N = predicted_N != OUTSIDE
    cells = np.bincount(reference_N[inside_N] * labels + predicted_N[inside_N], minlength=labels * labels)
    return cells.reshape(labels, labels)


def most_confused(matrix_LL: NDArray[np.int64]) -> list[int]:
    """Return the labels of a readable matrix: if there are too many, the labels with the most confusions."""
    if len(matrix_LL) <= MOST_LABELS:
        return list(range(len(matrix_LL)))
    wrong_LL = matrix_LL - np.diag(matrix_LL.diagonal())
    order = np.argsort(-(wrong_LL.sum(axis=0) + wrong_LL.sum(axis=1)), kind="stable")
    return sorted(order[:MOST_LABELS].tolist())


def _scores(matrix_LL: NDArray[np.int64], labels: Sequence[str], rows_L: NDArray[np.int64], times: int) -> list[Record]:
    """Return the scores of each label. `times` is how often its rows were counted."""
    return [
        {"label": labels[int(index or 0)], "precision": precision, "recall": recall, "f1": f1,
         "rows": int(rows or 0) // times}
        for index, precision, recall, f1, rows in label_scores(matrix_LL.diagonal(), matrix_LL.sum(axis=0), rows_L)
    ]  # fmt: skip


def _reliability(pairs: Sequence[tuple[Run, Answers]], reference_N: NDArray[np.int64]) -> Spec | None:
    """Return the diagram, before and after calibration if all runs have both; None if a run has no probabilities."""
    after = [answers.probabilities_NL for _, answers in pairs]
    before = [probabilities_before(answers, run) for run, answers in pairs]
    bins = pairs[0][1].config.evaluation.ece_bins
    after_NL = _joined(after)
    if after_NL is None:
        return None
    before_NL = _joined(before)
    kinds = {"as answered" if before_NL is None else "calibrated": after_NL}
    if before_NL is not None:
        kinds["before calibration"] = before_NL
    values = [
        {"kind": kind, "confidence": confidence, "accuracy": accuracy, "rows": int(rows)}
        for kind, probabilities_NL in kinds.items()
        for confidence, accuracy, rows in reliability_bins(probabilities_NL, reference_N, bins)
    ]
    return filled(reliability(), values)


def _joined(parts: Sequence[NDArray[np.float64] | None]) -> NDArray[np.float64] | None:
    present = [part for part in parts if part is not None]
    return np.concatenate(present) if len(present) == len(parts) else None
