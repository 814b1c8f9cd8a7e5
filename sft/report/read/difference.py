"""Settings that differ between two configurations, as tables show them. Knows no HTML."""

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
    """Cache for the pages of one report: thousands of runs share a few hundred configurations.

    Args:
        report_folder: folder that run folders are shown relative to; None: their results folder.
    """

    def __init__(self, report_folder: Path | None = None) -> None:
        self._report_folder = report_folder
        self._kept: dict[int, tuple[ExperimentConfig, Mapping[str, Any], Any]] = {}

    def folder(self, run: Run) -> str:
        """Return the path of a run folder."""
        return run.path_from(self._report_folder or run.folder.path.parent.parent)

    def settings(self, config: ExperimentConfig) -> Mapping[str, Any]:
        """Return the settings as dotted keys, without secrets."""
        return self._of(config)[1]

    def config(self, config: ExperimentConfig) -> Any:
        """Return the config as JSON, without secrets and defaults."""
        return self._of(config)[2]

    def _of(self, config: ExperimentConfig) -> tuple[ExperimentConfig, Mapping[str, Any], Any]:
        if id(config) not in self._kept:  # kept alive, so that no other config gets its id
            dumped = redacted(config.model_dump(mode="json", by_alias=True, exclude_defaults=True))
            self._kept[id(config)] = (config, _settings(config), dumped)
        return self._kept[id(config)]


def config_difference(one: ExperimentConfig, other: ExperimentConfig, shared: Shared | None = None) -> list[list[str]]:
    """Return the settings that differ, without secrets: key and both values."""
    if one is other:
        return []
    shared = shared or Shared()
    left, right = shared.settings(one), shared.settings(other)
    keys = dict.fromkeys([*left, *right])
    return [[key, *_values(key, left, right)] for key in keys if left.get(key, ABSENT) != right.get(key, ABSENT)]


def _settings(config: ExperimentConfig) -> Mapping[str, Any]:
    without_secrets = redacted(settings(config))
    return without_secrets if isinstance(without_secrets, dict) else {}


def _values(key: str, left: Mapping[str, Any], right: Mapping[str, Any]) -> list[str]:
    """Return both values as shown in tables; in full if the short forms are equal."""
    values = left.get(key, ABSENT), right.get(key, ABSENT)
    shown = [show(key, value) for value in values]
    return [cut(text, VALUE_CHARACTERS) for text in (shown if shown[0] != shown[1] else map(str, values))]
