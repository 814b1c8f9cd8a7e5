"""What became of each test row of a run, in few bytes: thousands of runs are judged together. Reads no files.

Texts are gone; what is left says how a row counts in each metric that is made of rows, and which rows they were.
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

# Columns of predictions.tsv that are ours; all others are the data's own.
_OURS = frozenset({
    "predictions", "probabilities", "logprob", "tokens", "exact_match", "token_f1", "rouge1", "rouge2", "rougeL",
})  # fmt: skip
_TEXT_MEANS = ("token_f1", "rouge1", "rouge2", "rougeL")


@dataclass(frozen=True, eq=False)
class Outcomes:
    """The judged rows of a run on one split.

    Args:
        rows: N.
        judged_on: equal for the same rows in the same order, so that only such are paired.
        hits: metrics that are shares of rows -> whether each row counts [N].
        scores: metrics that are means over rows -> the rows' values [N].
        labels: L; 0 for generated texts.
        reference: columns of the rows' labels [N], int16; for multilabel which apply, as bits [N, L / 8].
        predicted: the same of the predicted ones; -1 where it is none of the labels.
        confidence_N: largest probability of each row, where the calibration error is one over rows.
        bins: of the calibration error.
        unread: why nothing is known of the rows; empty where it is.
    """

    rows: int
    judged_on: str
    hits: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    scores: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    labels: int = 0
    reference: NDArray[Any] | None = None
    predicted: NDArray[Any] | None = None
    confidence_N: NDArray[np.float64] | None = None
    bins: int = 0
    unread: str = ""

    def sums(self) -> tuple[Sums, ...]:
        """Its metrics as sums over rows; made anew at each call, since they are much larger than what they are of."""
        of_means = means({**self.hits, **self.scores}) if self.hits or self.scores else None
        return tuple(one for one in (of_means, self.of_labels(), self._of_bins()) if one is not None)

    def values(self) -> dict[str, float]:
        """The metrics of all rows: those of `result.json` that can be made of rows."""
        found: dict[str, float] = {}
        for one in self.sums():
            found = {**one.values(), **found}  # shares first: micro F1 is one where each row has one label
        return found

    def row_values(self, gradients: Mapping[str, Floats]) -> dict[str, Floats]:
        """For each metric what each row adds to it [N], so that runs can be compared row by row.

        Where it is a mean over rows that is the row's own value, and its part of the linear metric where it is made of
        labels. The calibration error has a sign in each bin and no derivative where it is 0: pseudo-values.

        Args:
            gradients: of the metrics of labels, at what all that are compared come to (see `gradients_of`).
        """
        found = {name: values_N.astype(np.float64) for name, values_N in {**self.hits, **self.scores}.items()}
        labels, bins = (self.of_labels() if gradients else None), self._of_bins()
        if labels is not None:
            found = {name: labels.along(gradient_K) for name, gradient_K in gradients.items()} | found
        return found if bins is None else {**bins.pseudo_values(), **found}

    def influences(self) -> dict[str, Floats]:
        """For each metric what each row contributes to it in this run [N], whatever the mean.

        Pseudo-values where the metric is made of labels or bins, so that their variance over rows is the metric's, at
        what this run itself comes to.
        """
        found: dict[str, Floats] = {}
        for one in (self.of_labels(), self._of_bins()):
            found |= {} if one is None else one.pseudo_values()
        return found | {name: values_N.astype(np.float64) for name, values_N in {**self.hits, **self.scores}.items()}

    def of_labels(self) -> Sums | None:
        """Its metrics that are made of how often each label was right, predicted and met."""
        if self.reference is None or self.predicted is None:
            return None
        if self.reference.ndim == 1:
            return confusion(self.reference, self.predicted, self.labels)
        truth_NL, given_NL = (
            np.unpackbits(bits, axis=1, count=self.labels).astype(np.bool_) for bits in (self.reference, self.predicted)
        )
        return multilabel(truth_NL, given_NL)

    def same_labels(self, other: Outcomes) -> bool:
        """Whether the rows' labels are the same, in the same columns."""
        if self.reference is None or other.reference is None:
            return self.reference is other.reference
        return self.labels == other.labels and np.array_equal(self.reference, other.reference)

    def _of_bins(self) -> Sums | None:
        if self.confidence_N is None:
            return None
        return calibration_l1(self.confidence_N, self.hits["accuracy"], self.bins)


def gradients_of(several: Sequence[Sequence[Outcomes]]) -> dict[str, Floats] | None:
    """The derivatives [K] of the metrics that are made of labels, at the mean sums of some recipes.

    Args:
        several: the runs of each recipe, all on the same rows.

    Returns:
        Empty for tasks without labels; None where not all have the same labels in the same columns.
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
    """What the rows of a run came to; without metrics, and with the reason, where that cannot be told."""
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
        base.judged_on,
        hits,
        scores,
        len(answers.labels),
        reference_N.astype(np.int16),
        predicted_N.astype(np.int16),
        # in full: single precision moves rows over the bins' edges
        probabilities_NL.max(axis=1) if usual and probabilities_NL is not None else None,
        evaluation.ece_bins,
    )


def _proper(
    probabilities_NL: Floats, logs_NL: Floats | None, reference_N: NDArray[np.int64]
) -> dict[str, NDArray[np.float32]]:
    """The rows' part of the proper scores, as `sft.evaluation.classification` defines them."""
    own_N = np.take_along_axis(probabilities_NL, reference_N[:, None], axis=1)[:, 0]
    found = {"brier": ((probabilities_NL**2).sum(axis=1) - 2 * own_N + 1).astype(np.float32)}
    if logs_NL is not None:
        own_log_N = np.take_along_axis(logs_NL, reference_N[:, None], axis=1)[:, 0]
        if np.isfinite(own_log_N).all():  # else the log-loss is infinite, and not among the metrics
            found["log_loss"] = -own_log_N.astype(np.float32)
    return found


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
        base.judged_on,
        {"subset_accuracy": agree_NL.all(axis=1)},
        {"sample_f1": sample_f1_N.astype(np.float32), "question_accuracy": agree_NL.mean(axis=1).astype(np.float32)},
        len(answers.labels),
        np.packbits(truth_NL, axis=1),
        np.packbits(given_NL, axis=1),
    )


def _truth(answers: Answers) -> NDArray[np.bool_]:
    """Which labels apply to each row [N, L]: as the run stored it, else by the sets that the data has as text."""
    from sft.evaluation.multilabel import membership

    if answers.truth is not None:
        return answers.truth.astype(np.bool_)
    return membership(answers.references, answers.labels)


def _written(answers: Answers, base: Outcomes) -> Outcomes:
    """Of generated texts: what the run wrote for each row; runs of before that have nothing here."""
    matches_N = answers.numbers("exact_match")
    found = {name: numbers_N for name in _TEXT_MEANS if (numbers_N := answers.numbers(name)) is not None}
    return Outcomes(
        base.rows,
        base.judged_on,
        {} if matches_N is None or not np.isin(matches_N, (0, 1)).all() else {"exact_match": matches_N == 1},
        {name: numbers_N.astype(np.float32) for name, numbers_N in found.items() if np.isfinite(numbers_N).all()},
    )


def _fingerprint(answers: Answers) -> str:
    """Of the rows: their number, their own answers, and all that the data says of them."""
    found = hashlib.blake2b(f"{len(answers)}\0{answers.task.name}".encode(), digest_size=16)
    many = answers.task.takes_several
    known = _truth(answers).astype(np.int64).tolist() if many else answers.references
    found.update("\0".join(map(str, known)).encode("utf-8", "surrogatepass"))
    for name in sorted(set(answers.columns) - _OURS):
        found.update(name.encode())
        _add_texts(found, answers.table.column(name))
    return found.hexdigest()


def _add_texts(found: Any, column: Any) -> None:
    """A column, by its bytes: making thousands of texts of it would take longer than all else."""
    whole = column.combine_chunks()
    for chunk in getattr(whole, "chunks", [whole]):  # of one or, past 2 GB, of several pieces
        _, ends, data = chunk.buffers()
        ends_N = np.frombuffer(ends, dtype=np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
        found.update(np.diff(ends_N).tobytes())
        if data is not None and len(ends_N):
            found.update(memoryview(data)[int(ends_N[0]) : int(ends_N[-1])])
