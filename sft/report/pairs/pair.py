"""Two runs side by side: their configs, their metrics with paired tests, and the rows that they answer differently.

Paired only where both were judged on the same rows. The same tests as in the table's (`sft.report.statistics`), and
since it is two single runs: nothing is said of other seeds. Prints nothing.
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

_RIGHT = ("accuracy", "subset_accuracy", "exact_match")  # what it is for an answer to be right


class Difference(NamedTuple):
    """A setting that is not the same."""

    key: str
    a: str
    b: str


class Right(NamedTuple):
    """How many rows which of the two got right, by the metric that says what right is."""

    metric: str
    both: int
    only_a: int
    only_b: int
    neither: int


class Answer(NamedTuple):
    """What a run answered: with the probability of that label, and whether it is right, where these are known."""

    text: str
    probability: float | None
    right: bool | None


class RowPair(NamedTuple):
    """A row that the two answer differently: its number in the split, its input, its own answer, theirs."""

    row: int
    text: str
    reference: str
    a: Answer
    b: Answer


@dataclass(frozen=True)
class Pair:
    """Two runs side by side, on one split.

    Args:
        a, b: the runs.
        split: `test` or `validation`.
        settings: what differs in their configs, the seed and the command too.
        data: what differs in the data where both configs name the same: its content, or how many rows a split has.
        metrics: all that one of them has, the leading ones first.
        refused: why the rows cannot be paired; empty where they are.
        rows: how many rows were judged; 0 where they are not paired.
        right: who got what right; None where that is not known of each row.
        different: the rows with different answers.
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
        """Whether both are the very same run."""
        return self.a.folder.path.resolve() == self.b.folder.path.resolve()


class _Side(NamedTuple):
    """A run's answers, and what became of each row."""

    answers: Answers
    outcomes: Outcomes


def pair(a: Run, b: Run, split: str = "test") -> Pair:
    """Compare two runs.

    Args:
        a, b: finished or not.
        split: `test` or `validation`.

    Raises:
        UserError: a file of theirs cannot be read.
    """
    settings, metrics, data = tuple(_settings(a, b)), _metrics(a, b, split), tuple(_data(a, b))
    found = answers_of(a, split), answers_of(b, split)
    if found[0] is None or found[1] is None:
        missing = [
            _nothing(name, run, split) for name, run, one in zip("AB", (a, b), found, strict=True) if one is None
        ]
        return Pair(a, b, split, settings, metrics, "; ".join(missing), data=data)
    first, second = (_Side(one, outcomes_of(one)) for one in (found[0], found[1]))
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
    """What they record of data that is not the same, though it has the same name."""
    if a.config.dataset.path == b.config.dataset.path:
        results = [run.folder.result() for run in (a, b)]
        found = data_changes(*({} if one is None else one.data for one in results))
        yield from (Difference(f"data: {name}", *values) for name, *values in found)


def _metrics(a: Run, b: Run, split: str) -> tuple[Metric, ...]:
    first, second = a.metrics(split), b.metrics(split)
    there = [*first, *(name for name in second if name not in first)]
    names = [*(name for name in HEADLINE_METRICS if name in there), *(n for n in there if n not in HEADLINE_METRICS)]
    return tuple(Metric(name, first.get(name), second.get(name)) for name in names)


def _nothing(name: str, run: Run, split: str) -> str:
    if run.result is None:
        why = redact_text(run.error)
        return f"{name} has no result ({in_words(run.state)}{f': {why}' if why else ''})"
    if not run.metrics(split):
        return f"{name} was not judged on the {split} split"
    return f"{name} has lost its {run.folder.predictions_file(split).name}"


def _unlike(first: _Side, second: _Side) -> str:
    """Why the rows of two runs cannot be paired; empty where they are the same."""
    a, b = first.answers, second.answers
    if a.task != b.task:
        return f"A's task is {a.task.name}, B's {b.task.name}"
    if len(a) != len(b):
        return f"A was judged on {len(a)} rows, B on {len(b)}"
    if first.outcomes.judged_on != second.outcomes.judged_on:
        return f"A and B were judged on different rows, {len(a)} each: their texts or labels differ"
    return "there are no rows" if not len(a) else ""


def _right(first: Outcomes, second: Outcomes) -> Right | None:
    metric = next((name for name in _RIGHT if name in first.hits and name in second.hits), None)
    if metric is None:
        return None
    a_N, b_N = first.hits[metric], second.hits[metric]
    counts = (a_N & b_N, a_N & ~b_N, b_N & ~a_N, ~a_N & ~b_N)
    return Right(metric, *(int(one.sum()) for one in counts))


def _different(first: _Side, second: _Side) -> Iterator[RowPair]:
    told = first.answers.texts("predictions"), second.answers.texts("predictions")
    rows = [row for row, (one, other) in enumerate(zip(*told, strict=True)) if one != other]
    inputs = _inputs(first.answers, rows)
    references = first.answers.references
    sides = [list(_answers(side, rows)) for side in (first, second)]
    for place, row in enumerate(rows):
        yield RowPair(row, inputs[place], references[row], sides[0][place], sides[1][place])


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
    """The input columns of some rows, as one text each."""
    named = answers.config.prompting.input_columns if answers.config.prompting is not None else ()
    there = answers.columns
    columns = [f"{name}_of_data" if f"{name}_of_data" in there else name for name in named]
    texts = [answers.texts(column, rows) for column in columns if column in there]
    return [" · ".join(parts) for parts in zip(*texts, strict=True)] if texts else [""] * len(rows)
