"""Which setting of a comparison goes where in a figure: as a number along an axis, as a colour, or averaged over.

A zero-shot row has nothing to say on settings of the training (`lora.r`): there it stands for every value of them.
Knows nothing of metrics and specifications.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sft.config.varying import ABSENT, Setting, settings, short_name
from sft.log import plain
from sft.report.comparison import Comparison, Row
from sft.sequences import common_prefix

MOST_SERIES = 8  # lines that can be told apart
LONGEST_LABEL = 32  # letters
MOST_ABOUT = 300  # letters of a tooltip's line
_ALL = "all"
_OF_TRAINING = ("lora", "adapter", "training")


class Axis(NamedTuple):
    """A setting as numbers: its name, where each row stands (None: nowhere), and the text at each of these places."""

    name: str
    at: tuple[float | None, ...]
    ticks: Mapping[float, str]

    @property
    def places(self) -> list[float]:
        """The places, from low to high."""
        return sorted(self.ticks)


def is_open(comparison: Comparison, setting: Setting, index: int) -> bool:
    """Whether a row stands for every value of a setting: a zero-shot row, and a setting of the training."""
    return (
        setting.values[index] == ABSENT
        and comparison.rows[index].runs[0].config.dataset.shots == 0
        and _is_of_training(comparison, setting)
    )


def _is_of_training(comparison: Comparison, setting: Setting) -> bool:
    """By its section, which `--group-by` does not say."""
    section, dot, _ = setting.key.partition(".")
    if dot:
        return section in _OF_TRAINING
    keys = {key for row in comparison.rows for key in settings(row.runs[0].config)}
    return any(key.startswith(_OF_TRAINING) and setting.key == short_name(key) for key in keys)


def is_shots(setting: Setting) -> bool:
    """Whether a setting is the number of shots; `--group-by` gives it without its section."""
    return setting.key in ("dataset.shots", "shots")


def choose_axis(comparison: Comparison) -> tuple[Setting, Axis] | None:
    """The setting for the x axis: shots; the first other number where there are not two numbers of shots but zero.

    None where no setting is a number.
    """
    found = [(one, axis) for one in comparison.settings if (axis := _axis(comparison, one)) is not None]
    found.sort(key=lambda pair: not is_shots(pair[0]))  # stable: shots first
    several = [pair for pair in found if sum(place != 0 for place in pair[1].ticks) > 1]
    return next(iter([*several, *found]), None)


def _axis(comparison: Comparison, setting: Setting) -> Axis | None:
    """A setting as numbers; None where it has other values, or one number only."""
    read = [_number(text) for text in setting.values]
    highest = max((place for place in read if place is not None), default=0.0)
    if is_shots(setting):
        pairs = zip(setting.values, comparison.rows, strict=True)
        drawn = [_drawn(row) for text, row in pairs if text == _ALL]
        whole = max((count for count in drawn if count is not None), default=2 * (highest or 1.0))
        read = [whole if text == _ALL else place for text, place in zip(setting.values, read, strict=True)]
    ticks: dict[float, str] = {}
    for place, text in zip(read, setting.values, strict=True):
        if place is None and text != ABSENT:
            return None
        if place is not None:
            ticks[place] = text if text != _ALL or place not in ticks else ticks[place]
    return Axis(setting.name, tuple(read), ticks) if len(ticks) > 1 else None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _drawn(row: Row) -> float | None:
    """How many shots a row with all of them has, as shots are counted: per label for classification."""
    for run in row.runs:
        if run.result is not None:
            shots = json.loads(run.result.record).get("shots") or {}
            per_label = shots.get("per_label") if run.config.dataset.task.has_one_label else None
            if per_label:
                return sum(per_label.values()) / len(per_label)
            return float(shots["drawn"]) if shots.get("drawn") else None
    return None


def other_settings(comparison: Comparison, x: Setting) -> tuple[list[Setting], list[Setting]]:
    """The settings that make rows with the same x differ, and those that only change along with x.

    One that says the same as another before it (an alpha that is always twice the rank) is left out of both.
    """
    kept: list[Setting] = []
    along: list[Setting] = []
    for setting in comparison.settings:
        if setting.key == x.key:
            continue
        rows = range(len(setting.values))
        told = [row for row in rows if not is_open(comparison, setting, row) and not is_open(comparison, x, row)]
        if len({setting.values[row] for row in told}) < 2:
            continue
        if _tells(x, setting, told):
            along.append(setting)
        elif not any(_tells(one, setting, told) and _tells(setting, one, told) for one in kept):
            kept.append(setting)
    return kept, along


def _tells(one: Setting, other: Setting, rows: Sequence[int]) -> bool:
    """Whether the value of one setting says that of the other."""
    return len({(one.values[row], other.values[row]) for row in rows}) == len({one.values[row] for row in rows})


def colour_choices(comparison: Comparison, others: Sequence[Setting]) -> list[tuple[Setting, ...]]:
    """What lines may be coloured by: all the other settings together where these make few lines, else one at a time.

    Those with the fewest values first; empty sets of settings stand for a single line.
    """
    if len(combinations(comparison, others)) <= MOST_SERIES:
        return [tuple(others)]
    counts = {one.key: len(combinations(comparison, [one])) for one in others}
    few = [one for one in others if 1 < counts[one.key] <= MOST_SERIES]
    return [(one,) for one in sorted(few, key=lambda one: counts[one.key])] or [()]


def combinations(comparison: Comparison, together: Sequence[Setting]) -> list[tuple[str, ...]]:
    """The values that settings have together, in order; without the rows that stand for every value of one."""
    found = dict.fromkeys(
        tuple(one.values[row] for one in together)
        for row in range(len(comparison.rows))
        if not any(is_open(comparison, one, row) for one in together)
    )
    return sorted(found, key=lambda values: [value_order(value) for value in values])


def value_order(text: str) -> tuple[int, float, str]:
    """Sorts values: absent ones first, then numbers by size, then texts, `all` last."""
    if text == ABSENT:
        return 0, 0.0, text
    value = _number(text)
    if value is not None:
        return 1, value, text
    return (3 if text == _ALL else 2), 0.0, text


def about(comparison: Comparison, index: int) -> str:
    """What is special about a row: `shots=4, lr=0.001`; its name where nothing varies."""
    parts = [f"{one.name}={one.values[index]}" for one in comparison.settings if one.values[index] != ABSENT]
    text = ", ".join(parts) or comparison.rows[index].name
    return text if len(text) <= MOST_ABOUT else f"{text[: MOST_ABOUT - 1]}…"


def short_labels(values: Sequence[str], most: int = LONGEST_LABEL) -> dict[str, str]:
    """Texts -> as labels of an axis or a legend, all different: long ones without what all of them begin with."""
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
    """What all texts begin with, up to a space where it has one."""
    start = texts[0][: common_prefix(texts)]
    return start[: start.rfind(" ") + 1] or start
