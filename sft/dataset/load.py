"""The splits of a data set that a run uses, as names or slices such as `train[:100]`.

`sft.dataset.reading` opens the data, in any form. This module uses no prompts or models. An error about the data is one
line and lists what the data has instead.
"""

from __future__ import annotations

import json
import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sft.config.sections.dataset import DatasetConfig
from sft.dataset.reading.sources import open_source
from sft.dataset.rows import Rows, concatenated
from sft.errors import DataError, UserError, did_you_mean
from sft.foreign import is_foreign

SAMPLE_SEED = 0  # of max_n_test: constant, so that all runs evaluate the same rows


@dataclass(frozen=True)
class Splits:
    """The rows that a run uses; None for a split that is not needed. `source` holds all splits of the data set."""

    train: Rows | None
    test: Rows | None
    validation: Rows | None
    source: Mapping[str, Rows] = field(default_factory=dict)

    def named(self) -> Mapping[str, Rows]:
        """Return the splits that are not None, by role: `train`, `test`, `validation`."""
        roles = {"train": self.train, "test": self.test, "validation": self.validation}
        return {role: rows for role, rows in roles.items() if rows is not None}


def load_splits(config: DatasetConfig, roles: Iterable[str], optional: Iterable[str] = ()) -> Splits:
    """Open the splits of some roles (`train`, `test`, `validation`; a validation split only if the config names one).

    Args:
        config: the `dataset` section.
        roles: splits that must exist.
        optional: splits to open if they exist.

    Raises:
        DataError: the data cannot be opened, a split is unknown or empty.
    """
    specs_by_role = {"train": config.train_split, "test": config.test_split, "validation": config.validation_split}
    specs = {role: spec for role in roles if (spec := specs_by_role[role]) is not None}
    tables = _open(config)
    specs |= {role: spec for role in optional if (spec := specs_by_role[role]) and set(_named(spec)) <= tables.keys()}
    if "train" in roles:
        _refuse_overlap(tables, specs, config)
    used = {role: _slice(tables, specs[role], role, config) if role in specs else None for role in specs_by_role}
    return Splits(**used, source=tables)


def sample_rows(rows: Rows, most: int | None) -> list[int]:
    """Return the indices of the rows to evaluate, in order: all, or `most` drawn with a constant seed."""
    if most is None or most >= len(rows):
        return list(range(len(rows)))
    return sorted(random.Random(SAMPLE_SEED).sample(range(len(rows)), most))  # noqa: S311


def check_columns(rows: Rows, columns: Sequence[str], where: str, lists: Collection[str] = ()) -> None:
    """Refuse columns that are missing or do not hold text; the error lists the columns that do.

    Args:
        rows: rows of a split.
        columns: columns that are needed.
        where: name of the split in messages.
        lists: columns that may hold lists.

    Raises:
        DataError: a missing or unsuitable column, in one line, with a similar name if there is one.
    """
    for column in columns:
        if column not in rows.column_names:
            near = did_you_mean(column, rows.column_names)
            names = ", ".join(rows.column_names)
            raise DataError(
                f'{where} has no column "{column}" (it has: {names}){near or "."} '
                f"Set prompting.input_columns and prompting.output_column{_other_delimiter(rows)}"
            )
        if column in rows.gaps:
            raise DataError(f'{rows.gaps[column]}; the column "{column}" is missing there')
        kind = rows.kind(column)
        if kind != "text" and not (kind == "lists" and column in lists):
            texts = [name for name in rows.column_names if rows.kind(name) == "text"]
            raise DataError(
                f'{where}: column "{column}" holds {kind}, not text; columns with text: {", ".join(texts) or "none"}'
            )


def _other_delimiter(rows: Rows) -> str:
    """Return a hint for a file with a single column whose name contains another delimiter."""
    names = rows.column_names
    other = next((mark for mark in (";", "\t", "|", ",") if len(names) == 1 and mark in names[0]), None)
    return "" if other is None else f'; or, if this is several columns, dataset.args {{"sep": {json.dumps(other)}}}'


def _open(config: DatasetConfig) -> Mapping[str, Rows]:
    """Open all splits of the data set, by name."""
    try:
        tables = open_source(config)
        # As in `load_dataset`: with `split`, the data set has only these rows.
        return {"train": _slice(tables, config.args["split"], "train", config)} if config.args.get("split") else tables
    except UserError:
        raise
    except Exception as error:
        if not is_foreign(error) and not isinstance(error, OSError | ValueError):
            raise
        raise DataError(_reason(config, error)) from error


class _Part(NamedTuple):
    """Rows `start` to `end` (exclusive) of a split."""

    split: str
    start: int
    end: int


def _refuse_overlap(tables: Mapping[str, Rows], specs: Mapping[str, str], config: DatasetConfig) -> None:
    """Refuse evaluated rows that may also be trained on or shown."""
    trained = _parts(tables, specs["train"], "train", config)
    for role in specs.keys() - {"train"}:
        evaluated = _parts(tables, specs[role], role, config)
        shared = sum(
            max(0, min(a.end, b.end) - max(a.start, b.start)) for a in trained for b in evaluated if a.split == b.split
        )
        if shared:
            raise DataError(
                f'{config.path}: dataset.train_split "{specs["train"]}" and dataset.{role}_split "{specs[role]}" share '
                f"{shared} rows; use slices that do not overlap, such as train[:80%] and train[80%:]"
            )


def _slice(tables: Mapping[str, Rows], spec: str, role: str, config: DatasetConfig) -> Rows:
    """Return the rows of a split's name or slice (`train[:80%]`, `train+validation`)."""
    parts = [part for part in _parts(tables, spec, role, config) if part.start < part.end]
    if not parts:
        raise DataError(f'{config.path}: the split "{spec}" (dataset.{role}_split) is empty')
    chosen = [tables[part.split].select(range(part.start, part.end)) for part in parts]
    return concatenated(chosen, config.path)


def _named(spec: str) -> list[str]:
    """Return the names of the splits in a specification such as `train[:80%]+validation`."""
    return [part.split("[")[0].strip() for part in spec.split("+")]


def _parts(tables: Mapping[str, Rows], spec: str, role: str, config: DatasetConfig) -> list[_Part]:
    from datasets import ReadInstruction

    lengths = {name: len(table) for name, table in tables.items()}
    for name in _named(spec):
        if name not in tables:
            names = ", ".join(tables)
            raise DataError(
                f'{config.path} has no split "{name}" (it has: {names}){did_you_mean(name, list(tables)) or "."} '
                f"Set dataset.{role}_split"
            )
    try:
        parts = ReadInstruction.from_spec(spec).to_absolute(lengths)
    except (ValueError, AssertionError) as error:
        raise DataError(f'dataset.{role}_split: "{spec}" is not a slice of a split: {error}') from error
    return [
        _Part(part.splitname, part.from_ or 0, lengths[part.splitname] if part.to is None else int(part.to))
        for part in parts
    ]


def _reason(config: DatasetConfig, error: Exception) -> str:
    """Return the reason why the data cannot be opened, in one line."""
    cause = error.__cause__ or error.__context__ or error
    text = " ".join(str(error).split())
    if "scripts are no longer supported" in text:
        return (
            f"{config.path} needs a loading script, which the datasets library no longer runs; use its parquet branch: "
            'dataset.args {"revision": "refs/convert/parquet"}, or another copy of the data'
        )
    if isinstance(error, UnicodeDecodeError) or isinstance(cause, UnicodeDecodeError):
        return f'{config.path} is not UTF-8; set its encoding, for example dataset.args {{"encoding": "latin-1"}}'
    if type(error).__name__ == "DatasetNotFoundError" or isinstance(error, ConnectionError):
        return f"{config.path} is neither a local file or folder nor a data set on the Hub: {text[:300]}"
    if "corresponds to no data" in text:
        return f"{config.path} is empty: it has no rows"
    detail = " ".join(str(cause).split()) or type(cause).__name__
    return f"{config.path} cannot be opened: {detail[:400]}"
