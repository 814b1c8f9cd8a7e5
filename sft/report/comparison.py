"""What a report shows: rows of runs, what varies between them, which are best, and what statistics say. Plain data."""

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
from sft.report.significance import NO_SIGNIFICANCE, SIGNIFICANT, RowSignificance, Significance

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
        """Whether nothing in it is random: it is one run, whatever the seed."""
        return len(self.runs) == 1 and self.runs[0].is_fixed

    @property
    def finished(self) -> int:
        """How many of its runs have a result."""
        return sum(run.result is not None for run in self.runs)

    def metrics(self, split: str = "test") -> tuple[str, ...]:
        """The metrics that some of its runs have on a split."""
        return tuple(dict.fromkeys(key for run in self.runs for key in run.metrics(split)))

    def estimate(self, metric: str, split: str = "test") -> Estimate | None:
        """A metric over those of its runs that have it; None where none has."""
        if (metric, split) not in self._estimates:
            found = [run.metrics(split)[metric] for run in self.runs if metric in run.metrics(split)]
            self._estimates[metric, split] = estimate_of(found) if found else None
        return self._estimates[metric, split]

    @cached_property
    def _estimates(self) -> dict[tuple[str, str], Estimate | None]:
        """Those that were asked for: every file of a report asks again."""
        return {}

    @cached_property
    def taken(self) -> Mapping[str, Taken]:
        """How many labelled rows its runs took of those asked for, by the setting's key."""
        return together(one for run in self.runs if run.result is not None for one in run.result.taken)

    def evaluated_rows(self, split: str = "test") -> frozenset[str]:
        """What its runs were judged on: one text per distinct set of rows."""
        return frozenset(rows for run in self.runs if (rows := run.evaluated_rows(split)) is not None)

    def is_whole(self, metric: str, split: str = "test") -> bool:
        """Whether all of its runs have the metric: only such rows compete."""
        return all(metric in run.metrics(split) for run in self.runs)


@dataclass(frozen=True)
class Comparison:
    """Everything a report shows.

    Args:
        runs: every experiment of the plan (or of the folder), in order.
        rows: one per configuration, in the same order.
        settings: what varies between rows; each setting's values stand in the order of `rows`.
        metrics: keys of the metrics shown, in order, the leading one first.
        best: metric -> indices of the rows that are best, several where they are equal.
        chosen_on: the split on which the best rows were chosen.
        comparable: whether all rows that were judged were judged on the same data.
        baselines: for each row the index of the one that it is compared with (its own: it is a baseline); None: none.
        baseline_named: whether the user named the baseline.
        earlier: finished runs of earlier content of the user's files, which are not in the plan.
        copies: other folders of the finished runs, which count once.
        odd: why files of a run cannot be used, by its name: what depends on them is not shown.
        significance: intervals, tests against the baselines, and ties with the best, once these were made.
        grouped: names of the settings of `--group-by`: a row then holds several configurations.
        where: the conditions that its runs meet.
        calibration: the one under which all runs are shown, made from their stored scores; None: as they ran.
        place: the folder that files of the report are written to: where runs lie is told from there.
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
    place: Path = Path()

    @cached_property
    def shown_settings(self) -> tuple[Setting, ...]:
        """The settings as tables show them: with the true number where fewer rows than asked for were taken.

        `500 (86)`; a setting that does not vary is shown too, where that is so.
        """
        found = list(self.settings)
        if not self.grouped:
            there = {one.key for one in found}
            short = dict.fromkeys(key for row in self.rows for key, one in row.taken.items() if one.is_short)
            found += [Setting(key, short_name(key), tuple(self._values(key))) for key in short if key not in there]
        return tuple(one._replace(values=tuple(self._shown(one))) for one in found)

    def _values(self, key: str) -> Iterator[str]:
        for row in self.rows:
            yield show(key, settings(row.runs[0].config).get(key, ABSENT))

    def _shown(self, setting: Setting) -> Iterator[str]:
        for row, value in zip(self.rows, setting.values, strict=True):
            names = (one for one in row.taken if setting.key in (one, short_name(one)))
            taken = row.taken.get(next(names, ""))
            yield value if taken is None or not taken.is_short else f"{taken.asked} ({taken.numbers})"

    @property
    def threads(self) -> dict[int, tuple[Run, ...]]:
        """The finished runs by the number of threads that they computed with, where that was recorded."""
        found: dict[int, list[Run]] = {}
        for run in self.runs:
            if run.result is not None and run.result.threads is not None:
                found.setdefault(run.result.threads, []).append(run)
        return {number: tuple(runs) for number, runs in sorted(found.items())}

    @property
    def unfinished(self) -> tuple[Run, ...]:
        """The runs without a result."""
        return tuple(run for run in self.runs if run.result is None)

    @property
    def partial(self) -> bool:
        """Whether some runs of a row lack a shown metric that its others have: it was not considered as best."""
        return any(row.estimate(key) is not None and not row.is_whole(key) for row in self.rows for key in self.metrics)

    def baseline_of(self, index: int) -> int | None:
        """The row that a row is compared with; None where there is none, or it is that row itself."""
        found = self.baselines[index] if index < len(self.baselines) else None
        return None if found == index else found

    def is_baseline(self, index: int) -> bool:
        """Whether other rows are compared with this one."""
        return index in self._compared_with

    @cached_property
    def _compared_with(self) -> frozenset[int]:
        return frozenset(found for other, found in enumerate(self.baselines) if found is not None and found != other)

    @property
    def has_baseline(self) -> bool:
        """Whether any row is compared with another."""
        return bool(self._compared_with)

    def difference(self, index: int, metric: str) -> float | None:
        """A row's mean minus its baseline's; None without one, and between rows judged on different data.

        Where not all rows were judged on the same data, what was not tested may be a pair of such.
        """
        base, contrast = self.baseline_of(index), self.significance_of(index, metric).contrast
        if contrast is not None:
            return contrast.difference
        if base is None or not self.comparable:
            return None
        mine, theirs = self.rows[index], self.rows[base]
        found, other = mine.estimate(metric), theirs.estimate(metric)
        if found is None or other is None or len(mine.evaluated_rows() | theirs.evaluated_rows()) > 1:
            return None
        return found.mean - other.mean

    def significance_of(self, index: int, metric: str) -> RowSignificance:
        """What statistics say of a metric of a row."""
        return self.significance.rows.get((index, metric), _NO_ROW_SIGNIFICANCE)

    def undecided(self, metric: str) -> list[int]:
        """The rows that lack some of their runs, or more, and whose mean is ahead of the best all the same."""
        best = self.best.get(metric)
        if not best:
            return []
        lead = self.rows[best[0]].estimate(metric, self.chosen_on)
        found = []
        for index, row in enumerate(self.rows):
            mine = None if row.is_whole(metric, self.chosen_on) else row.estimate(metric, self.chosen_on)
            if mine is not None and lead is not None and best_of(metric, (mine.mean, lead.mean)) != lead.mean:
                found.append(index)
        return found

    def differ_by_rows_alone(self, metric: str) -> list[int]:
        """The rows whose models differ from the baseline's on the test rows, while other seeds could change that."""
        contrasts = {
            i: one for i in range(len(self.rows)) if (one := self.significance_of(i, metric).contrast) is not None
        }
        return [
            index
            for index, one in contrasts.items()
            if one.models.p_holm <= SIGNIFICANT and one.p_holm is not None and not one.is_significant
        ]

    def without_seeds(self, metric: str) -> list[int]:
        """The rows of which one seed is all there is, though training or examples are random: nothing tests them."""
        return [
            index
            for index, row in enumerate(self.rows)
            if not row.is_fixed and (found := row.estimate(metric)) is not None and found.n == 1
        ]

    def ahead_of_the_chosen(self, metric: str) -> list[int]:
        """The rows that are better on the test rows than the best, which was chosen on the validation rows."""
        gaps = {index: gap for index in range(len(self.rows)) if (gap := self.significance_of(index, metric).to_best)}
        return [
            index
            for index, gap in gaps.items()
            if gap.p_holm <= SIGNIFICANT and best_of(metric, (gap.difference, 0.0)) == gap.difference
        ]


class Built(NamedTuple):
    """A comparison with its statistics; and for each run, by id, what its page of the HTML report shows."""

    comparison: Comparison
    details: Mapping[str, Mapping[str, Any]]


def estimate_of(values: list[float]) -> Estimate:
    """Mean and sample standard deviation."""
    import statistics

    spread = statistics.stdev(values) if len(values) > 1 else None
    return Estimate(statistics.fmean(values), spread, len(values))
