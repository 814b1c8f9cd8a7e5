"""What a report is asked for: which runs (`--where`), by which settings they are gathered (`--group-by`), which metric
leads, and what is the baseline. Reads no files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sft.config.varying import ABSENT, Setting, labels_of, settings, short_name, varying_settings
from sft.errors import UserError, did_you_mean
from sft.log import some
from sft.report.comparison import Row
from sft.report.read.runs import Run

SEED = "seed"


@dataclass(frozen=True)
class Choices:
    """The options of a report.

    Args:
        everything: all runs of the folder, not only those of the last grid.
        baseline: name of the row that others are compared with.
        calibration: name of the one under which all runs are shown; None: as they ran.
        metric: the one that leads.
        where: `shots=8` or `init=pca,pissa`: only runs whose setting has (one of) the values.
        trust: under a calibration, run metrics too that are code which only records of runs name.
        group_by: settings; runs that share their values are one row.
    """

    everything: bool = False
    baseline: str | None = None
    calibration: str | None = None
    metric: str | None = None
    where: tuple[str, ...] = ()
    group_by: tuple[str, ...] = ()
    trust: bool = False


def chosen(runs: Sequence[Run], where: Sequence[str], baseline: str | None = None) -> list[Run]:
    """The runs that meet all conditions; and those of the baseline's row, where it is named.

    Raises:
        UserError: a condition that is none, of a setting that no run has, or with a value that no run has.
    """
    left = list(runs)
    for condition in where:
        name, equals, wanted = (part.strip() for part in condition.partition("="))
        if not equals or not name:
            raise UserError(f'--where "{condition}": say it as shots=8, or init=pca,pissa')
        reader = _reader(left, name, "--where")
        whole = any(reader.fits(run, wanted) for run in left)  # a value may hold a comma
        asked = [wanted] if whole else [one.strip() for one in wanted.split(",")]
        if missing := [one for one in asked if not any(reader.fits(run, one) for run in left)]:
            there = ", ".join(sorted({reader.label(run) for run in left}, key=_as_number))
            raise UserError(f'--where "{condition}": no run has {name}={", ".join(missing)} ({name} is {there})')
        left = [run for run in left if any(reader.fits(run, one) for one in asked)]
    kept = {run.id for run in left}
    named = {run.recipe_id for run in runs if baseline is not None and baseline in (row_name(run), run.recipe_id)}
    return [run for run in runs if run.id in kept or run.recipe_id in named] if where else left


def row_name(run: Run) -> str:
    """The name of the row that a run belongs to: its own, without the seed."""
    return run.name.removesuffix(f" seed={run.seed}")


def grouped(runs: Sequence[Run], names: Sequence[str]) -> tuple[list[list[Run]], tuple[Setting, ...]]:
    """The runs gathered by the values of some settings, in the order of the values; and those settings.

    Raises:
        UserError: no run has such a setting.
    """
    readers = {name: _reader(runs, name, "--group-by") for name in dict.fromkeys(names)}
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        groups.setdefault(tuple(reader.raw(run) for reader in readers.values()), []).append(run)
    found = sorted(groups.values(), key=lambda group: [_as_number(one.label(group[0])) for one in readers.values()])
    columns = [Setting(name, name, tuple(one.label(group[0]) for group in found)) for name, one in readers.items()]
    return found, tuple(columns)


def leading(metrics: Sequence[str], rows: Sequence[Row], wanted: str | None) -> tuple[str, ...]:
    """The metrics to show, the wanted one first.

    Raises:
        UserError: no run has it.
    """
    if wanted is None:
        return tuple(metrics)
    found = dict.fromkeys(key for row in rows for key in row.metrics())
    if wanted not in found:
        raise UserError(
            f'--metric "{wanted}": no run has it{did_you_mean(wanted, list(found))} (there is {", ".join(found)})'
        )
    return (wanted, *(key for key in metrics if key != wanted))


def baselines(rows: Sequence[Row], wanted: str | None) -> tuple[int | None, ...]:
    """For each row the index of the one that it is compared with.

    The named one; else zero-shot without examples of the same model and data, one without calibration before others;
    else, and for rows of models that have none, the first row. None where there is only one row.

    Raises:
        UserError: no row has that name, or several have.
    """
    if wanted is not None:
        return (_named(rows, wanted),) * len(rows)
    if len(rows) < 2:
        return (None,) * len(rows)
    zero_shot: dict[str, int] = {}
    for index in sorted(range(len(rows)), key=lambda one: _is_calibrated(rows[one])):
        if _is_zero_shot(rows[index]):
            zero_shot.setdefault(_base(rows[index]), index)
    return tuple(zero_shot.get(_base(row), 0) for row in rows)


def _named(rows: Sequence[Row], wanted: str) -> int:
    found = [index for index, row in enumerate(rows) if wanted in (row.name, row.runs[0].recipe_id)]
    if len(found) > 1:
        ids = ", ".join(rows[index].runs[0].recipe_id for index in found)
        raise UserError(f'--baseline: {len(found)} rows are named "{wanted}"; give the recipe id of one ({ids})')
    if not found:
        names = [row.name for row in rows]
        raise UserError(
            f'--baseline: no row is named "{wanted}"{did_you_mean(wanted, names)} (rows: {some(names, 20)})'
        )
    return found[0]


def _is_calibrated(row: Row) -> bool:
    inference = row.runs[0].config.inference
    return inference is not None and inference.calibration_args is not None


def _is_zero_shot(row: Row) -> bool:
    config = row.runs[0].config
    shown = config.inference.icl_examples if config.inference is not None else 0
    return config.dataset.shots == 0 and not shown and (config.model is None or config.model.adapter is None)


def _base(row: Row) -> str:
    """Model and data as text that is equal for rows that share them."""
    config = row.runs[0].config
    model = "" if config.model is None else config.model.model_dump_json(exclude={"adapter"})
    return f"{model} {config.dataset.model_dump_json(exclude={'shots'})}"


class _Reader(NamedTuple):
    """Reads a setting of runs.

    Args:
        raw: its value, as text that is equal for equal values only.
        label: the same as tables show it.
    """

    raw: Callable[[Run], str]
    label: Callable[[Run], str]

    def fits(self, run: Run, wanted: str) -> bool:
        """Whether a run has a value, given as tables show it or in full; `none` is what is absent."""
        label = self.label(run)
        return wanted in (label, self.raw(run)) or (wanted == "none" and label == ABSENT)


class _Seed(_Reader):
    """The seed: what has nothing random in it stands for every seed."""

    def fits(self, run: Run, wanted: str) -> bool:
        return run.is_fixed or super().fits(run, wanted)


def _reader(runs: Sequence[Run], name: str, option: str) -> _Reader:
    """What gives a run's value of a setting.

    Raises:
        UserError: no run has such a setting, or several settings have that name.
    """
    if name == SEED:
        return _Seed(_seed, _seed)
    flat: dict[int, dict[str, Any]] = {}
    for run in runs:
        if id(run.config) not in flat:
            flat[id(run.config)] = settings(run.config)
    keys = list(dict.fromkeys(key for one in flat.values() for key in one))
    found = [key for key in keys if key == name] or [key for key in keys if short_name(key) == name]
    found = found or [key for key in keys if key.endswith(f".{name}")]
    if len(found) > 1:
        raise UserError(f'{option} "{name}": several settings have that name; give one of {", ".join(found)}')
    if not found:
        varying = [*(setting.name for setting in varying_settings([run.config for run in runs])), SEED]
        near = did_you_mean(name, list(dict.fromkeys([*varying, *map(short_name, keys), *keys])))
        raise UserError(f'{option} "{name}": no such setting{near} (what varies: {", ".join(varying)})')
    values = {key: one.get(found[0], ABSENT) for key, one in flat.items()}
    labels = labels_of(found[0], list(values.values()))
    return _Reader(lambda run: str(values[id(run.config)]), lambda run: labels[str(values[id(run.config)])])


def _seed(run: Run) -> str:
    return ABSENT if run.is_fixed else str(run.seed)


def _as_number(text: str) -> tuple[bool, float, str]:
    try:
        return False, float(text), text
    except ValueError:
        return True, 0.0, text
