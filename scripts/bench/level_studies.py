"""Simulated studies with a known truth, through the code that creates the table: findings and coverage of intervals.

Used by `level.py`; imports `sft`, writes nothing.
Shapes: R recipes, S seeds, N test rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from sft.report.compared import contrasts
from sft.report.compared.outcomes import Outcomes
from sft.report.compared.recipes import Compared, compared
from sft.report.comparison import Comparison, Row
from sft.report.rows import best_rows

METRICS = ("accuracy", "macro_f1")
FLIPS = 199  # for the test on rows, instead of 9,999
_LABELS = (0.5, 0.3, 0.2)
_SHARED = 0.5  # share of a seed's variance that is the same for all recipes with the same seeds


class Case(NamedTuple):
    """A setting.

    Args:
        spread: standard deviation of the accuracy over seeds.
        seeds: number of seeds of each recipe.
        shared: whether all recipes have the same seeds.
        rows: N.
        recipes: R; the first one is the baseline.
        fixed: whether the baseline is deterministic.
        hard: share of a row's difficulty that is the same for all recipes.
        own: share of a row's difficulty that is the same in all runs of a recipe.
        better: accuracy advantage of the last recipe.
        rate: accuracy.
    """

    spread: float
    seeds: int
    shared: bool
    rows: int
    recipes: int
    fixed: bool = False
    hard: float = 0.5
    own: float = 0.2
    better: float = 0.0
    rate: float = 0.75


class Counts(NamedTuple):
    """Counts of a metric over the studies of a setting.

    Args:
        studies: number of studies.
        wrong: studies with a false finding.
        intervals: number of intervals of differences whose truth is 0.
        held: number of these intervals that contain 0.
        found: studies in which the better recipe was found against the baseline.
        contradictions: studies in which p and `=` disagree about a pair.
    """

    studies: int
    wrong: int
    intervals: int
    held: int
    found: int
    contradictions: int

    @property
    def level(self) -> float:
        """Return the share of studies with a false finding."""
        return self.wrong / self.studies

    @property
    def coverage(self) -> float:
        """Return the share of intervals that contain the truth."""
        return self.held / self.intervals if self.intervals else float("nan")


def run(case: Case, studies: int, seed: int) -> dict[str, Counts]:
    """Simulate studies of a setting."""
    rng = np.random.default_rng([seed, *(round(1000 * value) for value in case)])
    totals = {metric: np.zeros(5, dtype=np.int64) for metric in METRICS}
    with patch.object(contrasts, "_FEWEST_FLIPS", FLIPS):
        for _ in range(studies):
            for metric, counts in _study(case, rng).items():
                totals[metric] += counts
    return {metric: Counts(studies, *counts.tolist()) for metric, counts in totals.items()}


def _study(case: Case, rng: np.random.Generator) -> dict[str, NDArray[np.int64]]:
    rows, outcomes = _table(case, rng)
    metrics = {metric: best_rows(rows, metric, "test") for metric in METRICS}
    comparison = Comparison(
        runs=(), rows=rows, settings=(), metrics=METRICS, best={key: best for key, best in metrics.items() if best},
        chosen_on="test", comparable=True, baselines=(0,) * len(rows),
    )  # fmt: skip
    found = compared(comparison, outcomes, dict.fromkeys(outcomes, frozenset(METRICS)))
    better = len(rows) - 1 if case.better else None
    counts = {}
    for metric in METRICS:
        tested = {i: one for i in range(len(rows)) if (one := found.contrasts.get((i, metric))) is not None}
        same = [one for index, one in tested.items() if index != better]
        ends = [one.interval for one in same if one.interval is not None]
        # with a better recipe, a difference from it is correct
        apart = not case.better and not all(found.ties.get((index, metric), True) for index in range(len(rows)))
        counts[metric] = np.array([
            apart or any(one.is_significant for one in same), len(ends), sum(one.low <= 0 <= one.high for one in ends),
            better is not None and tested[better].is_significant and tested[better].difference > 0,
            _contradicts(found, metric, metrics[metric]),
        ], dtype=np.int64)  # fmt: skip
    return counts


def _contradicts(found: Compared, metric: str, best: Sequence[int]) -> bool:
    """Return whether only one of the marks distinguishes the baseline from the best row."""
    contrasts = [found.contrasts[index, metric] for index in best if (index, metric) in found.contrasts]
    if 0 in best or not contrasts:
        return False
    return found.ties[0, metric] == any(one.is_significant for one in contrasts)


def _table(case: Case, rng: np.random.Generator) -> tuple[tuple[Row, ...], dict[tuple[str, str], Outcomes]]:
    """Return the rows of a table, and the outcomes of the test rows in each run."""
    reference_N = rng.choice(len(_LABELS), case.rows, p=_LABELS).astype(np.int16)
    hard_N, of_seed_S = rng.standard_normal(case.rows), rng.standard_normal(case.seeds)
    rows, outcomes = [], {}
    for recipe in range(case.recipes):
        fixed = case.fixed and recipe == 0
        own_N = rng.standard_normal(case.rows)
        runs = []
        for seed in range(1 if fixed else case.seeds):
            shared = _SHARED if case.shared else 0.0
            moved = shared**0.5 * of_seed_S[seed] + (1 - shared) ** 0.5 * rng.standard_normal()
            rate = case.rate + (case.better if recipe == case.recipes - 1 else 0.0)
            rate += 0.0 if fixed else case.spread * moved
            left = 1 - case.hard - case.own
            depth_N = case.hard**0.5 * hard_N + case.own**0.5 * own_N + left**0.5 * rng.standard_normal(case.rows)
            right_N = depth_N < ndtri(np.clip(rate, 0.02, 0.98))
            one = _outcomes(right_N, reference_N, rng)
            name = f"{recipe}-{seed}"
            outcomes[name, "test"] = one
            runs.append(_run(name, seed if case.shared else 100 * recipe + seed, one, fixed))
        rows.append(Row(tuple(runs), f"row {recipe}"))
    return tuple(rows), outcomes


def _outcomes(right_N: NDArray[np.bool_], reference_N: NDArray[np.int16], rng: np.random.Generator) -> Outcomes:
    other_N = (reference_N + rng.integers(1, len(_LABELS), len(reference_N))) % len(_LABELS)
    predicted_N = np.where(right_N, reference_N, other_N).astype(np.int16)
    return Outcomes(len(right_N), "these", {"accuracy": right_N}, {}, len(_LABELS), reference_N, predicted_N)


def _run(name: str, seed: int, outcomes: Outcomes, fixed: bool) -> Any:
    values = outcomes.values()
    return SimpleNamespace(id=name, name=name, seed=seed, is_fixed=fixed, metrics=lambda split="test": values)
