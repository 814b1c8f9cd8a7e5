"""Metrics as functions of sums over rows, so that they can be resampled by matrix products. Arrays only.

A row n adds the vector z_n of K numbers; a metric is f(sum of w_n z_n, sum of w_n) with a weight w_n of each row. That
gives the metric itself (all weights 1), its bootstrap replicates (random counts), and by leaving rows out one at a time
the rows' influence on it.
Shapes: N rows, G distinct ones among them, K numbers a row, X any leading axes, L labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Function = Callable[[Floats, float], Mapping[str, Floats]]


@dataclass(frozen=True)
class Sums:
    """Metrics of some rows that are made of the same sums.

    Args:
        distinct_GK: what the distinct rows add.
        place_N: which of them each row is.
        function: of sums [..., K] and their total weight to each metric [...].
        resampled: whether rows drawn again tell the spread of its metrics; their intervals are wrong else.
    """

    distinct_GK: Floats
    place_N: NDArray[np.intp]
    function: Function
    resampled: bool = True

    def __len__(self) -> int:
        return len(self.place_N)

    @property
    def width(self) -> int:
        """K."""
        return self.distinct_GK.shape[1]

    @property
    def rows_NK(self) -> NDArray[np.float32]:
        """What each row adds."""
        return self.distinct_GK.astype(np.float32)[self.place_N]

    @property
    def total_K(self) -> Floats:
        """The sums over all rows."""
        return np.bincount(self.place_N, minlength=len(self.distinct_GK)) @ self.distinct_GK

    def values(self) -> dict[str, float]:
        """The metrics of all rows."""
        return {name: float(value) for name, value in self.function(self.total_K, float(len(self))).items()}

    def pseudo_values(self) -> dict[str, Floats]:
        """For each metric one number a row [N] with the metric as their mean: t + (N - 1) (mean of t(-n) - t(-n)).

        t(-n) is the metric without row n (the jackknife; Tukey 1958). For a mean over rows these are the rows' own
        values; for other metrics they say what each row contributes, to first order. At least two rows.
        """
        count = len(self)
        whole = self.function(self.total_K, float(count))
        without = self.function(self.total_K - self.distinct_GK, count - 1.0)
        share_G = np.bincount(self.place_N, minlength=len(self.distinct_GK)) / count
        return {
            name: (whole[name] + (count - 1) * (share_G @ left_G - left_G))[self.place_N]
            for name, left_G in without.items()
        }


def means(values: Mapping[str, ArrayLike]) -> Sums:
    """Metrics that are the mean over rows of a value [N] of each."""
    names = tuple(values)
    columns_NK = np.stack([np.asarray(values[name], dtype=np.float64) for name in names], axis=1)

    def function(sums_XK: Floats, weight: float) -> Mapping[str, Floats]:
        return {name: sums_XK[..., column] / weight for column, name in enumerate(names)}

    return Sums(columns_NK, np.arange(len(columns_NK)), function)


def confusion(reference_N: NDArray[np.integer], predicted_N: NDArray[np.integer], labels: int) -> Sums:
    """The metrics of one label a row, averaged over ALL labels (see `sft.evaluation.classification`).

    Args:
        reference_N: columns of the rows' labels.
        predicted_N: of the predicted ones; -1 for what is none of the labels.
        labels: how many there are.
    """
    cells_G, place_N = np.unique(reference_N.astype(np.int64) * (labels + 1) + predicted_N + 1, return_inverse=True)
    reference_G, predicted_G = cells_G // (labels + 1), cells_G % (labels + 1) - 1
    one_LL = np.vstack([np.eye(labels), np.zeros((1, labels))])  # -1 takes the last line: no label
    met_GL, given_GL = one_LL[reference_G], one_LL[predicted_G]
    return Sums(np.hstack([met_GL * given_GL, given_GL, met_GL]), place_N, _of_confusion)


def multilabel(truth_NL: NDArray[np.bool_], given_NL: NDArray[np.bool_]) -> Sums:
    """`macro_f1` and `micro_f1` of any number of labels a row."""
    packed, place_N = np.unique(np.packbits(np.hstack([truth_NL, given_NL]), axis=1), axis=0, return_inverse=True)
    both_G = np.unpackbits(packed, axis=1, count=2 * truth_NL.shape[1]).astype(np.float64)
    met_GL, given_GL = np.split(both_G, 2, axis=1)

    def function(sums_XK: Floats, weight: float) -> Mapping[str, Floats]:
        right_XL, given_XL, met_XL = np.split(sums_XK, 3, axis=-1)
        return {
            "macro_f1": _ratio(2 * right_XL, given_XL + met_XL).mean(axis=-1),
            "micro_f1": _ratio(2 * right_XL.sum(axis=-1), (given_XL + met_XL).sum(axis=-1)),
        }

    return Sums(np.hstack([met_GL * given_GL, given_GL, met_GL]), place_N.ravel(), function)


def calibration_l1(confidence_N: NDArray[np.floating], right_N: NDArray[np.bool_], bins: int) -> Sums:
    """`ece` with the norm l1, over bins of equal width (see `sft.evaluation.calibration_error`).

    Not to be resampled: noise of a bin adds to the error, whatever its sign, and resampling adds it once more. In
    simulations BCa covers the true error of a calibrated model in no study at all, and that of others in 87-94 %.
    """
    bin_N = np.digitize(confidence_N, np.arange(1, bins) / bins, right=True)
    gaps_NK = np.zeros((len(bin_N), bins))
    gaps_NK[np.arange(len(bin_N)), bin_N] = right_N - confidence_N.astype(np.float64)

    def function(sums_XK: Floats, weight: float) -> Mapping[str, Floats]:
        return {"ece": np.abs(sums_XK).sum(axis=-1) / weight}

    return Sums(gaps_NK, np.arange(len(bin_N)), function, resampled=False)


def _of_confusion(sums_XK: Floats, weight: float) -> dict[str, Floats]:
    """From how often each label was right, predicted and met."""
    right_XL, given_XL, met_XL = np.split(sums_XK, 3, axis=-1)
    precision_XL, recall_XL = _ratio(right_XL, given_XL), _ratio(right_XL, met_XL)
    f1_XL = _ratio(2 * right_XL, given_XL + met_XL)
    right, given, met = right_XL.sum(axis=-1), given_XL.sum(axis=-1), met_XL.sum(axis=-1)
    outside = weight - given  # predictions that are none of the labels: one more label, never met
    by_chance = (given_XL * met_XL).sum(axis=-1)
    spread_given = weight**2 - (given_XL**2).sum(axis=-1) - outside**2
    spread_met = weight**2 - (met_XL**2).sum(axis=-1)
    return {
        "micro_f1": _ratio(2 * right, given + met),
        "macro_f1": f1_XL.mean(axis=-1),
        "weighted_f1": (f1_XL * met_XL).sum(axis=-1) / weight,
        "macro_precision": precision_XL.mean(axis=-1),
        "macro_recall": recall_XL.mean(axis=-1),
        "balanced_accuracy": _ratio(recall_XL.sum(axis=-1), (met_XL > 0).sum(axis=-1)),
        "mcc": _ratio(right * weight - by_chance, np.sqrt(np.maximum(spread_given * spread_met, 0))),
        "cohen_kappa": _ratio(right * weight - by_chance, weight**2 - by_chance),
    }


def _ratio(upper: Floats, lower: Floats) -> Floats:
    """0 where the lower one is 0: what is neither met nor predicted counts nothing."""
    return np.where(lower > 0, upper / np.where(lower > 0, lower, 1), 0.0)
