"""Add statistics to a comparison, and a record for each run's page, from the evaluated rows. Writes nothing.

Unlike `sft.report.rows` this imports numpy and scipy, so a sweep does it in a separate process.
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
    """Add intervals and tests to a comparison, from the evaluated rows of its runs.

    Args:
        comparison: from `compare`.
        with_details: also make the record of each run's page.
        progress: called with the number of runs read so far.
    """
    outcomes: dict[tuple[str, str], Outcomes] = {}
    details: dict[str, dict[str, Any]] = {}
    odd = dict(comparison.odd)
    bases, shared = _baseline_runs(comparison), Shared(comparison.folder)
    for number, run in enumerate(comparison.runs):
        if number % _STEP == 0:
            progress(PHASE, number, len(comparison.runs))
        try:
            by_split = dict(_answers(run, comparison.calibration, odd))
            if not comparison.grouped:
                outcomes |= {(run.id, split): outcomes_of(answers) for split, answers in by_split.items()}
            if with_details:
                details[run.id] = detail_of(run, by_split.get("test"), bases.get(run.id), shared)
        except ODD as error:  # a file without a recorded hash was changed: the other runs are shown
            odd[run.name] = f"its files cannot be used ({type(error).__name__}: {error})"
            outcomes = {key: outcome for key, outcome in outcomes.items() if key[0] != run.id}
            details.pop(run.id, None)
    progress(PHASE, len(comparison.runs), len(comparison.runs))
    comparison = replace(comparison, odd=odd)
    if comparison.grouped:
        return Built(comparison, details)
    if not all(same_rows(comparison, outcomes, split) for split in {"test", comparison.chosen_on}):
        # this sees more than the hashes that the runs recorded of their data
        comparison = replace(comparison, comparable=False, best={})
    return Built(replace(comparison, significance=assess(comparison, outcomes)), details)


def answers_under(comparison: Comparison, run: Run, split: str = "test") -> Answers | None:
    """Return a run's answers under the comparison's calibration; None and a warning where they cannot be read."""
    return dict(_answers(run, comparison.calibration, {})).get(split)


def _answers(run: Run, calibration: str | None, odd: dict[str, str]) -> Iterator[tuple[str, Answers]]:
    for split in SPLITS:
        try:
            answers = answers_of(run, split)
            if answers is not None and calibration is not None:
                from sft.report.read.calibrated import recalibrated

                answers = recalibrated(answers, run, split, calibration)
        except UserError as error:
            log.warning("%s: no statistics over rows (%s)", run.name, error)
            odd[run.name] = str(error)
            continue
        if answers is not None:
            yield split, answers


def _baseline_runs(comparison: Comparison) -> Mapping[str, Run]:
    """Return the baseline run for the page of each run: with the same seed where the baseline's row has one."""
    baseline_runs: dict[str, Run] = {}
    for index, row in enumerate(comparison.rows):
        base = comparison.baseline_of(index)
        if base is not None:
            candidates = comparison.rows[base].runs
            baseline_runs |= {
                run.id: next((other for other in candidates if other.seed == run.seed), candidates[0])
                for run in row.runs
            }
    return baseline_runs
