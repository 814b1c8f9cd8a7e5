"""Run pages as JSON that fits: what many share is kept once, and beyond a budget all of them get shorter, step by step.

Knows nothing of HTML, and of runs only the names of a record's parts (see `sft.report.page.details`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from sft.io import canonical_json
from sft.report.read.finished import evenly
from sft.report.read.inspection import cut

BUDGET = 10_000_000  # bytes of all records
SHARED = ("config", "environment", "labels", "diff", "resources", "subject")

# What a script in text or data would need to begin or to end one, and what older scripts take for the end of a line.
_ESCAPES = str.maketrans({sign: f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"})

Record = dict[str, Any]


def script_json(value: Any) -> str:
    """JSON that can stand in a page between `<script>` and `</script>`: no text in it ends that, or begins another."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).translate(_ESCAPES)


class Records(NamedTuple):
    """JSON of each run's record by its id; and the parts that are kept once: there records hold places in these."""

    texts: dict[str, str]
    shared: dict[str, list[Any]]


class _Step(NamedTuple):
    """A way to shorten: what is left out then, in words, and the record without it."""

    words: str
    of: Callable[[Record], Record]


def shortened(records: Mapping[str, Mapping[str, Any]], budget: int = BUDGET) -> tuple[Records, list[str]]:
    """The records as JSON for a page, within the budget, and in words what had to be left out of all of them.

    Args:
        records: by the run's id.
        budget: in bytes; where not even the last step keeps it, the shortest form is given all the same.
    """
    pages, shared = _with_shared(records)
    texts = _texts(pages)
    left_out: list[str] = []
    for step in _STEPS:
        if _size(texts, shared) <= budget:
            break
        pages = {run_id: step.of(page) for run_id, page in pages.items()}
        texts = _texts(pages)
        left_out.append(step.words)
    return Records(texts, shared), left_out


def _with_shared(records: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, Record], dict[str, list[Any]]]:
    places: dict[str, dict[str, int]] = {name: {} for name in SHARED}
    shared: dict[str, list[Any]] = {name: [] for name in SHARED}
    pages: dict[str, Record] = {}
    for run_id, record in records.items():
        page = dict(record)
        for name in SHARED:
            if name in page:
                key = canonical_json(page[name])
                if key not in places[name]:
                    places[name][key] = len(shared[name])
                    shared[name].append(page[name])
                page[name] = places[name][key]
        pages[run_id] = page
    return pages, shared


def _texts(pages: Mapping[str, Record]) -> dict[str, str]:
    return {run_id: script_json(page) for run_id, page in pages.items()}


def _size(texts: Mapping[str, str], shared: Mapping[str, list[Any]]) -> int:
    return sum(len(text.encode()) for text in (*texts.values(), script_json(shared)))


def _fewer_errors(page: Record) -> Record:
    if "errors" not in page:
        return page
    errors = [{**one, "inputs": [[name, cut(text, 160)] for name, text in one["inputs"]]} for one in page["errors"][:5]]
    return {**page, "errors": errors}


def _shorter_prompts(page: Record) -> Record:
    if "prompts" not in page:
        return page
    prompts = [
        {**one, "pieces": [[kind, trained, cut(text, 160)] for kind, trained, text in one["pieces"]]}
        for one in page["prompts"][:1]
    ]
    return {**page, "prompts": prompts}


def _coarser_curves(page: Record) -> Record:
    if "loss" not in page:
        return page
    return {**page, "loss": {name: evenly(points, 30) for name, points in page["loss"].items()}}


def _without(*names: str) -> Callable[[Record], Record]:
    return lambda page: {key: value for key, value in page.items() if key not in names}


def _short_log(page: Record) -> Record:
    return {**page, "log": page["log"][-3:]} if "log" in page else page


_STEPS = (
    _Step("all but five of the errors and the ends of long texts", _fewer_errors),
    _Step("the second prompt and the ends of long ones", _shorter_prompts),
    _Step("points of the loss curves", _coarser_curves),
    _Step("all but three lines of the logs", _short_log),
    _Step("errors and prompts", _without("errors", "prompts")),
    _Step("confusions, labels' scores and reliability", _without("confusion", "per_label", "reliability")),
    _Step("loss curves, logs and timings", _without("loss", "log", "timings")),
)
