"""Which labelled rows a model that was trained before has seen: read from what lies beside it, written beside ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sft.config.sections.model import ModelConfig
from sft.model.sealed import read_record


@dataclass(frozen=True)
class TrainingRecord:
    """What `sft.json` beside an adapter or a model says.

    Args:
        run: id of the run that trained it.
        labelled_examples: labelled rows that its training used, trained on or shown.
        trained_on: how many of them were trained on.
        train_key: of the rows that they were taken from (see `sft.dataset.task.train_key`).
        rows: their numbers there.
        earlier: of a whole model: what it had been trained on before that.
    """

    run: str
    labelled_examples: int
    trained_on: int
    train_key: str
    rows: tuple[int, ...]
    earlier: tuple[TrainingRecord, ...] = ()

    @staticmethod
    def of(record: Mapping[str, Any] | None) -> TrainingRecord | None:
        """The record as read from its file; None where it is not one of ours."""
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
    def beside(folder: str | Path) -> TrainingRecord | None:
        """The record in a folder; None where none of ours lies there."""
        return TrainingRecord.of(read_record(folder))

    def as_dict(self) -> dict[str, Any]:
        """As it is written."""
        said = {**vars(self), "rows": list(self.rows)}
        earlier = [one.as_dict() for one in said.pop("earlier")]
        return {**said, "earlier": earlier} if earlier else said

    def all(self) -> tuple[TrainingRecord, ...]:
        """This one and those before it."""
        return (self, *(one for before in self.earlier for one in before.all()))


def of_base(config: ModelConfig) -> tuple[TrainingRecord, ...]:
    """What the base was trained on, where it is a model that was trained whole here; else nothing."""
    record = TrainingRecord.beside(config.name)
    return () if record is None else record.all()


def rows_by_key(records: Iterable[TrainingRecord]) -> dict[str, frozenset[int]]:
    """The rows of each train split: those of different ones have nothing in common."""
    found: dict[str, frozenset[int]] = {}
    for record in records:
        found[record.train_key] = found.get(record.train_key, frozenset()).union(record.rows)
    return found


def count_rows(records: Iterable[TrainingRecord]) -> int:
    """How many labelled rows that is, each counted once."""
    return sum(map(len, rows_by_key(records).values()))
