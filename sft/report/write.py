"""Write the report's files into a results folder: `aggregated_results.json` and `aggregated_results.md`."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from sft.io import json_line, write_atomic
from sft.report.failures import log_tail
from sft.report.markdown import render_markdown
from sft.report.rows import Comparison, Row
from sft.report.runs import Run
from sft.results.store import ResultStore

REPORT_VERSION = 1


class ReportFiles(NamedTuple):
    """Where the report is written."""

    json: Path
    markdown: Path


def report_files(store: ResultStore) -> ReportFiles:
    """Where the report of a results folder lies."""
    return ReportFiles(store.root / "aggregated_results.json", store.root / "aggregated_results.md")


def write_report(store: ResultStore, comparison: Comparison) -> ReportFiles:
    """Write both files atomically.

    Raises:
        WriteError: one cannot be written.
    """
    files = report_files(store)
    text = BytesIO()
    text.writelines(_lines(comparison))
    write_atomic(files.json, text.getvalue())
    write_atomic(files.markdown, render_markdown(comparison))
    return files


def _lines(comparison: Comparison) -> Iterator[bytes]:
    """The comparison as tidy, versioned JSON: one record per configuration and one per run, each on its own line.

    Written piece by piece: of ten thousand runs the whole would take more memory than all else.
    """
    head = {
        "schema_version": REPORT_VERSION,
        "varying": [{"key": setting.key, "name": setting.name} for setting in comparison.settings],
        "chosen_on": comparison.chosen_on,
        "same_rows_judged": comparison.comparable,
        "earlier_content": [{"name": one.name, "id": one.id} for one in comparison.earlier],
    }
    yield json_line(head).removesuffix(b"}")
    yield b',\n"rows": '
    yield from _array(json_line(_row(comparison, index, row)) for index, row in enumerate(comparison.rows))
    yield b',\n"runs": '
    yield from _array(map(_run, comparison.runs))
    yield b"}\n"


def _array(records: Iterator[bytes]) -> Iterator[bytes]:
    before = b"[\n"
    for record in records:
        yield before
        yield record
        before = b",\n"
    yield b"\n]"


def _row(comparison: Comparison, index: int, row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "recipe_id": row.runs[0].recipe_id,
        "settings": {setting.key: setting.values[index] for setting in comparison.settings},
        "labelled_examples": sorted(set(row.labelled)),
        "seeds": [run.seed for run in row.runs],
        "runs": [run.id for run in row.runs],
        "finished": row.finished,
        "metrics": {
            key: {**_estimate(row, key, "test"), "best": index in comparison.best.get(key, ())} for key in row.metrics()
        },
        "validation": {key: _estimate(row, key, "validation") for key in row.metrics("validation")},
    }


def _estimate(row: Row, metric: str, split: str) -> dict[str, Any]:
    found = row.estimate(metric, split)
    return {} if found is None else found._asdict()


def _run(run: Run) -> bytes:
    """What is known of a run, and after it what was kept of its result, or else the end of its log."""
    record = json_line(
        {
            "name": run.name,
            "id": run.id,
            "recipe_id": run.recipe_id,
            "seed": run.seed,
            "folder": f"runs/{run.folder.path.name}",
            "state": run.state,
            "error": run.error,
        }
    )
    more = json_line({"log_tail": log_tail(run.folder)}) if run.result is None else run.result.record
    return record.removesuffix(b"}") + b", " + more.removeprefix(b"{")
