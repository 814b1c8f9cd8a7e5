"""Agreement of two results of the same experiment: metrics, rows and environment. Starts nothing.

Values agree within 1e-4 of the larger one, or 1e-6 near zero: the accuracy of single precision between libraries and
processors. Identical predictions and label scores are stronger evidence and are reported too. A run on other data is
never a reproduction.
Shapes: N rows, L labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sft.errors import UserError
from sft.report.read.answers import read_table
from sft.report.read.finished import SPLITS
from sft.results.schema import RunResult
from sft.results.store import RunFolder

RELATIVE, ABSOLUTE = 1e-4, 1e-6
_SCORES = "sum_logprob"
_SHOWN_OF_HASH = 8
_MACHINE_KEYS = ("device", "processors", "threads", "batch_halvings")


class Figure(NamedTuple):
    """A number of both results; None where a result lacks it."""

    name: str
    before: float | None
    now: float | None

    @property
    def is_same(self) -> bool:
        """Whether both numbers are equal."""
        return self.before == self.now

    @property
    def agrees(self) -> bool:
        """Whether the numbers differ by no more than the tolerance between machines."""
        if self.before is None or self.now is None:
            return self.is_same
        return self.is_same or abs(self.now - self.before) <= max(
            RELATIVE * max(abs(self.before), abs(self.now)), ABSOLUTE
        )

    @property
    def difference(self) -> float:
        """Now minus before."""
        return float("nan") if self.before is None or self.now is None else self.now - self.before


class Answered(NamedTuple):
    """Rows of a split in both runs.

    Args:
        split: `test` or `validation`.
        rows: number of rows before and now.
        different: number of rows with different predictions; None if the numbers of rows differ or are 0.
        largest: largest difference of a label's score (log-probability); None without scores to compare.
        comparable: whether both have equally many rows, and label scores of equally many labels.
    """

    split: str
    rows: tuple[int, int]
    different: int | None
    largest: float | None
    comparable: bool = True

    @property
    def is_same(self) -> bool:
        """Whether all predictions and all label scores are equal."""
        return self.comparable and not self.different and not self.largest


class Changed(NamedTuple):
    """A property of data or environment that differs between the runs."""

    name: str
    before: str
    now: str


@dataclass(frozen=True)
class Agreement:
    """Comparison of two results of the same experiment.

    Args:
        figures: metrics of the test split, of the validation split (`validation.`), and the loss (`training.`).
        answers: rows of each split.
        changed: differences of versions, platform, device and commit.
        data: differences of the data: its content or the number of rows of a split; unknown for data on the Hub.
        ids: ids before and now; they differ if the data, a model, an adapter or a plugin has changed.
    """

    figures: tuple[Figure, ...]
    answers: tuple[Answered, ...]
    changed: tuple[Changed, ...]
    data: tuple[Changed, ...] = ()
    ids: tuple[str, str] = ("", "")

    @property
    def agrees(self) -> bool:
        """Whether the second run reproduces the first: on the same data, with metrics that agree."""
        return self.figures_agree and not self.data

    @property
    def figures_agree(self) -> bool:
        """Whether all metrics agree, on whatever data."""
        return all(figure.agrees for figure in self.figures)

    @property
    def figures_are_same(self) -> bool:
        """Whether all metrics are equal."""
        return all(one.is_same for one in self.figures)

    @property
    def is_same(self) -> bool:
        """Whether all metrics, predictions and label scores are equal, on the same data and with the same id."""
        answers = all(one.is_same for one in self.answers)
        return self.figures_are_same and answers and not self.data and self.ids[0] == self.ids[1]


def agreement(before: RunFolder, now: RunFolder) -> Agreement:
    """Compare two runs.

    Args:
        before: the original run.
        now: the run that repeats it.

    Raises:
        UserError: a run has no result, or its predictions cannot be read.
    """
    results = _result(before), _result(now)
    splits = [split for split in SPLITS if any(one.predictions_file(split).exists() for one in (before, now))]
    return Agreement(
        tuple(_figures(*map(_numbers, results))),
        tuple(_answered(before, now, split) for split in splits),
        tuple(_changed(*map(_environment, results))),
        data_changes(*(result.data for result in results)),
        (results[0].id, results[1].id),
    )


def data_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[Changed, ...]:
    """Return the differences between the data of two results; ignores properties that only one of them records."""
    changes, content = [], (before.get("sha256"), now.get("sha256"))
    if all(content) and content[0] != content[1]:
        changes.append(Changed("content", *(f"sha256 {str(one)[:_SHOWN_OF_HASH]}…" for one in content)))
    rows = before.get("rows") or {}, now.get("rows") or {}
    sizes = ((split, rows[0][split], rows[1][split]) for split in rows[0] if split in rows[1])
    return (*changes, *(Changed(f"{split} rows", str(old), str(new)) for split, old, new in sizes if old != new))


def _result(folder: RunFolder) -> RunResult:
    result = folder.result()
    if result is None:
        raise UserError(f"{folder.path} has no result{f': {damage}' if (damage := folder.damage()) else ''}")
    return result


def _figures(before: Mapping[str, float], now: Mapping[str, float]) -> Iterator[Figure]:
    for name in dict.fromkeys([*before, *now]):
        yield Figure(name, before.get(name), now.get(name))


def _numbers(result: RunResult) -> dict[str, float]:
    numbers = dict(_flatten(result.results, ""))
    if (loss := result.training.get("train_loss")) is not None:
        numbers["training.loss"] = float(loss)
    return numbers


def _flatten(value: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
    for name, item in value.items():
        if isinstance(item, Mapping):
            yield from _flatten(item, f"{prefix}{name}.")
        elif (
            isinstance(item, int | float)
            and not isinstance(item, bool)
            and not f"{prefix}{name}".startswith("support.")
        ):
            yield f"{prefix}{name}", float(item)


def _answered(before: RunFolder, now: RunFolder, split: str) -> Answered:
    predictions = [_predictions(one, split) for one in (before, now)]
    rows = (len(predictions[0]), len(predictions[1]))
    if rows[0] != rows[1] or not rows[0]:
        return Answered(split, rows, None, None, comparable=False)
    different = sum(one != other for one, other in zip(*predictions, strict=True))
    scores = _scores(before, split), _scores(now, split)
    return Answered(split, rows, different, _largest(*scores), comparable=_shape(scores[0]) == _shape(scores[1]))


def _predictions(folder: RunFolder, split: str) -> list[str]:
    file = folder.predictions_file(split)
    if not file.exists():
        return []
    folder.check_file(file)
    return list(read_table(file).column("predictions").to_pylist())


def _scores(folder: RunFolder, split: str) -> NDArray[np.float32] | None:
    """Return the label scores of all rows [N, L]; None if they cannot be read."""
    try:
        return folder.read_scores(split, (_SCORES,))[_SCORES]
    except (UserError, KeyError):
        return None


def _shape(scores: NDArray[np.float32] | None) -> tuple[int, ...] | None:
    return None if scores is None else scores.shape


def _largest(before_NL: NDArray[np.float32] | None, now_NL: NDArray[np.float32] | None) -> float | None:
    if before_NL is None or now_NL is None or before_NL.shape != now_NL.shape or not now_NL.size:
        return None
    return float(np.abs(before_NL.astype(np.float64) - now_NL).max())


def _changed(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Changed]:
    for name in dict.fromkeys([*before, *now]):
        first, second = before.get(name, "-"), now.get(name, "-")
        if first != second:
            yield Changed(name, first, second)


def _environment(result: RunResult) -> dict[str, str]:
    """Return the environment of a run by name: packages, platform, device."""
    environment = result.environment
    packages = environment.get("packages") or {}
    values = {**packages, **{key: value for key, value in environment.items() if key != "packages"}}
    values |= {name: result.resources[name] for name in _MACHINE_KEYS if name in result.resources}
    return {name: str(value) for name, value in values.items()}
