"""Write the report's files: `aggregated_results.json`, `.md`, `.csv` and `.tex`, and `report.html`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from sft.errors import UserError, did_you_mean
from sft.io import json_line, write_atomic
from sft.report.comparison import Built, Comparison, Row
from sft.report.formats.markdown import render_markdown
from sft.report.formats.subject import subject
from sft.report.formats.values import values_of
from sft.report.read.copies import Copy
from sft.report.read.failures import log_tail
from sft.report.read.finished import Finished
from sft.report.read.runs import Run, relative_path
from sft.report.read.taken import Taken

REPORT_VERSION = 3
NAMES = {
    "html": "report.html",
    "md": "aggregated_results.md",
    "json": "aggregated_results.json",
    "csv": "aggregated_results.csv",
    "tex": "aggregated_results.tex",
}


def formats_of(text: str | None) -> tuple[str, ...]:
    """Return the formats of `--format md,html`; None: all.

    Raises:
        UserError: an unknown format.
    """
    if text is None:
        return tuple(NAMES)
    formats = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in formats:
        if name not in NAMES:
            raise UserError(f'--format: expected {", ".join(NAMES)}, got "{name}"{did_you_mean(name, list(NAMES))}')
    return formats


def write_report(built: Built, formats: Sequence[str] = tuple(NAMES)) -> list[Path]:
    """Write the files into the comparison's folder, each atomically. Return their paths.

    Raises:
        WriteError: a file cannot be written.
    """
    folder = built.comparison.folder
    written = []
    for name in NAMES:  # the file that people open first comes first
        if name in formats:
            write_atomic(folder / NAMES[name], _rendered(built, name))
            written.append(folder / NAMES[name])
    return written


def _rendered(built: Built, name: str) -> str | bytes:
    comparison = built.comparison
    if name == "json":
        text = BytesIO()
        text.writelines(_lines(comparison))
        return text.getvalue()
    if name == "md":
        return render_markdown(comparison)
    if name == "csv":
        from sft.report.formats.spreadsheet import render_csv

        return render_csv(comparison)
    if name == "tex":
        from sft.report.formats.latex import render_latex

        return render_latex(comparison)
    from sft.report.figures import figures_of
    from sft.report.page.html import render_html

    return render_html(comparison, figures_of(comparison), built.details)


def _lines(comparison: Comparison) -> Iterator[bytes]:
    """Yield the comparison as versioned JSON: one record per configuration and one per run, each on its own line.

    It is written in pieces, since the JSON of ten thousand runs would take more memory than everything else.
    """
    head = {
        "schema_version": REPORT_VERSION,
        "varying": [{"key": setting.key, "name": setting.name} for setting in comparison.settings],
        "subject": subject(comparison),
        "where": list(comparison.where),
        "leading_metric": comparison.metrics[0] if comparison.metrics else None,
        "grouped_by": list(comparison.grouped),
        "calibration": comparison.calibration,
        "chosen_on": comparison.chosen_on,
        "same_rows_judged": comparison.comparable,  # words: fixed name
        "threads": list(comparison.threads),
        "methods": list(comparison.significance.methods),
        "copies": [_copied(comparison, one) for one in comparison.copies],
        "earlier_content": [{"name": one.name, "id": one.id} for one in comparison.earlier],
    }
    yield json_line(head).removesuffix(b"}")
    yield b',\n"rows": '
    yield from _array(json_line(_row(comparison, index, row)) for index, row in enumerate(comparison.rows))
    yield b',\n"runs": '
    yield from _array(_run(comparison, run) for run in comparison.runs)
    yield b"}\n"


def _copied(comparison: Comparison, one: Copy) -> dict[str, Any]:
    return {
        "name": one.name,
        "id": one.id,
        "counted": relative_path(comparison.folder, one.counted),
        "not_counted": relative_path(comparison.folder, one.left_out),
        "same_results": one.same,
        "differences": {key: [mine, theirs] for key, mine, theirs in one.differences},
    }


def _array(records: Iterator[bytes]) -> Iterator[bytes]:
    before = b"[\n"
    for record in records:
        yield before
        yield record
        before = b",\n"
    yield b"\n]"


def _row(comparison: Comparison, index: int, row: Row) -> dict[str, Any]:
    baseline = comparison.baseline_of(index)
    return {
        "name": row.name,
        "recipe_id": row.runs[0].recipe_id if not comparison.grouped else None,
        "settings": {setting.key: setting.values[index] for setting in comparison.settings},
        "labelled_examples": sorted(set(row.labelled)),
        "taken": {key: _taken(one) for key, one in row.taken.items()},
        "seeds": [run.seed for run in row.runs],
        "runs": [run.id for run in row.runs],
        "finished": row.finished,
        "baseline": None if baseline is None else comparison.rows[baseline].name,
        "baseline_recipe_id": None if baseline is None else comparison.rows[baseline].runs[0].recipe_id,
        "metrics": {key: _metric(comparison, index, key) for key in row.metrics()},
        "validation": {key: _estimate(row, key, "validation") for key in row.metrics("validation")},
    }


def _taken(one: Taken) -> dict[str, int]:
    """Return the number of labelled rows requested and used, per label or per prompt."""
    return {"asked": one.asked * one.labels, "fewest": one.fewest, "most": one.most}


def _metric(comparison: Comparison, index: int, metric: str) -> dict[str, Any]:
    """Return the values of a metric. Those of `these_models` and `to_best` are objects."""
    found = values_of(comparison, index, metric)
    for group in ("these_models", "to_best"):
        inside = {name: found.pop(name) for name in list(found) if name.startswith(f"{group}_")}
        known = any(value is not None for value in inside.values())
        found[group] = {name.removeprefix(f"{group}_"): value for name, value in inside.items()} if known else None
    return found


def _estimate(row: Row, metric: str, split: str) -> dict[str, Any]:
    found = row.estimate(metric, split)
    return {} if found is None else found._asdict()


def _run(comparison: Comparison, run: Run) -> bytes:
    """Return the record of a run, followed by its stored result or else the end of its log."""
    known = {
        "name": run.name,
        "id": run.id,
        "recipe_id": run.recipe_id,
        "seed": run.seed,
        "folder": run.path_from(comparison.folder),
        "state": run.state,
        "error": run.error,
    }
    if run.result is None:
        return json_line({**known, "log_tail": log_tail(run.folder)})
    found = {key: comparison.significance.runs.get((run.id, key)) for key in run.metrics()}
    intervals = {
        key: {"ci_low": one.low, "ci_high": one.high, "ci_method": one.method}
        for key, one in found.items()
        if one is not None
    }
    record = json_line({**known, "intervals_over_rows": intervals})
    more = run.result.record if comparison.calibration is None else _recalibrated(run.result)
    return record.removesuffix(b"}") + b", " + more.removeprefix(b"{")


def _recalibrated(result: Finished) -> bytes:
    """Return the record with the metrics under the report's calibration, and the run's own as `results_as_ran`."""
    record = json.loads(result.record)
    shown = {**result.metrics.get("test", {}), "validation": dict(result.metrics.get("validation", {}))}
    return json.dumps({**record, "results": shown, "results_as_ran": record["results"]}, ensure_ascii=False).encode()
