"""Outcome of each test row of a run, in few bytes, since thousands of runs are compared together. Reads no files.

Texts are dropped. Kept are the contribution of each row to each metric over rows, and a fingerprint of the rows.
Shapes: N rows, L labels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sft.errors import UserError
from sft.report.read.answers import OUTSIDE, Answers
from sft.report.statistics.sums import Floats, Sums, calibration_l1, confusion, means, multilabel

# Columns of predictions.tsv that this program adds; all others come from the data.
_OURS = frozenset({
    "predictions", "probabilities", "logprob", "tokens", "exact_match", "token_f1", "rouge1", "rouge2", "rougeL",
})  # fmt: skip
_TEXT_MEANS = ("token_f1", "rouge1", "rouge2", "rougeL")
_TOLERANCE = 1e-4  # between a metric made of rows and the one in result.json; relative above 1


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Outcomes of a run's rows on one split.

    Args:
        rows: N.
        fingerprint: equal for the same rows in the same order; only such runs are paired.
        hits: metrics that are shares of rows -> whether each row counts [N].
        scores: metrics that are means over rows -> the rows' values [N].
        labels: L; 0 for generated texts.
        reference: columns of the rows' labels [N], int16; for multilabel which apply, as bits [N, L / 8].
        predicted: the same for the predicted labels; -1 for a prediction outside the labels.
        confidence_N: largest probability of each row, where the calibration error can be computed over rows.
        bins: number of bins of the calibration error.
        unread: why the rows could not be used; empty if they could.
    """

    rows: int
    fingerprint: str
    hits: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    scores: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    labels: int = 0
    reference: NDArray[Any] | None = None
    predicted: NDArray[Any] | None = None
    confidence_N: NDArray[np.float64] | None = None
    bins: int = 0
    unread: str = ""

    def sums(self) -> tuple[Sums, ...]:
        """Return the metrics as sums over rows, computed again at each call: they are much larger than the outcomes."""
        of_means = means({**self.hits, **self.scores}) if self.hits or self.scores else None
        return tuple(one for one in (of_means, self.of_labels(), self._of_bins()) if one is not None)

    def values(self) -> dict[str, float]:
        """Return the metrics over all rows: those of `result.json` that can be computed from rows."""
        values: dict[str, float] = {}
        for one in self.sums():
            values = {**one.values(), **values}  # shares take precedence: with one label per row micro F1 is a share
        return values

    def row_values(self, gradients: Mapping[str, Floats]) -> dict[str, Floats]:
        """Return the contribution of each row to each metric [N], so that runs can be compared row by row.

        For a mean over rows it is the row's own value, for a metric of labels the row's part of the linearized metric.
        The calibration error has no derivative where a bin's gap is 0, so it uses pseudo-values.

        Args:
            gradients: derivatives of the metrics of labels at the mean of all compared recipes (see `gradients_of`).
        """
        values = {name: values_N.astype(np.float64) for name, values_N in {**self.hits, **self.scores}.items()}
        labels, bins = (self.of_labels() if gradients else None), self._of_bins()
        if labels is not None:
            values = {name: labels.along(gradient_K) for name, gradient_K in gradients.items()} | values
        return values if bins is None else {**bins.pseudo_values(), **values}

    def influences(self) -> dict[str, Floats]:
        """Return the influence of each row on each metric of this run [N].

        Metrics of labels or bins use pseudo-values, so that their variance over rows is the variance of the metric.
        """
        influences: dict[str, Floats] = {}
        for one in (self.of_labels(), self._of_bins()):
            influences |= {} if one is None else one.pseudo_values()
        return influences | {
            name: values_N.astype(np.float64) for name, values_N in {**self.hits, **self.scores}.items()
        }

    def of_labels(self) -> Sums | None:
        """Return the metrics that depend on how often each label is correct, predicted and present."""
        if self.reference is None or self.predicted is None:
            return None
        if self.reference.ndim == 1:
            return confusion(self.reference, self.predicted, self.labels)
        truth_NL, given_NL = (
            np.unpackbits(bits, axis=1, count=self.labels).astype(np.bool_) for bits in (self.reference, self.predicted)
        )
        return multilabel(truth_NL, given_NL)

    def same_labels(self, other: Outcomes) -> bool:
        """Whether both have the same reference labels in the same columns."""
        if self.reference is None or other.reference is None:
            return self.reference is other.reference
        return self.labels == other.labels and np.array_equal(self.reference, other.reference)

    def _of_bins(self) -> Sums | None:
        if self.confidence_N is None:
            return None
        return calibration_l1(self.confidence_N, self.hits["accuracy"], self.bins)


def is_made(stored: float | None, made: float | None) -> bool:
    """Whether a metric made of rows is the one in result.json."""
    return stored is not None and made is not None and abs(stored - made) <= _TOLERANCE * max(1.0, abs(made))


def gradients_of(several: Sequence[Sequence[Outcomes]]) -> dict[str, Floats] | None:
    """Return the derivatives [K] of the metrics of labels at the mean sums of the recipes.

    Args:
        several: the runs of each recipe, all on the same rows.

    Returns:
        Empty for tasks without labels; None unless all runs have the same labels in the same columns.
    """
    first = several[0][0]
    if not all(first.same_labels(run) for runs in several for run in runs):
        return None
    made = first.of_labels()
    if made is None:
        return {}
    total_K = np.zeros(made.width)
    for runs in several:
        for run in runs:
            if (one := run.of_labels()) is not None:
                total_K += one.total_K / (len(runs) * len(several))
    return made.gradients(total_K)


def outcomes_of(answers: Answers) -> Outcomes:
    """Return the outcomes of a run's rows; where they cannot be used, without metrics and with the reason."""
    try:
        base = Outcomes(len(answers), _fingerprint(answers))
        if not base.rows:
            return base
        read = {"classification": _classified, "multilabel": _labelled, "generation": _written}[answers.task.name]
        return read(answers, base)
    except (UserError, ValueError) as error:
        return Outcomes(len(answers), "", unread=str(error) or type(error).__name__)


def _classified(answers: Answers, base: Outcomes) -> Outcomes:
    reference_N, predicted_N = answers.reference_N, answers.predicted_N
    right_N = reference_N == predicted_N
    hits = {"accuracy": right_N} if OUTSIDE in predicted_N else {"accuracy": right_N, "micro_f1": right_N}
    probabilities_NL, evaluation = answers.probabilities_NL, answers.config.evaluation
    scores = {}
    if probabilities_NL is not None and len(answers.labels) > 1:
        scores = _proper(probabilities_NL, answers.log_probabilities_NL, reference_N)
    usual = probabilities_NL is not None and evaluation.ece_norm == "l1"
    return Outcomes(
        base.rows,
        base.fingerprint,
        hits,
        scores,
        len(answers.labels),
        reference_N.astype(np.int16),
        predicted_N.astype(np.int16),
        # double precision: single precision would move rows across bin edges
        probabilities_NL.max(axis=1) if usual and probabilities_NL is not None else None,
        evaluation.ece_bins,
    )


def _proper(
    probabilities_NL: Floats, logs_NL: Floats | None, reference_N: NDArray[np.int64]
) -> dict[str, NDArray[np.float32]]:
    """Return each row's proper scores, as `sft.evaluation.classification` defines them."""
    own_N = np.take_along_axis(probabilities_NL, reference_N[:, None], axis=1)[:, 0]
    scores = {"brier": ((probabilities_NL**2).sum(axis=1) - 2 * own_N + 1).astype(np.float32)}
    if logs_NL is not None:
        own_log_N = np.take_along_axis(logs_NL, reference_N[:, None], axis=1)[:, 0]
        if np.isfinite(own_log_N).all():  # else the log-loss is infinite and not a metric
            scores["log_loss"] = -own_log_N.astype(np.float32)
    return scores


def _labelled(answers: Answers, base: Outcomes) -> Outcomes:
    from sft.evaluation.multilabel import membership

    truth_NL = _truth(answers)
    given_NL = membership(answers.texts("predictions"), answers.labels)
    if truth_NL.shape != given_NL.shape:
        raise UserError(f"references are {truth_NL.shape}, predictions {given_NL.shape}")
    both_N = (truth_NL & given_NL).sum(axis=1)
    all_N = truth_NL.sum(axis=1) + given_NL.sum(axis=1)
    sample_f1_N = np.where(all_N > 0, 2 * both_N / np.maximum(all_N, 1), 1.0)
    agree_NL = truth_NL == given_NL
    return Outcomes(
        base.rows,
        base.fingerprint,
        {"subset_accuracy": agree_NL.all(axis=1)},
        {"sample_f1": sample_f1_N.astype(np.float32), "question_accuracy": agree_NL.mean(axis=1).astype(np.float32)},
        len(answers.labels),
        np.packbits(truth_NL, axis=1),
        np.packbits(given_NL, axis=1),
    )


def _truth(answers: Answers) -> NDArray[np.bool_]:
    """Return which labels apply to each row [N, L]: as the run stored them, else parsed from the data's text."""
    from sft.evaluation.multilabel import membership

    if answers.truth is not None:
        return answers.truth.astype(np.bool_)
    return membership(answers.references, answers.labels)


def _written(answers: Answers, base: Outcomes) -> Outcomes:
    """Return the outcomes of generated texts: the scores that the run stored per row; older runs stored none."""
    matches_N = answers.numbers("exact_match")
    scores = {name: numbers_N for name in _TEXT_MEANS if (numbers_N := answers.numbers(name)) is not None}
    return Outcomes(
        base.rows,
        base.fingerprint,
        {} if matches_N is None or not np.isin(matches_N, (0, 1)).all() else {"exact_match": matches_N == 1},
        {name: numbers_N.astype(np.float32) for name, numbers_N in scores.items() if np.isfinite(numbers_N).all()},
    )


def _fingerprint(answers: Answers) -> str:
    """Return a hash of the number of rows, their references and all columns of the data."""
    hasher = hashlib.blake2b(f"{len(answers)}\0{answers.task.name}".encode(), digest_size=16)
    many = answers.task.takes_several
    known = _truth(answers).astype(np.int64).tolist() if many else answers.references
    hasher.update("\0".join(map(str, known)).encode("utf-8", "surrogatepass"))
    for name in sorted(set(answers.columns) - _OURS):
        hasher.update(name.encode())
        _add_texts(hasher, answers.table.column(name))
    return hasher.hexdigest()


def _add_texts(hasher: Any, column: Any) -> None:
    """Add a column to a hash by its bytes: making thousands of strings would take longer than all else."""
    whole = column.combine_chunks()
    for chunk in getattr(whole, "chunks", [whole]):  # one chunk, or several above 2 GB
        _, ends, data = chunk.buffers()
        ends_N = np.frombuffer(ends, dtype=np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
        hasher.update(np.diff(ends_N).tobytes())
        if data is not None and len(ends_N):
            hasher.update(memoryview(data)[int(ends_N[0]) : int(ends_N[-1])])
