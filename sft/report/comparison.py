"""The content of a report: rows of runs, the settings that vary, the best rows, and their statistics. Plain data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from sft.config.varying import ABSENT, Setting, settings, short_name, show
from sft.report.metrics import best_of
from sft.report.read.copies import Copy
from sft.report.read.earlier import Earlier
from sft.report.read.runs import Run
from sft.report.read.taken import Taken, together
from sft.report.significance import NO_SIGNIFICANCE, RowSignificance, Significance, is_significant

_NO_ROW_SIGNIFICANCE = RowSignificance()


class Estimate(NamedTuple):
    """A metric over the seeds of a row: mean, standard deviation (n - 1; None for one run), number of runs."""

    mean: float
    std: float | None
    n: int


@dataclass(frozen=True)
class Row:
    """The runs of one configuration; with `--group-by`, of all configurations that share some settings."""

    runs: tuple[Run, ...]
    name: str
    labelled: tuple[int, ...] = ()

    @property
    def is_fixed(self) -> bool:
        """Whether the row is deterministic: one run, whatever the seed."""
        return len(self.runs) == 1 and self.runs[0].is_fixed

    @property
    def finished(self) -> int:
        """The number of runs with a result."""
        return sum(run.result is not None for run in self.runs)

    def metrics(self, split: str = "test") -> tuple[str, ...]:
        """Return the metrics that any of its runs has on a split."""
        return tuple(dict.fromkeys(key for run in self.runs for key in run.metrics(split)))

    def estimate(self, metric: str, split: str = "test") -> Estimate | None:
        """Return a metric over the runs that have it; None if no run has it."""
        if (metric, split) not in self._estimates:
            values = [run.metrics(split)[metric] for run in self.runs if metric in run.metrics(split)]
            self._estimates[metric, split] = estimate_of(values) if values else None
        return self._estimates[metric, split]

    @cached_property
    def _estimates(self) -> dict[tuple[str, str], Estimate | None]:
        """Cache of `estimate`: every file of a report needs the same values."""
        return {}

    @cached_property
    def taken(self) -> Mapping[str, Taken]:
        """The number of labelled rows that its runs used and requested, by the setting's key."""
        return together(one for run in self.runs if run.result is not None for one in run.result.taken)

    def evaluated_rows(self, split: str = "test") -> frozenset[str]:
        """Return fingerprints of the rows that its runs were evaluated on: one string per distinct set of rows."""
        return frozenset(rows for run in self.runs if (rows := run.evaluated_rows(split)) is not None)

    def is_whole(self, metric: str, split: str = "test") -> bool:
        """Whether all of its runs have the metric. Only such rows can be best."""
        return all(metric in run.metrics(split) for run in self.runs)


@dataclass(frozen=True)
class Comparison:
    """Everything a report shows.

    Args:
        runs: every experiment of the plan (or of the folder), in order.
        rows: one per configuration, in the same order.
        settings: the settings that vary; each setting's values are in the order of `rows`.
        metrics: keys of the metrics shown, in order, the leading metric first.
        best: metric -> indices of the best rows (several if their means are equal).
        chosen_on: the split on which the best rows were chosen.
        comparable: whether all evaluated rows were evaluated on the same data.
        baselines: for each row the index of its baseline (its own index: it is a baseline); None: no baseline.
        baseline_named: whether the user named the baseline.
        earlier: finished runs of earlier content of the user's files, which are not in the plan.
        copies: other folders of the finished runs, which count once.
        odd: reason why files of a run cannot be used, by the run's name; what depends on them is not shown.
        significance: intervals, tests against the baselines, and ties with the best, once computed.
        grouped: names of the settings of `--group-by`; a row then holds several configurations.
        where: the conditions that its runs meet.
        calibration: name of the calibration that all runs are shown under, from their stored scores; None: their own.
        folder: the folder of the report's files; paths of runs are shown relative to it.
    """

    runs: tuple[Run, ...]
    rows: tuple[Row, ...]
    settings: tuple[Setting, ...]
    metrics: tuple[str, ...]
    best: Mapping[str, tuple[int, ...]]
    chosen_on: str
    comparable: bool
    baselines: tuple[int | None, ...] = ()
    baseline_named: bool = False
    earlier: tuple[Earlier, ...] = ()
    copies: tuple[Copy, ...] = ()
    odd: Mapping[str, str] = field(default_factory=dict)
    significance: Significance = NO_SIGNIFICANCE
    grouped: tuple[str, ...] = ()
    where: tuple[str, ...] = ()
    calibration: str | None = None
    folder: Path = Path()

    @cached_property
    def shown_settings(self) -> tuple[Setting, ...]:
        """The settings as tables show them, such as `500 (86)` if only 86 of 500 requested rows exist.

        Such a setting is shown even if it does not vary.
        """
        shown = list(self.settings)
        if not self.grouped:
            varying = {setting.key for setting in shown}
            short = dict.fromkeys(key for row in self.rows for key, taken in row.taken.items() if taken.is_short)
            shown += [Setting(key, short_name(key), tuple(self._values(key))) for key in short if key not in varying]
        return tuple(setting._replace(values=tuple(self._shown(setting))) for setting in shown)

    def _values(self, key: str) -> Iterator[str]:
        for row in self.rows:
            yield show(key, settings(row.runs[0].config).get(key, ABSENT))

    def _shown(self, setting: Setting) -> Iterator[str]:
        for row, value in zip(self.rows, setting.values, strict=True):
            names = (key for key in row.taken if setting.key in (key, short_name(key)))
            taken = row.taken.get(next(names, ""))
            yield value if taken is None or not taken.is_short else f"{taken.asked} ({taken.numbers})"

    @property
    def threads(self) -> dict[int, tuple[Run, ...]]:
        """The finished runs by their number of CPU threads, where it was recorded."""
        by_number: dict[int, list[Run]] = {}
        for run in self.runs:
            if run.result is not None and run.result.threads is not None:
                by_number.setdefault(run.result.threads, []).append(run)
        return {number: tuple(runs) for number, runs in sorted(by_number.items())}

    @property
    def unfinished(self) -> tuple[Run, ...]:
        """The runs without a result."""
        return tuple(run for run in self.runs if run.result is None)

    @property
    def partial(self) -> bool:
        """Whether a row has a shown metric for only some of its runs. Such a row cannot be best."""
        return any(row.estimate(key) is not None and not row.is_whole(key) for row in self.rows for key in self.metrics)

    def baseline_of(self, index: int) -> int | None:
        """Return the index of a row's baseline; None if it has none or is the baseline itself."""
        baseline = self.baselines[index] if index < len(self.baselines) else None
        return None if baseline == index else baseline

    def is_baseline(self, index: int) -> bool:
        """Whether other rows are compared with this one."""
        return index in self._compared_with

    @cached_property
    def _compared_with(self) -> frozenset[int]:
        return frozenset(base for row, base in enumerate(self.baselines) if base is not None and base != row)

    @property
    def has_baseline(self) -> bool:
        """Whether any row is compared with another."""
        return bool(self._compared_with)

    def difference(self, index: int, metric: str) -> float | None:
        """Return a row's mean minus its baseline's; None without a baseline or between rows with different data.

        A difference without a test is given only if all rows of the table were evaluated on the same data.
        """
        base, contrast = self.baseline_of(index), self.significance_of(index, metric).contrast
        if contrast is not None:
            return contrast.difference
        if base is None or not self.comparable:
            return None
        row, baseline = self.rows[index], self.rows[base]
        mean, baseline_mean = row.estimate(metric), baseline.estimate(metric)
        if mean is None or baseline_mean is None or len(row.evaluated_rows() | baseline.evaluated_rows()) > 1:
            return None
        return mean.mean - baseline_mean.mean

    def significance_of(self, index: int, metric: str) -> RowSignificance:
        """Return the interval and the tests of a metric of a row."""
        return self.significance.rows.get((index, metric), _NO_ROW_SIGNIFICANCE)

    def undecided(self, metric: str) -> list[int]:
        """Return the rows with runs missing whose mean is nevertheless better than the best row's."""
        best = self.best.get(metric)
        if not best:
            return []
        lead = self.rows[best[0]].estimate(metric, self.chosen_on)
        ahead = []
        for index, row in enumerate(self.rows):
            partial = None if row.is_whole(metric, self.chosen_on) else row.estimate(metric, self.chosen_on)
            if partial is not None and lead is not None and best_of(metric, (partial.mean, lead.mean)) != lead.mean:
                ahead.append(index)
        return ahead

    def differ_by_rows_alone(self, metric: str) -> list[int]:
        """Return the rows whose models differ from the baseline's on these test rows, but whose recipes may not."""
        contrasts = {
            i: one for i in range(len(self.rows)) if (one := self.significance_of(i, metric).contrast) is not None
        }
        return [
            index
            for index, one in contrasts.items()
            if is_significant(one.models.p_holm) and one.p_holm is not None and not one.is_significant
        ]

    def without_seeds(self, metric: str) -> list[int]:
        """Return the random rows with a single seed, which cannot be tested."""
        return [
            index
            for index, row in enumerate(self.rows)
            if not row.is_fixed and (found := row.estimate(metric)) is not None and found.n == 1
        ]

    def ahead_of_the_chosen(self, metric: str) -> list[int]:
        """Return the rows that are significantly better on the test rows than the row chosen on validation rows."""
        gaps = {index: gap for index in range(len(self.rows)) if (gap := self.significance_of(index, metric).to_best)}
        return [
            index
            for index, gap in gaps.items()
            if is_significant(gap.p_holm) and best_of(metric, (gap.difference, 0.0)) == gap.difference
        ]


class Built(NamedTuple):
    """A comparison with its statistics, and the record of each run's page by the run's id."""

    comparison: Comparison
    details: Mapping[str, Mapping[str, Any]]


def estimate_of(values: list[float]) -> Estimate:
    """Return mean and sample standard deviation."""
    import statistics

    spread = statistics.stdev(values) if len(values) > 1 else None
    return Estimate(statistics.fmean(values), spread, len(values))
