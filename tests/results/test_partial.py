"""Partial answers that are synced to disk."""

from __future__ import annotations

from pathlib import Path

from sft.results.partial import PartialAnswers


def test_answers_are_read_back_in_order(tmp_path: Path) -> None:
    partial = PartialAnswers(tmp_path / "new" / "answers.jsonl")
    assert partial.read() == []
    partial.append([{"predictions": "a"}, {"predictions": "two\nlines"}])
    partial.append([{"predictions": "ü"}])
    assert [answer["predictions"] for answer in partial.read()] == ["a", "two\nlines", "ü"]
    partial.remove()
    assert partial.read() == []


def test_an_incomplete_line_after_a_crash_is_dropped(tmp_path: Path) -> None:
    partial = PartialAnswers(tmp_path / "answers.jsonl")
    partial.append([{"predictions": "a"}, {"predictions": "b"}])
    whole = partial.path.read_bytes()
    for cut in range(1, len(whole) // 2):
        partial.path.write_bytes(whole[:-cut])
        assert partial.read() == [{"predictions": "a"}]
        partial.append([{"predictions": "c"}])
        assert partial.read() == [{"predictions": "a"}, {"predictions": "c"}]
        partial.path.write_bytes(whole)
