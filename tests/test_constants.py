"""Documented constants: a change of one is a change of the docs, of published figures or of ids, so it fails here."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

# page, a sentence of it with the number, "module:constant", and the number of its units that the page names
SENTENCES = [
    ("sweeps.md", "updates its marker every 30 seconds", "sft.results.markers:SECONDS_BETWEEN_HEARTBEATS", 30),
    ("sweeps.md", "is silent for 15 minutes", "sft.results.markers:STALE_AFTER", 15 * 60),
    ("statistics.md", "fewer than 50 rows right or wrong", "sft.report.compared.methods:FEWEST_FOR_BCA", 50),
    ("statistics.md", "of which one has fewer than ten rows", "sft.report.statistics.sums:FEWEST_OF_A_LABEL", 10),
    ("troubleshooting.md", "needs at least 20 rows", "sft.report.compared.methods:FEWEST_ROWS", 20),
    ("figures.md", "more than 32,768 characters", "sft.prompting.encoding.long_text:WHOLE", 32_768),
    ("configuration.md", "Seed of the run. Default: 13.", "sft.config.sections.schema:DEFAULT_SEED", 13),
    ("configuration.md", "random texts (default 20)", "sft.plugins:DOMAIN_PROBES", 20),
    ("configuration.md", "labelled rows to fit on (default 128)", "sft.plugins:LABELLED_ROWS", 128),
]
# Defaults and limits that users rely on without having set them.
VALUES = [
    ("sft.config.experiment:ID_LENGTH", 12),
    ("sft.config.identity:ID_VERSION", 2),
    ("sft.config.libraries.trainer:DEFAULT_BATCH", 8),
    ("sft.config.libraries.trainer:FULL_LEARNING_RATE", 2e-5),
    ("sft.config.reading.jsonnet:MAX_EXPERIMENTS", 10_000),
    ("sft.evaluation.multilabel:DEFAULT_THRESHOLD", 0.5),
    ("sft.launchers.local.launcher:GRACE_SECONDS", 4.0),
    ("sft.prompting.plan:NEW_TOKENS", 256),
    ("sft.prompting.probes:CONTENT_FREE", ("N/A", "[MASK]", "")),
    ("sft.prompting.templates.bounds:SECONDS", 5),
    ("sft.prompting.templates.bounds:MEMORY", 1 << 30),
    ("sft.calibration.temperature:BOUNDS", (0.01, 100.0)),
    ("sft.training.collators:IGNORED", -100),
]


def value_of(constant: str) -> Any:
    module, _, name = constant.partition(":")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize(("page", "sentence", "constant", "number"), SENTENCES)
def test_the_docs_name_the_constant(repository: Path, page: str, sentence: str, constant: str, number: float) -> None:
    text = " ".join((repository / "docs" / page).read_text(encoding="utf-8").split())
    assert sentence in text
    assert value_of(constant) == number


@pytest.mark.parametrize(("constant", "value"), VALUES)
def test_defaults_and_limits_stay(constant: str, value: object) -> None:
    assert value_of(constant) == value


def test_the_tuned_trainer_arguments_stay() -> None:
    from sft.config.libraries.trainer import trainer_defaults

    defaults = trainer_defaults()
    assert (defaults["num_train_epochs"], defaults["learning_rate"], defaults["warmup_steps"]) == (5, 2e-4, 0)
    assert (defaults["weight_decay"], defaults["max_grad_norm"], defaults["lr_scheduler_type"]) == (0.0, 1.0, "linear")


def test_the_calibrations_defaults_stay() -> None:
    from sft.calibration.base import Settings
    from sft.config.sections.calibration import CalibrationConfig

    assert Settings() == (None, (-5.0, 5.0), 50)
    config = CalibrationConfig(calibration_fn="adjustable_batch")
    assert (config.gamma_range, config.gamma_steps, config.language) == ((-5.0, 5.0), 50, "en")
