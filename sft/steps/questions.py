"""What `predict` asks, and what becomes of the answers: a line of JSON for each, so that it resumes where it stopped.

Of labels the lines are raw scores, of the rows and of the probes after them: a calibration may look at all rows at
once, so nothing is calibrated before all are there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sft.inference.backends.base import Backend
from sft.inference.scoring.scores import LabelScores
from sft.log import Progress
from sft.prompting.prompt import EvaluationPrompts
from sft.steps.calibrate import Asked, Lesson, ask, score_part
from sft.steps.judge import decided, write
from sft.steps.record import answer_columns
from sft.steps.setup import Setup

Line = dict[str, Any]


class Questions(NamedTuple):
    """Prompts in the order in which they are asked.

    Args:
        kind: of the lines: `texts` or `scores`.
        total: how many there are.
        answer: the lines of the prompts from one to another (exclusive), asked of a backend.
        columns: of all lines, the columns of the table: predictions and what is behind them.
    """

    kind: str
    total: int
    answer: Callable[[Backend, int, int, Progress], list[Line]]
    columns: Callable[[Sequence[Line]], dict[str, Sequence[Any]]]


def questions(setup: Setup, role: str, lesson: Lesson) -> Questions:
    """All that is asked of a split, the labelled rows that a calibration learns from included."""
    prompts = setup.plan.evaluated(role)
    return _texts(setup, prompts) if setup.task.labels is None else _labels(setup, ask(setup, role, prompts, lesson))


def _texts(setup: Setup, prompts: EvaluationPrompts) -> Questions:
    def answer(backend: Backend, start: int, stop: int, progress: Progress) -> list[Line]:
        texts = write(setup, backend, prompts.part(start, stop), progress)
        return _lines(answer_columns(setup, texts.predictions, None, texts))

    def columns(lines: Sequence[Line]) -> dict[str, Sequence[Any]]:
        return {key: [line[key] for line in lines] for key in lines[0]}

    return Questions("texts", len(prompts.open), answer, columns)


def _labels(setup: Setup, asked: Asked) -> Questions:
    prompts = asked.prompts

    def answer(backend: Backend, start: int, stop: int, progress: Progress) -> list[Line]:
        part = prompts[start:stop]
        scores = score_part(setup, backend, part, progress).tensors()
        counts = scores.pop("token_count").tolist()
        return [{**line, "token_count": counts} for line in _lines({key: one.tolist() for key, one in scores.items()})]

    def columns(lines: Sequence[Line]) -> dict[str, Sequence[Any]]:
        arrays = {key: np.array([line[key] for line in lines], dtype=np.float32) for key in lines[0]}
        counts = np.array([line["token_count"] for line in lines], dtype=np.int64).max(axis=0)
        labels = decided(setup, asked.scored(LabelScores.from_tensors({**arrays, "token_count": counts})))
        return answer_columns(setup, labels.predictions, labels, None)

    return Questions("scores", len(prompts), answer, columns)


def _lines(columns: Mapping[str, Sequence[Any]]) -> list[Line]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
