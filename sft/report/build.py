"""What a report takes from the judged rows: read once for each run, then judged together. Writes nothing.

Unlike `sft.report.rows` this imports numpy and scipy, so a sweep has it done by a process of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from sft.errors import UserError
from sft.log import Progress, get_logger, silent
from sft.report.compared.assess import assess
from sft.report.compared.outcomes import Outcomes, outcomes_of
from sft.report.compared.pairing import same_rows
from sft.report.comparison import Built, Comparison
from sft.report.page.details import detail_of
from sft.report.read.answers import Answers, answers_of
from sft.report.read.difference import Shared
from sft.report.read.finished import SPLITS
from sft.report.read.runs import ODD, Run

log = get_logger(__name__)

PHASE = "reading answers"
_STEP = 20  # runs between two looks at the progress


def build(comparison: Comparison, with_details: bool = True, progress: Progress = silent) -> Built:
    """Judge a comparison by the rows behind it.

    Args:
        comparison: as `compare` gives it.
        with_details: whether runs get their pages.
        progress: told how many runs were read.
    """
    outcomes: dict[tuple[str, str], Outcomes] = {}
    details: dict[str, dict[str, Any]] = {}
    odd = dict(comparison.odd)
    bases, shared = _baseline_runs(comparison), Shared(comparison.place)
    for number, run in enumerate(comparison.runs):
        if number % _STEP == 0:
            progress(PHASE, number, len(comparison.runs))
        try:
            found = dict(_answers(run, comparison.calibration, odd))
            if not comparison.grouped:
                outcomes |= {(run.id, split): outcomes_of(answers) for split, answers in found.items()}
            if with_details:
                details[run.id] = detail_of(run, found.get("test"), bases.get(run.id), shared)
        except ODD as error:  # of a file that was changed, and was not sealed: the other runs are shown
            odd[run.name] = f"its files cannot be used ({type(error).__name__}: {error})"
            outcomes = {key: one for key, one in outcomes.items() if key[0] != run.id}
            details.pop(run.id, None)
    progress(PHASE, len(comparison.runs), len(comparison.runs))
    comparison = replace(comparison, odd=odd)
    if comparison.grouped:
        return Built(comparison, details)
    if not all(same_rows(comparison, outcomes, split) for split in {"test", comparison.chosen_on}):
        comparison = replace(comparison, comparable=False, best={})  # more than what the runs recorded of their data
    return Built(replace(comparison, significance=assess(comparison, outcomes)), details)


def answers_under(comparison: Comparison, run: Run, split: str = "test") -> Answers | None:
    """What a run answered, under the comparison's calibration; None where it cannot be told, which the log says."""
    return dict(_answers(run, comparison.calibration, {})).get(split)


def _answers(run: Run, calibration: str | None, odd: dict[str, str]) -> Iterator[tuple[str, Answers]]:
    for split in SPLITS:
        try:
            found = answers_of(run, split)
            if found is not None and calibration is not None:
                from sft.report.read.calibrated import recalibrated

                found = recalibrated(found, run, split, calibration)
        except UserError as error:
            log.warning("%s: no statistics over rows (%s)", run.name, error)
            odd[run.name] = str(error)
            continue
        if found is not None:
            yield split, found


def _baseline_runs(comparison: Comparison) -> Mapping[str, Run]:
    """For each run the one of the baseline's row that its page is set against: with its seed, where there is one."""
    found: dict[str, Run] = {}
    for index, row in enumerate(comparison.rows):
        base = comparison.baseline_of(index)
        if base is not None:
            theirs = comparison.rows[base].runs
            found |= {run.id: next((one for one in theirs if one.seed == run.seed), theirs[0]) for run in row.runs}
    return found
