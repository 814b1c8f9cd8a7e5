"""What a run's page shows, as one bounded record: configuration, prompts, loss, log, and what its answers show.

Bounded, since a report may hold a thousand of them: nothing in a record grows with the number of judged rows. Knows no
HTML, and nothing of statistics: intervals are put beside the metrics by whoever makes the page.
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

LINE_CHARACTERS = 300  # of a log
RESULT_LINES = 80  # that a run may print of its result at the end of its log
QUIET_LINES = 5  # of the log of a run that went well
PIECE_CHARACTERS = 700  # of a piece of a prompt
PROMPT_PIECES = 24
_TIMES = ("timings", "resources")
_LOSSES = {"loss": TRAINING, "validation": HELD_OUT}


def detail_of(run: Run, answers: Answers | None, baseline: Run | None, shared: Shared | None = None) -> dict[str, Any]:
    """The record of a run's page: JSON of some kilobytes.

    Args:
        run: of a report.
        answers: what it answered on the test split; None where it left none.
        baseline: the run that its configuration is compared with; None for no comparison.
        shared: of the report's pages.

    Returns:
        id, name, seed (absent where nothing is random), state (in words), error, folder, labelled, metrics
        `[[key, test, validation]]`, config, diff `[[key, baseline's, this one's]]` and baseline (its name), prompts,
        loss `{rows: [[step, loss]]}`, timings, resources, environment, log; of the answers what
        `sft.report.read.inspection.inspect` says. A part that the run did not leave is absent.
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
            [key, test.get(key), validation.get(key)]  # in full: they are rounded once, where they are shown
            for key in dict.fromkeys([*test, *validation])
        ],
        "loss": _loss(training),
        "batch": run.result.batch,
        **{name: record[name] for name in _TIMES if isinstance(record.get(name), dict)},
        "environment": json.loads(run.result.environment),
    }


def _loss(training: Mapping[str, Any]) -> dict[str, list[list[float | None]]]:
    """Step and loss of the rows that are trained on, and of those that are held out, where there are some."""
    found = {name: _points(training.get(f"{key}_history")) for key, name in _LOSSES.items()}
    return {name: points for name, points in found.items() if points}


def _points(history: Any) -> list[list[float | None]]:
    entries = history if isinstance(history, list) else []
    points = [[rounded(one.get("step")), rounded(one.get("loss"))] for one in entries if isinstance(one, dict)]
    return [point for point in points if None not in point]


def log_lines(run: Run) -> list[str]:
    """The end of a run's log, without what its page says anyway: the result of a finished one, the error of another."""
    lines = log_tail(run.folder, TAIL_LINES + RESULT_LINES)
    lines = [line for place, line in enumerate(lines) if place == 0 or line != lines[place - 1]]
    lines = _without_result(lines) if run.result is not None else _without_error(lines, run.error)
    lines = lines[-TAIL_LINES:]
    if run.result is not None and not run.result.halvings and not re.search("warn", "\n".join(lines), re.IGNORECASE):
        lines = lines[-QUIET_LINES:]
    return [cut(line, LINE_CHARACTERS) for line in lines]


def _without_result(lines: list[str]) -> list[str]:
    """Without the metrics as JSON, and the line behind them that says where the run lies."""
    end = len(lines) - 1 if lines and lines[-1].startswith("Run: ") else len(lines)
    if not end or lines[end - 1] != "}":
        return lines
    begin = end - 1
    while begin and lines[begin] != "{":
        begin -= 1
    return [*lines[:begin], *lines[end + 1 :]]


def _without_error(lines: list[str], error: str) -> list[str]:
    said = redact_text(plain(error))
    while lines and said and lines[-1].removeprefix("error: ") == said:
        lines = lines[:-1]
    return lines


def _prompts(folder: RunFolder) -> list[dict[str, Any]]:
    """Of each prompt its role, row, tokens and pieces `[kind, trained, text]`; none for runs that left no prompts."""
    try:
        folder.check_file(folder.path / "prompts.json")
        found = parse_json(read_regular(folder.path / "prompts.json").decode("utf-8"))
        return [_prompt(one) for one in found[:2]]
    except (UserError, OSError, ValueError, TypeError, KeyError, AttributeError):
        return []


def _prompt(prompt: Mapping[str, Any]) -> dict[str, Any]:
    pieces = [[str(one["kind"]), int(bool(one["trained"])), str(one["text"])] for one in prompt["pieces"]]
    return {
        "role": str(prompt["role"]),
        "row": prompt.get("row"),
        "prompt_tokens": prompt.get("prompt_tokens"),
        "answer_tokens": prompt.get("answer_tokens"),
        "pieces": [[kind, trained, cut(text, PIECE_CHARACTERS)] for kind, trained, text in _some(pieces)],
    }


def _some(pieces: Sequence[list[Any]]) -> list[list[Any]]:
    """The first and the last of very many pieces: what is between are examples like those that are shown."""
    if len(pieces) <= PROMPT_PIECES:
        return list(pieces)
    half = PROMPT_PIECES // 2
    between = ["left_out", 0, f" … {len(pieces) - 2 * half} more pieces … "]
    return [*pieces[:half], between, *pieces[-half:]]
