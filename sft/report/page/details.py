"""The record of a run's page: configuration, prompts, loss, log, and summaries of its answers.

A report may hold a thousand records, so their size is bounded: it does not depend on the number of evaluated rows.
`sft.report.page.html` adds the intervals of the metrics.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from sft.errors import UserError
from sft.io import finite, parse_json, read_regular
from sft.log import plain
from sft.report.figures.loss import HELD_OUT, TRAINING
from sft.report.read.answers import Answers
from sft.report.read.difference import VALUE_CHARACTERS, Shared, config_difference
from sft.report.read.failures import TAIL_LINES, log_tail
from sft.report.read.inspection import cut, inspect, rounded
from sft.report.read.runs import Run
from sft.results.states import in_words
from sft.results.store import RunFolder
from sft.secrets import redact_text

LINE_CHARACTERS = 300  # of a line of the log
RESULT_LINES = 80  # longest result that a run prints at the end of its log
QUIET_LINES = 5  # lines shown of the log of a run without problems
PIECE_CHARACTERS = 700  # of a piece of a prompt
PROMPT_PIECES = 24
_TIMES = ("timings", "resources")
_LOSSES = {"loss": TRAINING, "validation": HELD_OUT}


def detail_of(run: Run, answers: Answers | None, baseline: Run | None, shared: Shared | None = None) -> dict[str, Any]:
    """Return the record of a run's page: a few kilobytes of JSON.

    Args:
        run: a run of the report.
        answers: its answers on the test split; None if it has none.
        baseline: the run that its configuration is compared with; None for no comparison.
        shared: values that the pages of the report share.

    Returns:
        id, name, seed (absent for a deterministic run), state (in words), error, folder, labelled, metrics
        `[[key, test, validation]]`, config, diff `[[key, baseline's value, this run's value]]` and baseline (its name),
        prompts, loss `{rows: [[step, loss]]}`, timings, resources, environment, log, and the keys of
        `sft.report.read.inspection.inspect`. Parts that the run does not have are absent.
    """
    shared = shared or Shared()
    found = {
        "id": run.id,
        "name": plain(run.name),
        "seed": None if run.is_fixed else run.seed,
        "state": in_words(run.state),
        "error": redact_text(plain(run.error))[:VALUE_CHARACTERS],
        "folder": plain(shared.folder(run)),
        "config": shared.config(run.config),
        "prompts": _prompts(run.folder),
        "log": log_lines(run),
        **_difference(run, baseline, shared),
        **_of_result(run),
        **({} if answers is None else inspect(answers, run)),
    }
    return {key: value for key, value in finite(found).items() if value not in (None, "", [], {})}


def _difference(run: Run, baseline: Run | None, shared: Shared) -> dict[str, Any]:
    if baseline is None:
        return {}
    return {"baseline": plain(baseline.name), "diff": config_difference(baseline.config, run.config, shared)}


def _of_result(run: Run) -> dict[str, Any]:
    if run.result is None:
        return {}
    record, training = json.loads(run.result.record), json.loads(run.result.training)
    test, validation = run.metrics(), run.metrics("validation")
    return {
        "labelled": run.result.labelled_examples,
        "metrics": [
            [key, test.get(key), validation.get(key)]  # in full precision: rounded once, when they are shown
            for key in dict.fromkeys([*test, *validation])
        ],
        "loss": _loss(training),
        "batch": run.result.batch,
        **{name: record[name] for name in _TIMES if isinstance(record.get(name), dict)},
        "environment": json.loads(run.result.environment),
    }


def _loss(training: Mapping[str, Any]) -> dict[str, list[list[float | None]]]:
    """Return steps and losses of the training rows, and of the held-out rows if there are any."""
    curves = {name: _points(training.get(f"{key}_history")) for key, name in _LOSSES.items()}
    return {name: points for name, points in curves.items() if points}


def _points(history: Any) -> list[list[float | None]]:
    entries = history if isinstance(history, list) else []
    points = [[rounded(one.get("step")), rounded(one.get("loss"))] for one in entries if isinstance(one, dict)]
    return [point for point in points if None not in point]


def log_lines(run: Run) -> list[str]:
    """Return the end of a run's log, without the result or the error, which its page shows already."""
    lines = log_tail(run.folder, TAIL_LINES + RESULT_LINES)
    lines = [line for number, line in enumerate(lines) if number == 0 or line != lines[number - 1]]
    lines = _without_result(lines) if run.result is not None else _without_error(lines, run.error)
    lines = lines[-TAIL_LINES:]
    if run.result is not None and not run.result.halvings and not re.search("warn", "\n".join(lines), re.IGNORECASE):
        lines = lines[-QUIET_LINES:]
    return [cut(line, LINE_CHARACTERS) for line in lines]


def _without_result(lines: list[str]) -> list[str]:
    """Remove the metrics as JSON and the line after them with the run's folder."""
    end = len(lines) - 1 if lines and lines[-1].startswith("Run: ") else len(lines)
    if not end or lines[end - 1] != "}":
        return lines
    begin = end - 1
    while begin and lines[begin] != "{":
        begin -= 1
    return [*lines[:begin], *lines[end + 1 :]]


def _without_error(lines: list[str], error: str) -> list[str]:
    shown = redact_text(plain(error))
    while lines and shown and lines[-1].removeprefix("error: ") == shown:
        lines = lines[:-1]
    return lines


def _prompts(folder: RunFolder) -> list[dict[str, Any]]:
    """Return role, row, tokens and pieces `[kind, trained, text]` of each prompt; none if the run has no prompts."""
    try:
        folder.check_file(folder.path / "prompts.json")
        prompts = parse_json(read_regular(folder.path / "prompts.json").decode("utf-8"))
        return [_prompt(prompt) for prompt in prompts[:2]]
    except (UserError, OSError, ValueError, TypeError, KeyError, AttributeError):
        return []


def _prompt(prompt: Mapping[str, Any]) -> dict[str, Any]:
    pieces = [[str(one["kind"]), int(bool(one["trained"])), str(one["text"])] for one in prompt["pieces"]]
    return {
        "role": str(prompt["role"]),
        "row": prompt.get("row"),
        "prompt_tokens": prompt.get("prompt_tokens"),
        "answer_tokens": prompt.get("answer_tokens"),
        "pieces": [[kind, trained, cut(text, PIECE_CHARACTERS)] for kind, trained, text in _ends(pieces)],
    }


def _ends(pieces: Sequence[list[Any]]) -> list[list[Any]]:
    """Return the first and the last pieces if there are very many. The pieces between are further examples."""
    if len(pieces) <= PROMPT_PIECES:
        return list(pieces)
    half = PROMPT_PIECES // 2
    between = ["left_out", 0, f" … {len(pieces) - 2 * half} more pieces … "]
    return [*pieces[:half], between, *pieces[-half:]]
