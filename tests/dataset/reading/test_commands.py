"""Commands on real-world files: the metrics can be recomputed from predictions.tsv."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sft.cli.main import app
from sft.errors import DataError

MakeConfig = Callable[..., dict[str, Any]]
ROWS = [
    ("007", "1.10"),
    ("1.10", "1.1"),
    ("2024-07-25", "true"),
    ('say "no"', "007"),
    ("NA", "7"),
    ("", "true"),
    ("1e5", "NA"),
]


def write_rows(path: Path) -> None:
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("text", "label"), *ROWS])
    elif path.suffix == ".tsv":
        path.write_text("".join(f"{text}\t{label}\n" for text, label in [("text", "label"), *ROWS]), encoding="utf-8")
    else:
        objects = (f'{{"text": {json.dumps(text)}, "label": {label}}}' for text, label in JSON_ROWS)
        path.write_text("\n".join(objects), encoding="utf-8")


JSON_ROWS = [(text, label if label not in ("007", "NA") else json.dumps(label)) for text, label in ROWS]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_accuracy_follows_from_predictions_tsv(suffix: str, make_config: MakeConfig, tmp_path: Path) -> None:
    write_rows(tmp_path / f"data{suffix}")
    dataset = {"path": str(tmp_path / f"data{suffix}"), "task_type": "classification", "test_split": "train"}
    verbalizers = {"007": "bond", "7": "seven", "1.10": "ten", "1.1": "one", "true": "yes", "NA": "none"}
    prompting = {"input_columns": ["text"], "output_column": "label", "verbalizers": verbalizers}
    (tmp_path / "mine.json").write_text(json.dumps(make_config(dataset=dataset, prompting=prompting)), encoding="utf-8")
    arguments = ["evaluate", str(tmp_path / "mine.json"), "--results-path", str(tmp_path / "results")]
    assert CliRunner().invoke(app, arguments, catch_exceptions=False).exit_code == 0
    (folder,) = (tmp_path / "results" / "runs").iterdir()
    with (folder / "predictions.tsv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [(row["text"], row["label"]) for row in rows] == ROWS
    results = json.loads((folder / "result.json").read_text(encoding="utf-8"))["results"]
    right = sum(row["label"] == row["predictions"] for row in rows)
    assert results["accuracy"] == pytest.approx(right / len(rows))
    assert results["support"] == {label: sum(answer == label for _, answer in ROWS) for label in verbalizers}


def test_a_column_of_lists_is_refused_before_the_run(make_config: MakeConfig, tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": "hi"}], "text": "hi", "label": label} for label in "ab"]
    (tmp_path / "data.json").write_text(json.dumps({"train": rows, "test": rows}), encoding="utf-8")
    dataset = {"path": str(tmp_path / "data.json"), "task_type": "classification"}
    prompting = {"input_columns": ["messages"], "output_column": "label"}
    config = make_config(dataset=dataset, prompting=prompting)
    (tmp_path / "mine.json").write_text(json.dumps(config), encoding="utf-8")
    result = CliRunner().invoke(app, ["show-prompt", str(tmp_path / "mine.json")])
    assert isinstance(result.exception, DataError)
    assert 'column "messages" holds lists, not text; columns with text: text, label' in str(result.exception)
