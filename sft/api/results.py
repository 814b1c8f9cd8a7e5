"""`sft.load_results`: load a results folder as DataFrames, with the figures of the report."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft.api.runs import Run
from sft.errors import UserError, did_you_mean
from sft.log import plain, some
from sft.report.choices import Choices
from sft.report.comparison import Comparison
from sft.report.formats.columns import Columns, row_columns, run_columns
from sft.report.formats.fragment import render_fragment
from sft.report.formats.text import render_text
from sft.report.formats.values import FLAGS, TEXTS
from sft.report.read.copies import distinct
from sft.report.read.find import matching
from sft.report.rows import compare
from sft.results.store import ResultStore

if TYPE_CHECKING:
    from pandas import DataFrame, Series

AnyPath = str | os.PathLike[str]


class Results:
    """The runs of a results folder and their comparison. A notebook shows it as the comparison table.

    Iterating yields the runs; `len` is their number. Later changes of the folder are not seen.

    Args:
        comparison: the report's comparison of the runs.
    """

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison
        self._runs = tuple(map(Run, comparison.runs))

    @cached_property
    def runs(self) -> DataFrame:
        """One row per run.

        Columns: `name`; a column for each setting that varies, under its short name (`shots`); `seed`; `status` (see
        `Run.status`); the metrics of the test split by name, and those of the validation split as `validation.<name>`,
        shares from 0 to 1; `labelled_examples`; `seconds`; `error`; `recipe_id`; `id`; `folder`. Unknown values are
        NaN or <NA>.
        """
        return _frame(run_columns(self._comparison))

    @cached_property
    def rows(self) -> DataFrame:
        """One row per recipe, with the figures of the report's table, computed once.

        Columns: those of `aggregated_results.csv`: `name`, a column for each setting that varies, `labelled_examples`,
        `finished` and `planned` runs, `recipe_id`, `baseline`, `test_rows` with a fingerprint of these rows, and for
        each metric `accuracy.mean`, `.std` (over seeds, n - 1), `.ci_low` and `.ci_high` (95 %), `.difference` to the
        baseline with its interval, `.p_value` and `.p_holm` (rows and seeds sampled), `.best`, `.tied_with_best` and
        further tests. Unknown values are NaN or <NA>.
        """
        return _frame(row_columns(self._built))

    def run(self, name: str) -> Run:
        """Return one run by its name (`shots=8 seed=13`), its id or a prefix of it, or its folder's name.

        Raises:
            UserError: no run matches, or several runs match.
        """
        matches = matching(self._runs, name, lambda run: run.recorded.folder, lambda run: run.name)
        if len(matches) == 1:
            return matches[0]
        folder = self._comparison.folder
        if matches:
            names = some([run.name for run in matches])
            raise UserError(f'"{name}" matches {len(matches)} runs of {folder}: {names}; give a longer name or the id')
        names = some([run.name for run in self._runs])
        near = did_you_mean(name, [text for run in self._runs for text in (run.name, run.id)])
        raise UserError(f'{folder}: no run "{plain(name)}"{near or f" (runs: {names})"}')

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs)

    def __len__(self) -> int:
        return len(self._runs)

    def __repr__(self) -> str:
        return render_text(self._built)

    def _repr_html_(self) -> str:
        """Return the comparison table for a notebook, with all text escaped."""
        return render_fragment(self._built)

    @cached_property
    def _built(self) -> Comparison:
        """The comparison with its statistics, which need the predictions of every run."""
        from sft.report.build import build

        return build(self._comparison, with_details=False).comparison


def load_results(
    results: AnyPath | Sequence[AnyPath] = "results",
    *,
    baseline: str | None = None,
    metric: str | None = None,
    where: Sequence[str] = (),
    everything: bool = False,
) -> Results:
    """Load a results folder: the runs of the last grid that ran in it, or all runs if no grid ran.

    Nothing is written. Statistics are computed by the report's code when they are first needed.

        >>> import sft
        >>> results = sft.load_results("results/demo")  # doctest: +SKIP
        >>> results.rows[["shots", "accuracy.mean", "accuracy.p_holm"]]  # doctest: +SKIP

    Args:
        results: a folder given as `results` to `run_grid`, or as `--results-path`; several folders are shown as one.
        baseline: name of the row that others are compared with; None: zero-shot of the same model, else the first row.
        metric: name of the leading metric; None: the first metric of the runs.
        where: conditions, such as `["shots=8", "init=pca,pissa"]`: only runs that meet all of them.
        everything: load all runs of the folder, not only those of the last grid.

    Raises:
        UserError: a folder without runs, or a choice that matches nothing.
    """
    folders = [results] if isinstance(results, str | os.PathLike) else list(results)
    if not folders:
        raise UserError("results: expected at least one folder")
    stores = distinct([ResultStore(Path(folder)) for folder in folders])
    conditions = (where,) if isinstance(where, str) else tuple(where)
    choices = Choices(everything=everything, baseline=baseline, metric=metric, where=conditions)
    return Results(compare(stores[0], choices, stores[1:]))


def _frame(columns: Columns) -> DataFrame:
    from pandas import concat

    series = [_series(name, [row[index] for row in columns.rows]) for index, name in enumerate(columns.header)]
    return concat(series, axis=1)


def _series(name: str, values: list[Any]) -> Series:
    """Return a column. Its dtype follows from the known values, or from its name if no value is known."""
    from pandas import Series

    kinds = {type(value) for value in values if value is not None}
    value_of_metric = name.rpartition(".")[2]
    if kinds == {bool} or (not kinds and value_of_metric in FLAGS):
        return Series(values, name=name, dtype="boolean")
    if kinds == {int}:
        return Series(values, name=name, dtype="Int64" if None in values else "int64")
    if kinds <= {int, float} and (kinds or value_of_metric not in TEXTS):
        return Series(values, name=name, dtype="float64")
    return Series(values, name=name, dtype=None if kinds == {str} else "object")
