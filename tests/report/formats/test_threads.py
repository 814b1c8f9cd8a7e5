"""Runs with different numbers of CPU threads: every format has a note, and only then."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from sft.config.reading.load import Grid
from sft.config.sections.schema import ExperimentConfig
from sft.report.comparison import Built
from sft.report.formats.text import render_text
from sft.report.rows import compare
from sft.report.write import NAMES, write_report
from sft.results.schema import RunResult
from sft.results.store import ResultStore
from sft.sweep.planning.jobs import config_of, make_plan, write_plan

NOTE = "Runs used different numbers of threads, so their figures can differ in the last digits"
WHICH = "1 thread: shots=4 seed=14; 2 threads: shots=0, shots=4 seed=13"


def report(root: Path, threads: Sequence[int | None]) -> dict[str, str]:
    """Return the report of three runs with these numbers of threads, by format, including the terminal."""
    section = {
        "model": {"name": "hub/model"}, "prompting": {"input_columns": ["text"], "output_column": "label"},
        "lora": {}, "training": {}, "inference": {},
    }  # fmt: skip
    configs = {
        f"shots={shots}": ExperimentConfig.model_validate(
            {**section, "dataset": {"path": "hub/data", "task_type": "classification", "shots": shots}}
        )
        for shots in (0, 4)
    }
    plan, store = make_plan(Grid(Path("grid.jsonnet"), configs, (13, 14)), None), ResultStore(root)
    write_plan(plan, store)
    for one, number in zip(plan.experiments, threads, strict=True):
        store.folder(one.id, one.slug).write_result(
            RunResult(
                name=one.name, id=one.id, recipe_id=one.recipe_id, seed=one.seed, endpoint="run-experiment",
                config=config_of(one), results={"accuracy": 0.5}, shots={}, labelled_examples=0, training={},
                timings={}, resources={} if number is None else {"threads": number}, environment={}, data={},
            )
        )  # fmt: skip
    comparison = compare(store)
    written = write_report(Built(comparison, {}))
    files = {file.name: file.read_text(encoding="utf-8") for file in written}
    return {**{kind: files[name] for kind, name in NAMES.items()}, "text": render_text(comparison)}


def test_every_format_names_runs_that_differ_in_threads(tmp_path: Path) -> None:
    found = report(tmp_path, (2, 2, 1))
    for kind in ("text", "md", "html", "tex"):
        plain = found[kind].replace("\\_", "_").replace("{=}", "=").replace("\\=", "=")
        assert NOTE in plain, kind
        assert WHICH in plain, kind
    assert json.loads(found["json"])["threads"] == [1, 2]
    rows = list(csv.DictReader(found["csv"].splitlines()))
    assert [row["threads"] for row in rows] == ["2", "1 or 2"]


@pytest.mark.parametrize("threads", [(2, 2, 2), (None, None, None), (4, None, 4)])
def test_there_is_no_note_if_threads_do_not_differ(tmp_path: Path, threads: Sequence[int | None]) -> None:
    found = report(tmp_path, threads)
    assert not any("numbers of threads" in text for text in found.values())
    assert "threads" not in found["csv"].splitlines()[0].split(",")
    assert json.loads(found["json"])["threads"] == sorted({number for number in threads if number})
