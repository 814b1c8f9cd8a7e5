"""The check of the data in a child: what it finds, and that its own breakdown is not taken for good news."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sft.cli import app
from sft.sweep.check import load_plan
from sft.sweep.preflight import Checked, check_data


@pytest.fixture
def config(tmp_path: Path, make_config: Callable[..., dict[str, Any]]) -> Path:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(make_config(dataset__shots=0, lora=None, training=None)), encoding="utf-8")
    return path


def test_nothing_to_check_is_nothing_wrong(tmp_path: Path) -> None:
    assert check_data([], tmp_path) == Checked({})


def test_a_check_that_breaks_down_is_not_all_valid(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # a Python that has no sft: stands for whatever may befall the child
    monkeypatch.setattr(sys, "executable", "/bin/false")
    checked = check_data(load_plan(config, None, None).experiments, config.parent)
    assert checked == Checked({}, "exit code 1")
    answer = CliRunner().invoke(app, ["validate", str(config), "--data"])
    assert answer.exit_code == 1
    assert "All valid" not in answer.output
    assert "the check itself broke down" in answer.output


@pytest.mark.slow
def test_a_check_that_works_finds_nothing_wrong(config: Path) -> None:
    answer = CliRunner().invoke(app, ["validate", str(config), "--data"])
    assert answer.exit_code == 0, answer.output
    assert answer.output.splitlines()[-1] == "All valid."
