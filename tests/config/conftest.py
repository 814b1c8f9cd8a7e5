"""A minimal valid config, and configs written to files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def minimal() -> dict[str, Any]:
    """The least that a run-experiment with shots needs."""
    return {
        "dataset": {"path": "org/data", "task_type": "classification", "shots": 4},
        "model": {"name": "org/model"},
        "lora": {"r": 8},
        "prompting": {"input_columns": ["text"], "output_column": "label"},
        "training": {},
        "inference": {},
    }


@pytest.fixture
def data() -> dict[str, Any]:
    """A minimal valid config as data, free to be changed."""
    return minimal()


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write JSON data or text to a file: `write(data, "mine.json")`."""

    def write_file(content: Any, name: str = "mine.json") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    return write_file
