"""`scripts/words.py` finds the words that are not used here, in text and in names, and nothing else."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def found(repository: Path, tmp_path: Path) -> Callable[[str], list[str]]:
    """Return the words that the script finds in a line."""
    spec = importlib.util.spec_from_file_location("words", repository / "scripts" / "words.py")
    assert spec is not None and spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def words(line: str) -> list[str]:
        (tmp_path / "line.py").write_text(line, encoding="utf-8")
        return [hit.word for hit in module.hits([tmp_path / "line.py"])]

    return words


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("# rows are ju" + "dged an" + "ew", ["ju" + "dged", "an" + "ew"]),
        ("def to" + "ld_once(): ...", ["to" + "ld"]),
        ("class Ju" + "dgedRows: ...", ["Ju" + "dged"]),
        ('raise ValueError("expected a who' + 'le number")', ["who" + "le number"]),
        ("the label st" + "ands twice", ["st" + "ands"]),
        ("a bor" + "der", ["bor" + "der"]),
        ("pla" + "ces_N = 1", ["pla" + "ces"]),
    ],
)
def test_words_that_are_not_used(found: Callable[[str], list[str]], line: str, words: list[str]) -> None:
    assert found(line) == words


@pytest.mark.parametrize(
    "line",
    [
        "the value is changed in place, and takes its place",
        "MLP stands for multilayer perceptron",
        "replace the signature of a standard signal; the design is assigned",
        "permutations by sign flips, np.sign, sign_flip",
        'key = "jud' + 'ged_on"  # words: fixed name',
        "whole rows, a number, foretold",
    ],
)
def test_words_that_are_used(found: Callable[[str], list[str]], line: str) -> None:
    assert found(line) == []
