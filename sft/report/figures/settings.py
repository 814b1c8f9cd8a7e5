"""Choose the role of each setting in a figure: the axis, a colour, or averaged over.

Settings of training (`lora.r`) do not apply to a zero-shot row, so it counts for every value of them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sft.config.varying import ABSENT, Setting, settings, short_name
from sft.log import plain
from sft.report.comparison import Comparison, Row

MOST_SERIES = 8  # lines that the eye can distinguish
LONGEST_LABEL = 32  # characters
MOST_ABOUT = 300  # characters of a line of a tooltip
_ALL = "all"
_OF_TRAINING = ("lora", "adapter", "training")


class Axis(NamedTuple):
    """A numeric setting: its name, each row's position (None: not applicable), and the label of each position."""

    name: str
    at: tuple[float | None, ...]
    ticks: Mapping[float, str]

    @property
    def positions(self) -> list[float]:
        """The positions, from low to high."""
        return sorted(self.ticks)


def is_open(comparison: Comparison, setting: Setting, index: int) -> bool:
    """Whether a row counts for every value of a setting: a zero-shot row and a setting of training."""
    return (
        setting.values[index] == ABSENT
        and comparison.rows[index].runs[0].config.dataset.shots == 0
        and _is_of_training(comparison, setting)
    )


def _is_of_training(comparison: Comparison, setting: Setting) -> bool:
    """Whether a setting is one of training, by its section. Settings of `--group-by` have no section."""
    section, dot, _ = setting.key.partition(".")
    if dot:
        return section in _OF_TRAINING
    keys = {key for row in comparison.rows for key in settings(row.runs[0].config)}
    return any(key.startswith(_OF_TRAINING) and setting.key == short_name(key) for key in keys)


def is_shots(setting: Setting) -> bool:
    """Whether a setting is the number of shots, with or without (`--group-by`) its section."""
    return setting.key in ("dataset.shots", "shots")


def choose_axis(comparison: Comparison) -> tuple[Setting, Axis] | None:
    """Return the setting for the x axis: shots, or the first other number if there are not two non-zero shots.

    None if no setting is a number.
    """
    found = [(one, axis) for one in comparison.settings if (axis := _axis(comparison, one)) is not None]
    found.sort(key=lambda pair: not is_shots(pair[0]))  # stable: shots first
    several = [pair for pair in found if sum(position != 0 for position in pair[1].ticks) > 1]
    return next(iter([*several, *found]), None)


def _axis(comparison: Comparison, setting: Setting) -> Axis | None:
    """Return a setting as numbers; None if it has other values or a single number."""
    numbers = [_number(text) for text in setting.values]
    highest = max((number for number in numbers if number is not None), default=0.0)
    if is_shots(setting):
        pairs = zip(setting.values, comparison.rows, strict=True)
        drawn = [_drawn(row) for text, row in pairs if text == _ALL]
        whole = max((count for count in drawn if count is not None), default=2 * (highest or 1.0))
        numbers = [whole if text == _ALL else number for text, number in zip(setting.values, numbers, strict=True)]
    ticks: dict[float, str] = {}
    for number, text in zip(numbers, setting.values, strict=True):
        if number is None and text != ABSENT:
            return None
        if number is not None:
            ticks[number] = text if text != _ALL or number not in ticks else ticks[number]
    return Axis(setting.name, tuple(numbers), ticks) if len(ticks) > 1 else None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _drawn(row: Row) -> float | None:
    """Return the number of shots of a row with all shots, per label for classification."""
    for run in row.runs:
        if run.result is not None:
            shots = json.loads(run.result.record).get("shots") or {}
            per_label = shots.get("per_label") if run.config.dataset.task.has_one_label else None
            if per_label:
                return sum(per_label.values()) / len(per_label)
            return float(shots["drawn"]) if shots.get("drawn") else None
    return None


def other_settings(comparison: Comparison, x: Setting) -> tuple[list[Setting], list[Setting]]:
    """Return the settings that vary between rows with the same x, and those that change only together with x.

    A setting that is determined by an earlier one (an alpha that is always twice the rank) is in neither list.
    """
    kept: list[Setting] = []
    along: list[Setting] = []
    for setting in comparison.settings:
        if setting.key == x.key:
            continue
        rows = range(len(setting.values))
        applicable = [row for row in rows if not is_open(comparison, setting, row) and not is_open(comparison, x, row)]
        if len({setting.values[row] for row in applicable}) < 2:
            continue
        if _determines(x, setting, applicable):
            along.append(setting)
        elif not any(
            _determines(earlier, setting, applicable) and _determines(setting, earlier, applicable) for earlier in kept
        ):
            kept.append(setting)
    return kept, along


def _determines(first: Setting, second: Setting, rows: Sequence[int]) -> bool:
    """Whether the value of the first setting determines that of the second."""
    return len({(first.values[row], second.values[row]) for row in rows}) == len({first.values[row] for row in rows})


def colour_choices(comparison: Comparison, others: Sequence[Setting]) -> list[tuple[Setting, ...]]:
    """Return the settings that can colour the lines: all other settings if they make few lines, else one at a time.

    Settings with the fewest values come first. An empty tuple means a single line.
    """
    if len(combinations(comparison, others)) <= MOST_SERIES:
        return [tuple(others)]
    counts = {one.key: len(combinations(comparison, [one])) for one in others}
    few = [one for one in others if 1 < counts[one.key] <= MOST_SERIES]
    return [(one,) for one in sorted(few, key=lambda one: counts[one.key])] or [()]


def combinations(comparison: Comparison, together: Sequence[Setting]) -> list[tuple[str, ...]]:
    """Return the combinations of values of settings, in order, without rows that count for every value of a setting."""
    found = dict.fromkeys(
        tuple(one.values[row] for one in together)
        for row in range(len(comparison.rows))
        if not any(is_open(comparison, one, row) for one in together)
    )
    return sorted(found, key=lambda values: [value_order(value) for value in values])


def value_order(text: str) -> tuple[int, float, str]:
    """Return a sort key of values: absent values first, then numbers, then strings, `all` last."""
    if text == ABSENT:
        return 0, 0.0, text
    value = _number(text)
    if value is not None:
        return 1, value, text
    return (3 if text == _ALL else 2), 0.0, text


def about(comparison: Comparison, index: int) -> str:
    """Return a row's varying settings, `shots=4, lr=0.001`; its name if nothing varies."""
    parts = [f"{one.name}={one.values[index]}" for one in comparison.settings if one.values[index] != ABSENT]
    text = ", ".join(parts) or comparison.rows[index].name
    return text if len(text) <= MOST_ABOUT else f"{text[: MOST_ABOUT - 1]}…"


def short_labels(values: Sequence[str], most: int = LONGEST_LABEL) -> dict[str, str]:
    """Return string -> unique label for an axis or a legend. Long strings lose the prefix that they all share."""
    distinct = list(dict.fromkeys(values))
    start = _common_start(distinct) if distinct else ""
    cut = len(start) if len(distinct) > 1 and max(map(len, distinct)) > most and len(start) > 12 else 0
    copies: dict[str, int] = {}
    found: dict[str, str] = {}
    for text in distinct:
        rest = plain(f"…{text[cut:]}" if cut else text) or "(empty)"
        label = rest if len(rest) <= most else f"{rest[: most - 1].rstrip()}…"
        copies[label] = copies.get(label, 0) + 1
        found[text] = label if copies[label] == 1 else f"{label} [{copies[label]}]"
    return found


def _common_start(texts: Sequence[str]) -> str:
    """Return the common prefix of strings, up to its last space if it has one."""
    low, high = min(texts), max(texts)
    same = next((at for at, pair in enumerate(zip(low, high, strict=False)) if pair[0] != pair[1]), len(low))
    start = low[:same]
    return start[: start.rfind(" ") + 1] or start
