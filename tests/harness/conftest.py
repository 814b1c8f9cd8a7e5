"""Local tasks of lm-eval: YAML files and rows in one folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROWS = [
    {"q": f"{subject} is", "options": options, "gold": n % len(options)}
    for n, (subject, options) in enumerate(
        [
            ("The sky", ["blue", "a kind of cheese", "fast"]),
            ("A lamp", ["bright", "wet", "a verb"]),
            ("Iron", ["hard", "soft as wool", "sung"]),
            ("Rain", ["wet", "dry", "made of paper"]),
            ("A cat", ["an animal", "a number", "tall as a house"]),
            ("Seven", ["a number", "green", "salt"]),
            ("The moon", ["round", "a loaf of bread", "near"]),
        ]
    )
]
CHOICE: dict[str, Any] = {
    "task": "mine_choice",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"train": "rows.jsonl", "test": "rows.jsonl"}},
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "{{q}}",
    "doc_to_choice": "{{options}}",
    "doc_to_target": "gold",
    "metric_list": [
        {"metric": "acc", "aggregation": "mean", "higher_is_better": True},
        {"metric": "acc_norm", "aggregation": "mean", "higher_is_better": True},
    ],
    "metadata": {"version": 2.0},
}


@pytest.fixture
def write_task(tmp_path: Path) -> Callable[..., str]:
    """Write a task and its rows: `write_task("mine.yaml", task="mine", doc_to_text=…)`; None removes a key."""

    def write(name: str = "choice.yaml", **changes: Any) -> str:
        folder = tmp_path / "tasks"
        folder.mkdir(exist_ok=True)
        (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
        task = {key: value for key, value in {**CHOICE, **changes}.items() if value is not None}
        file = folder / name
        file.write_text(json.dumps(task), encoding="utf-8")  # JSON is YAML
        return str(file)

    return write
