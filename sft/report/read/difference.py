"""The settings in which two configurations differ, as tables show them. Knows no HTML."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sft.config.sections.schema import ExperimentConfig
from sft.config.varying import ABSENT, settings, show
from sft.report.read.inspection import cut
from sft.report.read.runs import Run
from sft.secrets import redacted

VALUE_CHARACTERS = 1000  # of a setting


class Shared:
    """What the pages of one report share, made once: thousands of runs have a few hundred configurations.

    Args:
        place: the report's folder, from where run folders are named; None: their results folder.
    """

    def __init__(self, place: Path | None = None) -> None:
        self._place = place
        self._kept: dict[int, tuple[ExperimentConfig, Mapping[str, Any], Any]] = {}

    def folder(self, run: Run) -> str:
        """Where a run lies."""
        return run.path_from(self._place or run.folder.path.parent.parent)

    def settings(self, config: ExperimentConfig) -> Mapping[str, Any]:
        """As dotted keys, without secrets."""
        return self._of(config)[1]

    def config(self, config: ExperimentConfig) -> Any:
        """As JSON, without secrets and what equals the defaults."""
        return self._of(config)[2]

    def _of(self, config: ExperimentConfig) -> tuple[ExperimentConfig, Mapping[str, Any], Any]:
        if id(config) not in self._kept:  # held, so that no other one gets its id
            dumped = redacted(config.model_dump(mode="json", by_alias=True, exclude_defaults=True))
            self._kept[id(config)] = (config, _settings(config), dumped)
        return self._kept[id(config)]


def config_difference(one: ExperimentConfig, other: ExperimentConfig, shared: Shared | None = None) -> list[list[str]]:
    """The settings in which two configurations differ: key, the one's value, the other's; no secrets in them."""
    if one is other:
        return []
    shared = shared or Shared()
    left, right = shared.settings(one), shared.settings(other)
    keys = dict.fromkeys([*left, *right])
    return [[key, *_values(key, left, right)] for key in keys if left.get(key, ABSENT) != right.get(key, ABSENT)]


def _settings(config: ExperimentConfig) -> Mapping[str, Any]:
    found = redacted(settings(config))
    return found if isinstance(found, dict) else {}


def _values(key: str, left: Mapping[str, Any], right: Mapping[str, Any]) -> list[str]:
    """As they stand in tables; in full, where two of them would look the same."""
    given = left.get(key, ABSENT), right.get(key, ABSENT)
    shown = [show(key, value) for value in given]
    return [cut(text, VALUE_CHARACTERS) for text in (shown if shown[0] != shown[1] else map(str, given))]
