"""Files: strict JSON, one spelling for equal values, hashes of content."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sft.io import canonical_json, finite, hash_path, parse_json, write_atomic


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a": -Infinity}', '{"a": 1, "a": 2}', '{"a": ', ""])
def test_what_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_json(text)


def test_equal_values_have_one_spelling() -> None:
    assert (
        canonical_json({"b": 1.0, "a": [1, 2.5]}) == canonical_json({"a": [1.0, 2.5], "b": 1}) == '{"a":[1,2.5],"b":1}'
    )
    assert canonical_json(True) != canonical_json(1)


def test_infinities_become_null() -> None:
    assert finite({"a": [float("nan"), (float("inf"), 1.5)]}) == {"a": [None, [None, 1.5]]}


def test_hashes_follow_content_not_place(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "inner").mkdir(parents=True)
        (tmp_path / name / "inner" / "file.txt").write_text("content")
        (tmp_path / name / ".hidden").write_text(name)
    assert hash_path(tmp_path / "one") == hash_path(tmp_path / "two")
    (tmp_path / "two" / "inner" / "file.txt").rename(tmp_path / "two" / "inner" / "renamed.txt")
    assert hash_path(tmp_path / "one") != hash_path(tmp_path / "two")


def test_a_changed_file_is_hashed_again(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("aa")
    before = hash_path(file)
    file.write_text("bb")
    os.utime(file, ns=(1, 1))
    assert hash_path(file) != before


def test_atomic_writes_make_folders_and_leave_no_trace(tmp_path: Path) -> None:
    write_atomic(tmp_path / "new" / "file.txt", "ü")
    assert (tmp_path / "new" / "file.txt").read_bytes() == "ü".encode()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file.txt"]
