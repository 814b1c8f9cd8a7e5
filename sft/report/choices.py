"""What a report is asked for: which runs (`--where`), by which settings they are gathered (`--group-by`), which metric
leads, and what is the baseline. Reads no files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sft.config.varying import ABSENT, Setting, settings, short_name, show, varying_settings
from sft.errors import UserError, did_you_mean
from sft.report.comparison import Row
from sft.report.runs import Run

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
        group_by: settings; runs that share their values are one row.
    """

    everything: bool = False
    baseline: str | None = None
    calibration: str | None = None
    metric: str | None = None
    where: tuple[str, ...] = ()
    group_by: tuple[str, ...] = ()


def chosen(runs: Sequence[Run], where: Sequence[str]) -> list[Run]:
    """The runs that meet all conditions.

    Raises:
        UserError: a condition that is none, of a setting that no run has, or that no run meets.
    """
    left = list(runs)
    for condition in where:
        name, equals, wanted = condition.partition("=")
        if not equals or not name.strip():
            raise UserError(f'--where "{condition}": say it as shots=8, or init=pca,pissa')
        value = _reader(left, name.strip(), "--where")
        values = [value(run) for run in left]
        asked = {one.strip() for one in wanted.split(",")} | {wanted.strip()}
        left = [run for run, found in zip(left, values, strict=True) if found in asked]
        if not left:
            there = ", ".join(sorted(dict.fromkeys(values), key=_as_number))
            raise UserError(f'--where "{condition}": no run has it ({name.strip()} is {there})')
    return left


def grouped(runs: Sequence[Run], names: Sequence[str]) -> tuple[list[list[Run]], tuple[Setting, ...]]:
    """The runs gathered by the values of some settings, in order of first meeting; and those settings.

    Raises:
        UserError: no run has such a setting.
    """
    readers = [_reader(runs, name, "--group-by") for name in names]
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        groups.setdefault(tuple(read(run) for read in readers), []).append(run)
    columns = [Setting(name, name, tuple(key[place] for key in groups)) for place, name in enumerate(names)]
    return list(groups.values()), tuple(columns)


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

    The named one; else zero-shot without examples of the same model and data; else, and for rows of models that have
    none, the first row. None where there is only one row.

    Raises:
        UserError: no row has that name.
    """
    if wanted is not None:
        names = [row.name for row in rows]
        if wanted not in names:
            raise UserError(
                f'--baseline: no row is named "{wanted}"{did_you_mean(wanted, names)} (rows: {_few(names)})'
            )
        return (names.index(wanted),) * len(rows)
    if len(rows) < 2:
        return (None,) * len(rows)
    zero_shot: dict[str, int] = {}
    for index, row in enumerate(rows):
        if _is_zero_shot(row):
            zero_shot.setdefault(_base(row), index)
    return tuple(zero_shot.get(_base(row), 0) for row in rows)


def _is_zero_shot(row: Row) -> bool:
    config = row.runs[0].config
    shown = config.inference.icl_examples if config.inference is not None else 0
    return config.dataset.shots == 0 and not shown and (config.model is None or config.model.adapter is None)


def _base(row: Row) -> str:
    """Model and data as text that is equal for rows that share them."""
    config = row.runs[0].config
    model = "" if config.model is None else config.model.model_dump_json(exclude={"adapter"})
    return f"{model} {config.dataset.model_dump_json(exclude={'shots'})}"


def _reader(runs: Sequence[Run], name: str, option: str) -> Callable[[Run], str]:
    """What gives a run's value of a setting, as tables show it."""
    if name == SEED:
        return lambda run: str(run.seed)
    flat: dict[int, dict[str, Any]] = {}
    for run in runs:
        if id(run.config) not in flat:
            flat[id(run.config)] = settings(run.config)
    keys = dict.fromkeys(key for one in flat.values() for key in one)
    key = next((key for key in keys if name in (key, short_name(key))), None)
    if key is None:
        ends = [key for key in keys if key.endswith(f".{name}")]
        key = ends[0] if len(ends) == 1 else None
    if key is None:
        varying = [setting.name for setting in varying_settings([run.config for run in runs])]
        names = dict.fromkeys([*varying, SEED, *map(short_name, keys), *keys])
        near = did_you_mean(name, list(names))
        raise UserError(f'{option} "{name}": no such setting{near} (what varies: {", ".join([*varying, SEED])})')
    found = key
    return lambda run: show(found, flat[id(run.config)].get(found, ABSENT))


def _as_number(text: str) -> tuple[bool, float, str]:
    try:
        return False, float(text), text
    except ValueError:
        return True, 0.0, text


def _few(names: Sequence[str], most: int = 20) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
