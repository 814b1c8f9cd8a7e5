"""Run pages as JSON within a budget: values that many pages share are stored once, and if the pages are still too
large, all of them are shortened step by step.

The keys of a record are those of `sft.report.page.details`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from sft.io import canonical_json
from sft.report.read.inspection import cut

BUDGET = 10_000_000  # bytes of all records
SHARED = ("config", "environment", "labels", "diff", "resources", "subject")

# Characters that can start or end a script element, and those that older JavaScript takes for line ends.
_ESCAPES = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"})

Record = dict[str, Any]


def script_json(value: Any) -> str:
    """Return JSON for use between `<script>` and `</script>`: no text in it can end the element or start another."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).translate(_ESCAPES)


class Records(NamedTuple):
    """The JSON of each run's record by its id, and the shared values, which records refer to by index."""

    texts: dict[str, str]
    shared: dict[str, list[Any]]


class _Step(NamedTuple):
    """A step of shortening: what it leaves out, in words, and the function that returns the shortened record."""

    words: str
    of: Callable[[Record], Record]


def shortened(records: Mapping[str, Mapping[str, Any]], budget: int = BUDGET) -> tuple[Records, list[str]]:
    """Return the records as JSON within the budget, and in words what was left out of all of them.

    Args:
        records: by the run's id.
        budget: in bytes. If the last step still exceeds it, the shortest form is returned.
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
    indices: dict[str, dict[str, int]] = {name: {} for name in SHARED}
    shared: dict[str, list[Any]] = {name: [] for name in SHARED}
    pages: dict[str, Record] = {}
    for run_id, record in records.items():
        page = dict(record)
        for name in SHARED:
            if name in page:
                key = canonical_json(page[name])
                if key not in indices[name]:
                    indices[name][key] = len(shared[name])
                    shared[name].append(page[name])
                page[name] = indices[name][key]
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
    return {**page, "loss": {name: _thinned(points) for name, points in page["loss"].items()}}


def _thinned(points: list[Any], most: int = 30) -> list[Any]:
    """Return evenly spaced points, including the first and the last."""
    last = len(points) - 1
    return points if last < most else [points[round(index * last / (most - 1))] for index in range(most)]


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
