"""Labelled rows that a model was trained on: read from, and written to, the record in the model's folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sft.config.sections.model import ModelConfig
from sft.model.sealed import read_record


@dataclass(frozen=True)
class TrainingRecord:
    """The content of `sft.json` in the folder of an adapter or a model.

    Args:
        run: id of the run that trained it.
        labelled_examples: number of labelled rows that the training used, as targets or as examples.
        trained_on: number of rows that were targets.
        train_key: key of the train split (see `sft.dataset.task.train_key`).
        rows: row numbers in that split.
        earlier: records of earlier training, for a fully fine-tuned model.
    """

    run: str
    labelled_examples: int
    trained_on: int
    train_key: str
    rows: tuple[int, ...]
    earlier: tuple[TrainingRecord, ...] = ()

    @staticmethod
    def of(record: Mapping[str, Any] | None) -> TrainingRecord | None:
        """Parse a record as read from its file; None if it has another format."""
        if record is None:
            return None
        try:
            numbers = tuple(int(row) for row in record["rows"])
            counts = int(record["labelled_examples"]), int(record["trained_on"])
            earlier = tuple(one for each in record.get("earlier", ()) if (one := TrainingRecord.of(each)) is not None)
            return TrainingRecord(str(record["run"]), *counts, str(record["train_key"]), numbers, earlier)
        except (KeyError, TypeError, ValueError):
            return None

    @staticmethod
    def in_folder(folder: str | Path) -> TrainingRecord | None:
        """Return the record in a folder; None if it has none."""
        return TrainingRecord.of(read_record(folder))

    def as_dict(self) -> dict[str, Any]:
        """Return the record in the form in which it is written."""
        values = {**vars(self), "rows": list(self.rows)}
        earlier = [record.as_dict() for record in values.pop("earlier")]
        return {**values, "earlier": earlier} if earlier else values

    def all(self) -> tuple[TrainingRecord, ...]:
        """Return this record and all earlier ones."""
        return (self, *(record for before in self.earlier for record in before.all()))


def of_base(config: ModelConfig) -> tuple[TrainingRecord, ...]:
    """Return the records of the base, if it was fully fine-tuned by this tool; else nothing."""
    record = TrainingRecord.in_folder(config.name)
    return () if record is None else record.all()


def rows_by_key(records: Iterable[TrainingRecord]) -> dict[str, frozenset[int]]:
    """Return the rows of each train split by its key. Row numbers of different splits are unrelated."""
    rows: dict[str, frozenset[int]] = {}
    for record in records:
        rows[record.train_key] = rows.get(record.train_key, frozenset()).union(record.rows)
    return rows


def count_rows(records: Iterable[TrainingRecord]) -> int:
    """Return the number of labelled rows in the records, each counted once."""
    return sum(map(len, rows_by_key(records).values()))
