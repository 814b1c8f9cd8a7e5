"""The prompts of `predict`, and their answers as lines of JSON, so that an interrupted run can resume.

For labels, the lines are raw scores of the rows, then of the probes. Calibration happens at the end, since it may need
all rows at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sft.inference.backends.base import Backend
from sft.inference.scoring.scores import LabelScores
from sft.log import Progress
from sft.prompting.prompt import EvaluationPrompts
from sft.steps.calibrate import LabelledSample, ScoringPlan, plan_scoring, score_part
from sft.steps.evaluate import decided, write
from sft.steps.record import answer_columns
from sft.steps.setup import Setup

Line = dict[str, Any]


class Questions(NamedTuple):
    """All prompts of a split in the order in which they are answered.

    Args:
        kind: kind of the lines: `texts` or `scores`.
        total: number of prompts.
        answer: returns the lines of the prompts from `start` to `stop` (exclusive), answered by a backend.
        columns: turns all lines into columns of the table: predictions, probabilities and so on.
    """

    kind: str
    total: int
    answer: Callable[[Backend, int, int, Progress], list[Line]]
    columns: Callable[[Sequence[Line]], dict[str, Sequence[Any]]]


def questions(setup: Setup, role: str, sample: LabelledSample) -> Questions:
    """Return all prompts of a split, with the labelled rows that a calibration is fitted on."""
    prompts = setup.plan.evaluated(role)
    return (
        _texts(setup, prompts)
        if setup.task.labels is None
        else _labels(setup, plan_scoring(setup, role, prompts, sample))
    )


def _texts(setup: Setup, prompts: EvaluationPrompts) -> Questions:
    def answer(backend: Backend, start: int, stop: int, progress: Progress) -> list[Line]:
        texts = write(setup, backend, prompts.part(start, stop), progress)
        return _lines(answer_columns(setup, texts.predictions, None, texts))

    def columns(lines: Sequence[Line]) -> dict[str, Sequence[Any]]:
        return {key: [line[key] for line in lines] for key in lines[0]}

    return Questions("texts", len(prompts.open), answer, columns)


def _labels(setup: Setup, scoring_plan: ScoringPlan) -> Questions:
    prompts = scoring_plan.prompts

    def answer(backend: Backend, start: int, stop: int, progress: Progress) -> list[Line]:
        part = prompts[start:stop]
        scores = score_part(setup, backend, part, progress).tensors()
        counts = scores.pop("token_count").tolist()
        return [
            {**line, "token_count": counts} for line in _lines({key: array.tolist() for key, array in scores.items()})
        ]

    def columns(lines: Sequence[Line]) -> dict[str, Sequence[Any]]:
        arrays = {key: np.array([line[key] for line in lines], dtype=np.float32) for key in lines[0]}
        counts = np.array([line["token_count"] for line in lines], dtype=np.int64).max(axis=0)
        labels = decided(setup, scoring_plan.scored(LabelScores.from_tensors({**arrays, "token_count": counts})))
        return answer_columns(setup, labels.predictions, labels, None)

    return Questions("scores", len(prompts), answer, columns)


def _lines(columns: Mapping[str, Sequence[Any]]) -> list[Line]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
