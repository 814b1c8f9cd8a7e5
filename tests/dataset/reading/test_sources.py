"""A new data format is a reader and a spec: files, compressed files and folders of it are read."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from sft import plugins
from sft.config.sections.dataset import DatasetConfig
from sft.dataset.load import load_splits
from sft.dataset.reading import sources
from sft.dataset.reading.files import DataFile, open_text
from sft.dataset.rows import RowBuilder, Rows
from sft.plugins import DATA_FORMATS, DataFormatSpec


def read_pairs(file: DataFile, args: Mapping[str, Any], columns: Sequence[str] | None = None) -> Rows:
    """Read lines `label = text`."""
    rows = RowBuilder()
    with open_text(file, None, None) as lines:
        for line in lines:
            label, text = line.split("=", 1)
            rows.add({"label": label.strip(), "text": text.strip()})
    return rows.rows(file.shown)


@pytest.fixture(autouse=True)
def pairs_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    spec = DataFormatSpec("pairs", f"{__name__}:read_pairs", suffixes=(".pairs",), builder="text")
    monkeypatch.setitem(DATA_FORMATS._specs, "pairs", spec)
    suffixes = {**plugins.DATA_SUFFIXES, ".pairs": "pairs"}
    monkeypatch.setattr(sources, "DATA_SUFFIXES", suffixes)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(DATA_FORMATS, "resolve", lambda _: read_pairs)


def texts(path: Path, split: str = "train") -> list[str | None]:
    splits = load_splits(DatasetConfig(path=str(path), task_type="classification", train_split=split), ["train"])
    assert splits.train is not None
    return splits.train.texts("text")


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "data.pairs").write_text("yes = so 007\nno = a = b\n", encoding="utf-8")
    assert texts(tmp_path / "data.pairs") == ["so 007", "a = b"]


def test_a_compressed_file(tmp_path: Path) -> None:
    (tmp_path / "data.pairs.gz").write_bytes(gzip.compress(b"yes = so\n"))
    assert texts(tmp_path / "data.pairs.gz") == ["so"]


def test_a_folder_with_splits(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for split in ("train", "test"):
        (folder / f"{split}.pairs").write_text(f"yes = {split}\n", encoding="utf-8")
    assert texts(folder) == ["train"]
    assert texts(folder, "test") == ["test"]
