"""The embedded demo: what is shipped is sound, its configs run, and the script that made it runs again."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

LARGEST_MODEL = 8 * 2**20
SPLITS = ("train", "validation", "test")


def rows(repository: Path, task: str, split: str) -> list[dict[str, str]]:
    with (repository / "etc" / "demo" / "data" / task / f"{split}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def run(repository: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_the_model_is_small_and_has_its_own_template(repository: Path) -> None:
    from transformers import AutoTokenizer

    folder = repository / "etc" / "demo" / "model"
    assert (folder / "model.safetensors").stat().st_size <= LARGEST_MODEL
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.chat_template
    assert tokenizer.pad_token_id != tokenizer.eos_token_id


@pytest.mark.parametrize("task", ["sentiment", "extraction"])
def test_splits_share_no_text(repository: Path, task: str) -> None:
    texts = {split: {row["text"].lower() for row in rows(repository, task, split)} for split in SPLITS}
    assert all(len(texts[split]) == len(rows(repository, task, split)) for split in SPLITS)
    assert not texts["train"] & texts["test"]
    assert not texts["train"] & texts["validation"]
    assert not texts["validation"] & texts["test"]


def test_the_labels_are_balanced(repository: Path) -> None:
    for split in SPLITS:
        counts = Counter(row["label"] for row in rows(repository, "sentiment", split))
        assert counts.keys() == {"negative", "neutral", "positive"}
        assert len(set(counts.values())) == 1


def test_the_record_of_the_build_shows_no_leak(repository: Path) -> None:
    record = json.loads((repository / "etc" / "demo" / "build.json").read_text())
    for corpus in ("corpus", "second_corpus"):
        audit = record[corpus]["audit"]
        assert audit["documents"] > 10_000
        assert audit["documents_with_review_text_and_held_out_label_word"] == 0
        assert audit["documents_asking_for_the_town_of_an_order"] == 0
        assert audit["held_out_texts_found_in_pretraining"] == 0


@pytest.mark.long
def test_the_build_script_runs_again(repository: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    run(repository, "scripts/build_demo.py", "--out", tmp_path, "--quick")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "model").num_parameters() > 10_000
    for task in ("sentiment", "extraction"):
        for split in SPLITS:  # the data are drawn from fixed seeds, whatever the size of the model
            made = (tmp_path / "data" / task / f"{split}.csv").read_bytes()
            assert made == (repository / "etc" / "demo" / "data" / task / f"{split}.csv").read_bytes()


@pytest.mark.long  # what it trains on, and how, test_project.py's grid does too
def test_the_single_config_runs(repository: Path, tmp_path: Path) -> None:
    run(repository, "-m", "sft.cli", "run-experiment", "etc/configs/json/demo.json", "--results-path", tmp_path)
    (result,) = (json.loads(path.read_text()) for path in tmp_path.glob("runs/*/result.json"))
    assert result["labelled_examples"] == 48
    assert result["results"]["accuracy"] > 0.5


@pytest.mark.long
def test_the_generation_grid_runs(repository: Path, tmp_path: Path) -> None:
    grid = "etc/configs/jsonnet/demo_extraction.jsonnet"
    run(repository, "-m", "sft.cli", "run-experiments", grid, "--only", "shots=64 seed=13", "--results-path", tmp_path)
    (result,) = (json.loads(path.read_text()) for path in tmp_path.glob("runs/*/result.json"))
    assert result["labelled_examples"] == 64
    assert result["results"]["exact_match"] > 0.2
