"""Comparison of two runs: their configs, their metrics with paired tests, and the rows with different answers.

Rows are paired only if both runs were evaluated on the same rows. The tests are those of the table
(`sft.report.statistics`); for two single runs they say nothing about other seeds. Prints nothing.
Shapes: N rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sft.config.varying import varying_settings
from sft.report.compared.outcomes import Outcomes, outcomes_of
from sft.report.metrics import HEADLINE_METRICS
from sft.report.pairs.agreement import data_changes
from sft.report.pairs.tested import Metric, tested
from sft.report.read.answers import OUTSIDE, Answers, answers_of
from sft.report.read.difference import config_difference
from sft.report.read.runs import Run
from sft.results.states import in_words
from sft.secrets import redact_text

_RIGHT = ("accuracy", "subset_accuracy", "exact_match")  # metrics that define a right answer


class Difference(NamedTuple):
    """A setting that differs between the runs."""

    key: str
    a: str
    b: str


class Right(NamedTuple):
    """Number of rows with right answers of both, one or neither run, by the metric that defines right."""

    metric: str
    both: int
    only_a: int
    only_b: int
    neither: int


class Answer(NamedTuple):
    """Answer of a run, with the probability of its label and whether it is right, where known."""

    text: str
    probability: float | None
    right: bool | None


class RowPair(NamedTuple):
    """A row with different answers: its number in the split, its input, its reference and both answers."""

    row: int
    text: str
    reference: str
    a: Answer
    b: Answer


@dataclass(frozen=True)
class Pair:
    """Comparison of two runs on one split.

    Args:
        a, b: the runs.
        split: `test` or `validation`.
        settings: differences of their configs, including seed and command.
        data: differences of the data where both configs name the same: content or number of rows of a split.
        metrics: metrics of either run, the leading ones first.
        refused: why the rows cannot be paired; empty if they are.
        rows: number of evaluated rows; 0 if they are not paired.
        right: counts of right answers; None where unknown for each row.
        different: rows with different answers.
    """

    a: Run
    b: Run
    split: str
    settings: tuple[Difference, ...]
    metrics: tuple[Metric, ...]
    refused: str = ""
    rows: int = 0
    right: Right | None = None
    different: tuple[RowPair, ...] = ()
    data: tuple[Difference, ...] = ()

    @property
    def is_one(self) -> bool:
        """Whether both are the same run."""
        return self.a.folder.path.resolve() == self.b.folder.path.resolve()


class _Side(NamedTuple):
    """Answers of a run and their outcomes."""

    answers: Answers
    outcomes: Outcomes


def pair(a: Run, b: Run, split: str = "test") -> Pair:
    """Compare two runs.

    Args:
        a, b: the runs, finished or not.
        split: `test` or `validation`.

    Raises:
        UserError: a file of a run cannot be read.
    """
    settings, metrics, data = tuple(_settings(a, b)), _metrics(a, b, split), tuple(_data(a, b))
    answers = answers_of(a, split), answers_of(b, split)
    if answers[0] is None or answers[1] is None:
        missing = [
            _nothing(name, run, split) for name, run, one in zip("AB", (a, b), answers, strict=True) if one is None
        ]
        return Pair(a, b, split, settings, metrics, "; ".join(missing), data=data)
    first, second = (_Side(one, outcomes_of(one)) for one in (answers[0], answers[1]))
    if reason := _unlike(first, second):
        return Pair(a, b, split, settings, metrics, reason, data=data)
    return Pair(
        a, b, split, settings,
        metrics=tuple(tested(metrics, first.outcomes, second.outcomes)),
        rows=len(first.answers),
        right=_right(first.outcomes, second.outcomes),
        different=tuple(_different(first, second)),
        data=data,
    )  # fmt: skip


def _settings(a: Run, b: Run) -> Iterator[Difference]:
    varying = {setting.key for setting in varying_settings([a.config, b.config])}
    yield from (Difference(*line) for line in config_difference(a.config, b.config) if line[0] in varying)
    if a.seed != b.seed:
        yield Difference("seed", str(a.seed), str(b.seed))
    if a.endpoint and b.endpoint and a.endpoint != b.endpoint:
        yield Difference("command", a.endpoint, b.endpoint)


def _data(a: Run, b: Run) -> Iterator[Difference]:
    """Yield the differences between data of the same name, as the runs recorded it."""
    if a.config.dataset.path == b.config.dataset.path:
        results = [run.folder.result() for run in (a, b)]
        changes = data_changes(*({} if one is None else one.data for one in results))
        yield from (Difference(f"data: {name}", *values) for name, *values in changes)


def _metrics(a: Run, b: Run, split: str) -> tuple[Metric, ...]:
    first, second = a.metrics(split), b.metrics(split)
    available = [*first, *(name for name in second if name not in first)]
    names = [
        *(name for name in HEADLINE_METRICS if name in available),
        *(n for n in available if n not in HEADLINE_METRICS),
    ]
    return tuple(Metric(name, first.get(name), second.get(name)) for name in names)


def _nothing(name: str, run: Run, split: str) -> str:
    if run.result is None:
        why = redact_text(run.error)
        return f"{name} has no result ({in_words(run.state)}{f': {why}' if why else ''})"
    if not run.metrics(split):
        return f"{name} was not evaluated on the {split} split"
    return f"{name} has no {run.folder.predictions_file(split).name}: the file is missing"


def _unlike(first: _Side, second: _Side) -> str:
    """Return why the rows of two runs cannot be paired; empty if they are the same."""
    a, b = first.answers, second.answers
    if a.task != b.task:
        return f"A's task is {a.task.name}, B's {b.task.name}"
    if len(a) != len(b):
        return f"A was evaluated on {len(a)} rows, B on {len(b)}"
    if first.outcomes.fingerprint != second.outcomes.fingerprint:
        return f"A and B were evaluated on different rows, {len(a)} each: their texts or labels differ"
    return "there are no rows" if not len(a) else ""


def _right(first: Outcomes, second: Outcomes) -> Right | None:
    metric = next((name for name in _RIGHT if name in first.hits and name in second.hits), None)
    if metric is None:
        return None
    a_N, b_N = first.hits[metric], second.hits[metric]
    counts = (a_N & b_N, a_N & ~b_N, b_N & ~a_N, ~a_N & ~b_N)
    return Right(metric, *(int(one.sum()) for one in counts))


def _different(first: _Side, second: _Side) -> Iterator[RowPair]:
    predictions = first.answers.texts("predictions"), second.answers.texts("predictions")
    rows = [row for row, (one, other) in enumerate(zip(*predictions, strict=True)) if one != other]
    inputs = _inputs(first.answers, rows)
    references = first.answers.references
    sides = [list(_answers(side, rows)) for side in (first, second)]
    for number, row in enumerate(rows):
        yield RowPair(row, inputs[number], references[row], sides[0][number], sides[1][number])


def _answers(side: _Side, rows: Sequence[int]) -> Iterator[Answer]:
    answers, hits = side.answers, side.outcomes.hits
    right_N = next((hits[name] for name in _RIGHT if name in hits), None)
    probabilities_NL = answers.probabilities_NL if answers.task.has_one_label else None
    for row, text in zip(rows, answers.texts("predictions", rows), strict=True):
        probability = None
        if probabilities_NL is not None and (label := int(answers.predicted_N[row])) != OUTSIDE:
            probability = float(probabilities_NL[row, label])
        yield Answer(text, probability, None if right_N is None else bool(right_N[row]))


def _inputs(answers: Answers, rows: Sequence[int]) -> list[str]:
    """Return the input columns of some rows, joined to one string per row."""
    named = answers.config.prompting.input_columns if answers.config.prompting is not None else ()
    available = answers.columns
    columns = [f"{name}_of_data" if f"{name}_of_data" in available else name for name in named]
    texts = [answers.texts(column, rows) for column in columns if column in available]
    return [" · ".join(parts) for parts in zip(*texts, strict=True)] if texts else [""] * len(rows)
