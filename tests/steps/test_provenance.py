"""Records of the labelled rows that a model was trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sft.config.sections.model import ModelConfig
from sft.steps.provenance import TrainingRecord, count_rows, of_base, rows_by_key

FIRST = TrainingRecord("a", 3, 2, "k", (1, 2, 3))
SECOND = TrainingRecord("b", 2, 2, "k", (3, 4), (FIRST,))
OTHER = TrainingRecord("c", 2, 2, "other", (1, 2))


def test_a_record_comes_back_as_it_was_written() -> None:
    for record in (FIRST, SECOND, OTHER):
        assert TrainingRecord.of(json.loads(json.dumps(record.as_dict()))) == record
    assert "earlier" not in FIRST.as_dict()


@pytest.mark.parametrize("record", [None, {}, {"run": "a"}, {**FIRST.as_dict(), "rows": ["x"]}, {"files": {}}])
def test_other_records_are_ignored(record: Any) -> None:
    assert TrainingRecord.of(record) is None


def test_a_row_counts_once_and_rows_of_other_data_are_others() -> None:
    assert SECOND.all() == (SECOND, FIRST)
    assert rows_by_key((*SECOND.all(), OTHER)) == {"k": {1, 2, 3, 4}, "other": {1, 2}}
    assert count_rows((*SECOND.all(), OTHER)) == 6 and count_rows(()) == 0


def test_a_base_from_another_source_has_no_record(tmp_path: Path) -> None:
    assert of_base(ModelConfig(name="org/model")) == of_base(ModelConfig(name=str(tmp_path))) == ()
    (tmp_path / "sft.json").write_text(json.dumps({**SECOND.as_dict(), "files": {}}))
    assert of_base(ModelConfig(name=str(tmp_path))) == (SECOND, FIRST)
