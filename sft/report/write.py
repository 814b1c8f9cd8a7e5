"""Write the report's files into a results folder: `aggregated_results.json` and `aggregated_results.md`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from sft.io import write_atomic, write_json
from sft.report.markdown import render_markdown
from sft.report.rows import Comparison, Row
from sft.report.runs import Run
from sft.results.store import ResultStore

REPORT_VERSION = 1


class ReportFiles(NamedTuple):
    """Where the report was written."""

    json: Path
    markdown: Path


def write_report(store: ResultStore, comparison: Comparison) -> ReportFiles:
    """Write both files atomically."""
    files = ReportFiles(store.root / "aggregated_results.json", store.root / "aggregated_results.md")
    write_json(files.json, as_json(comparison))
    write_atomic(files.markdown, render_markdown(comparison))
    return files


def as_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison as tidy, versioned JSON: one record per run, one per configuration."""
    return {
        "schema_version": REPORT_VERSION,
        "varying": [{"key": setting.key, "name": setting.name} for setting in comparison.settings],
        "chosen_on": comparison.chosen_on,
        "same_rows_judged": comparison.comparable,
        "rows": [_row(comparison, index, row) for index, row in enumerate(comparison.rows)],
        "runs": [_run(run) for run in comparison.runs],
    }


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
            key: {"mean": value.mean, "std": value.std, "n": value.n, "best": index in comparison.best.get(key, ())}
            for key, value in row.metrics.items()
        },
        "validation": {key: {"mean": v.mean, "std": v.std, "n": v.n} for key, v in row.validation.items()},
    }


def _run(run: Run) -> dict[str, Any]:
    record: dict[str, Any] = {
        "name": run.name,
        "id": run.id,
        "recipe_id": run.recipe_id,
        "seed": run.seed,
        "folder": f"runs/{run.folder.path.name}",
        "state": run.state,
        "error": run.error,
    }
    if run.result is not None:
        record |= {
            "labelled_examples": run.result.labelled_examples,
            "results": run.result.results,
            "shots": run.result.shots,
            "timings": run.result.timings,
            "resources": run.result.resources,
        }
    return record
