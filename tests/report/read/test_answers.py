"""Tables of predictions are read from disk for any file name and any row length."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sft.errors import UserError
from sft.report.read import answers
from sft.report.read.answers import read_table


def test_a_folder_whose_name_is_not_utf_8_is_read(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff"))
    try:
        folder.mkdir()
    except (OSError, UnicodeError):
        pytest.skip("this file system does not accept such names")
    (folder / "predictions.tsv").write_text("text\tpredictions\na\tb\n")
    assert read_table(folder / "predictions.tsv").to_pydict() == {"text": ["a"], "predictions": ["b"]}


@pytest.mark.parametrize("row", [0, 1, 9])
def test_rows_longer_than_blocks_are_read(tmp_path: Path, row: int) -> None:
    texts = ["short"] * 10
    texts[row] = "long " * (3 * answers._BLOCK // 5)
    file = tmp_path / "predictions.tsv"
    file.write_text("\n".join(["text\tpredictions", *(f"{text}\tx" for text in texts), ""]))
    assert read_table(file).column("text").to_pylist() == texts


def test_an_invalid_table_is_named(tmp_path: Path) -> None:
    file = tmp_path / "predictions.tsv"
    file.write_text("text\tpredictions\na\tb\tc\n")
    with pytest.raises(UserError, match=r"predictions\.tsv cannot be read"):
        read_table(file)
    file.write_bytes(b"")
    with pytest.raises(UserError, match=r"predictions\.tsv cannot be read"):
        read_table(file)
