"""`report.html`: the whole comparison as one file that fetches nothing, with a page for each run.

The template writes the table, so the table can be read and printed without scripts. The scripts of this folder sort and
filter it, draw the figures, and show a run's page when it is opened. All text is escaped by the template, or is in JSON
that the scripts insert only as text. The content security policy allows no other script and no network access.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from sft.log import plain
from sft.report.comparison import Comparison
from sft.report.figures import THEMES, Figure, confusion, loss_curve, per_label, reliability
from sft.report.figures import bundle as figure_bundle
from sft.report.formats.notes import notes
from sft.report.formats.subject import subject
from sft.report.formats.table import interval
from sft.report.formats.verdict import verdict
from sft.report.metrics import number, title
from sft.report.page.cells import NO_INTERVAL, view_of
from sft.report.page.details import log_lines
from sft.report.page.shortened import script_json, shortened
from sft.report.read.runs import Run
from sft.results.states import in_words
from sft.secrets import redact_text

PAGE = Path(__file__).parent
SCRIPTS = ("elements", "address", "theme", "table", "charts", "prompts", "run", "main")
MOST_FAILURES = 100  # failed runs that the first page shows with reason and log


def render_html(comparison: Comparison, figures: Sequence[Figure], details: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the page.

    Args:
        comparison: with its significance, if it was computed.
        figures: in the order in which they are shown.
        details: the record of each run's page by the run's id (`sft.report.page.details.detail_of`); a run without a
            record has no page.
    """
    records, left_out = shortened(_pages(comparison, details))
    begin, main = _script("begin"), "\n".join(_script(name) for name in SCRIPTS)
    bundle = f'{_without_end_tags(figure_bundle())}\n;dispatchEvent(new Event("figures-ready"));'
    return _template().render(
        **_texts(comparison, details),
        view=view_of(comparison),
        groups=_groups(figures),
        paged=frozenset(details),
        style=(PAGE / "report.css").read_text(encoding="utf-8"),
        begin=begin,
        main=main,
        bundle=bundle,
        policy=content_policy([begin, main, bundle]),
        shared=script_json({**records.shared, **_shared(comparison)}),
        drawings=script_json([figure.spec for figure in figures]),
        captions=script_json([[figure.title, figure.caption] for figure in figures]),
        details=records.texts,
        left_out=left_out,
    )


def content_policy(scripts: Sequence[str]) -> str:
    """Return the content security policy: only these scripts, no event handlers, no network, no `eval`.

    Inline styles are allowed, since drawings contain them; data images, since figures are saved through them.
    """
    hashes = [base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode() for script in scripts]
    sources = " ".join(f"'sha256-{digest}'" for digest in hashes)
    parts = (
        "default-src 'none'",
        f"script-src {sources}",
        "style-src 'unsafe-inline'",
        "img-src data: blob:",
        "base-uri 'none'",
        "form-action 'none'",
    )
    return "; ".join(parts)


def _script(name: str) -> str:
    return (PAGE / f"{name}.js").read_text(encoding="utf-8")


def _without_end_tags(script: str) -> str:
    """Return a script without anything that ends it early in HTML, or that HTML changes, which would break its hash."""
    for tag in ("</script", "</SCRIPT", "<!--", "<script"):
        script = script.replace(tag, f"\\x3c{tag[1:]}")
    return script.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\\0")


@cache
def _template() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(PAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("report.html.j2")


def _pages(comparison: Comparison, details: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the records in the order of the table, with the run's folder, subject, and intervals over test rows."""
    pages = {}
    for run in (run for row in comparison.rows for run in row.runs if run.id in details):
        page = {**details[run.id], "folder": run.path_from(comparison.folder)}
        if run.result is not None:
            page["subject"] = [plain(line) for line in subject(replace(comparison, runs=(run,)))]
        if "metrics" in page:
            page["metrics"] = [_metric(comparison, run.id, *metric) for metric in page["metrics"]]
        pages[run.id] = page
    return pages


def _metric(comparison: Comparison, run_id: str, key: str, test: float | None, validation: float | None) -> list[str]:
    """Return name, value, interval and value on the validation split, as they are shown."""
    found = comparison.significance.runs.get((run_id, key))
    ends = NO_INTERVAL.get(key, "") if found is None else interval(found, key)
    return [plain(title(key)), number(test, key), ends, "" if validation is None else number(validation, key)]


def _shared(comparison: Comparison) -> dict[str, Any]:
    """Return what all run pages share: the method of the intervals, the themes, and the templates of figures."""
    intervals = dict.fromkeys(plain(interval.method) for interval in comparison.significance.runs.values())
    templates = {"loss": loss_curve(), "confusion": confusion(), "reliability": reliability(), "labels": per_label()}
    return {"intervals": " / ".join(intervals), "themes": THEMES, "templates": templates}


# --- Texts ---


def _texts(comparison: Comparison, details: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    done = sum(run.result is not None for run in comparison.runs)
    failed = [run for run in comparison.unfinished if run.state != "missing"]
    missing = len(comparison.unfinished) - len(failed)
    counts = [
        _count(len(comparison.rows), "configuration"),
        f"{done:,} of {_count(len(comparison.runs), 'experiment')} done",
    ]
    counts += [f"{len(failed)} without a result"] if failed else []
    counts += [f"{missing} not run yet"] if missing else []
    counts += [f"all under the calibration {plain(comparison.calibration)}"] if comparison.calibration else []
    tested = bool(comparison.significance.rows)
    return {
        "subject": [plain(line) for line in subject(comparison)],
        "folder": plain(comparison.folder.resolve().name),
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "counts": counts,
        "verdict": verdict(comparison),
        "tested": tested,
        "methods": [plain(sentence) for sentence in comparison.significance.methods],
        "notes": [plain(note) for note in notes(comparison, "In bold: the", "=")],
        "failures": [_failure(comparison, run, details) for run in failed[:MOST_FAILURES]],
        "more_failures": max(0, len(failed) - MOST_FAILURES),
        "missing": missing,
    }


def _groups(figures: Sequence[Figure]) -> list[list[tuple[int, Figure]]]:
    """Group figures by kind, each with its index. The page shows one figure of a kind at a time."""
    groups: dict[str, list[tuple[int, Figure]]] = {}
    for index, figure in enumerate(figures):
        groups.setdefault(figure.name.partition("-")[0], []).append((index, figure))
    return list(groups.values())


def _count(number_: int, what: str) -> str:
    return f"1 {what}" if number_ == 1 else f"{number_:,} {what}s"


def _failure(comparison: Comparison, run: Run, details: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "id": run.id,
        "name": plain(run.name),
        "state": in_words(run.state),
        "error": redact_text(plain(run.error)),
        "tail": "\n".join(details[run.id].get("log", ()) if run.id in details else log_lines(run)),
        "log": f"{run.path_from(comparison.folder)}/log.txt" if run.folder.log_file.exists() else "",
    }
