"""`sft.load_results`: a results folder as DataFrames, with the figures of the report."""

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
    """The runs of a results folder, and their comparison. In a notebook it shows the comparison table.

    Iterating gives the runs, `len` how many there are. What the folder held when it was loaded is what stays.

    Args:
        comparison: of the runs, as the report makes it.
    """

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison
        self._runs = tuple(map(Run, comparison.runs))

    @cached_property
    def runs(self) -> DataFrame:
        """One row per run.

        Columns: `name`; a column for each setting that varies, under its short name (`shots`); `seed`; `status` (see
        `Run.status`); the metrics of the test split by name, and those of the validation split as `validation.<name>`,
        shares from 0 to 1; `labelled_examples`; `seconds`; `error`; `recipe_id`; `id`; `folder`. What is not known is
        NaN or <NA>.
        """
        return _frame(run_columns(self._comparison))

    @cached_property
    def rows(self) -> DataFrame:
        """One row per recipe, the rows of the report's table with its figures, computed once.

        Columns: those of `aggregated_results.csv`: `name`, a column for each setting that varies, `labelled_examples`,
        `finished` and `planned` runs, `recipe_id`, `baseline`, `test_rows`, `judged_on`, and for each metric
        `accuracy.mean`, `.std` (over seeds, n - 1), `.ci_low` and `.ci_high` (95 %), `.difference` to the baseline with
        its interval, `.p_value` and `.p_holm` (rows and seeds sampled), `.best`, `.tied_with_best` and further tests.
        What is not known is NaN or <NA>.
        """
        return _frame(row_columns(self._built))

    def run(self, name: str) -> Run:
        """Return one run by its name (`shots=8 seed=13`), its id or how that begins, or its folder's name.

        Raises:
            UserError: there is none, or there are several.
        """
        found = matching(self._runs, name, lambda one: one.recorded.folder, lambda one: one.name)
        if len(found) == 1:
            return found[0]
        place = self._comparison.place
        if found:
            raise UserError(f'"{name}" may be {len(found)} runs of {place}: {some([one.name for one in found])}')
        names = [one.name for one in self._runs]
        near = did_you_mean(name, [*names, *(one.id for one in self._runs)])
        raise UserError(f'{place} has no run "{plain(name)}"{near or f" (runs: {some(names)})"}')

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs)

    def __len__(self) -> int:
        return len(self._runs)

    def __repr__(self) -> str:
        return render_text(self._built)

    def _repr_html_(self) -> str:
        """The comparison table for a notebook: all text escaped."""
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
    """Load a results folder: the runs of the last grid that ran in it, or all where none did.

    Nothing is written. Statistics are computed by the report's own code, when they are first asked for.

        >>> import sft
        >>> results = sft.load_results("results/demo")  # doctest: +SKIP
        >>> results.rows[["shots", "accuracy.mean", "accuracy.p_holm"]]  # doctest: +SKIP

    Args:
        results: a folder given as `results` to `run_grid`, or as `--results-path`; several are shown as one.
        baseline: name of the row that others are compared with; None: zero-shot of the same model, else the first row.
        metric: the one that leads; None: the first that the runs have.
        where: conditions, such as `["shots=8", "init=pca,pissa"]`: only runs that meet all of them.
        everything: all runs of the folder, not only those of the last grid.

    Raises:
        UserError: a folder without runs, or a choice that fits nothing.
    """
    folders = [results] if isinstance(results, str | os.PathLike) else list(results)
    if not folders:
        raise UserError("results: expected at least one folder")
    stores = distinct([ResultStore(Path(one)) for one in folders])
    conditions = (where,) if isinstance(where, str) else tuple(where)
    choices = Choices(everything=everything, baseline=baseline, metric=metric, where=conditions)
    return Results(compare(stores[0], choices, stores[1:]))


def _frame(columns: Columns) -> DataFrame:
    from pandas import concat

    found = [_series(name, [row[place] for row in columns.rows]) for place, name in enumerate(columns.header)]
    return concat(found, axis=1)


def _series(name: str, values: list[Any]) -> Series:
    """A column. Its dtype follows from the values that are known; where none is, from its name."""
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
