"""Cutting texts and sharing a budget of tokens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sft.prompting.encoding.encode import Encoder
from sft.prompting.encoding.truncate import count_rounds, cut_text, keep_rounds, largest, rounds_that_fit, share


def test_a_text_that_fits_stays(tokenizer_with: Callable[..., Any]) -> None:
    encoder = Encoder(tokenizer_with(None))
    assert cut_text(encoder, "abc", 3) == ("abc", 0)
    assert cut_text(encoder, "abc", None) == ("abc", 0)
    assert cut_text(encoder, "", 1) == ("", 0)


def test_the_end_is_cut_and_characters_stay_whole(tokenizer_with: Callable[..., Any]) -> None:
    encoder = Encoder(tokenizer_with(None))
    assert cut_text(encoder, "abcdef", 4) == ("abcd", 2)
    assert cut_text(encoder, "a漢字", 5) == ("a漢", 3)  # characters of three bytes, one token each
    assert cut_text(encoder, "a漢字", 7) == ("a漢字", 0)
    assert cut_text(encoder, "漢", 2).text == ""
    assert cut_text(encoder, "abc", 0) == ("", 3)


@pytest.mark.parametrize("folder", ["tokenizers/gpt2", "models/stories260K"])
def test_the_kept_text_is_the_longest_prefix_within_the_limit(repository: Path, folder: str) -> None:
    path = repository.parent / "shared" / folder
    if not path.exists():
        pytest.skip(f"no {path.name} beside the repository")
    from transformers import AutoTokenizer

    encoder = Encoder(AutoTokenizer.from_pretrained(path))
    text = "The naïve 漢字 weren't understandable, 12345 <|endoftext|> times\n\n  over."
    for limit in range(1, 40):
        kept, lost = cut_text(encoder, text, limit)
        assert text.startswith(kept)
        size = len(encoder.encode(kept).ids)
        assert size <= limit
        assert size >= limit - 3 or not lost  # a character may take that many tokens
        assert (lost > 0) == (kept != text)


@pytest.mark.parametrize(
    ("lengths", "room", "kept"),
    [
        ([10, 4], 14, [10, 4]), ([10, 4], 13, [9, 4]), ([10, 4], 8, [4, 4]), ([10, 4], 5, [3, 2]), ([10, 4], 0, [0, 0]),
        ([3, 9, 9], 15, [3, 6, 6]), ([7], 5, [5]), ([7], 50, [7]), ([], 5, []),
    ],
)  # fmt: skip
def test_the_longest_are_cut_first(lengths: list[int], room: int, kept: list[int]) -> None:
    assert sorted(share(lengths, room)) == sorted(kept)
    assert sum(share(lengths, room)) == min(room, sum(lengths))


def test_rounds() -> None:
    assert count_rounds("abcdef", 2) == 3
    assert count_rounds("abcde", 2) == 3
    assert count_rounds("", 2) == 0
    assert keep_rounds("abcdef", 2, 2) == "abcd"
    assert keep_rounds("abcdef", 0, 2) == ""
    assert keep_rounds("abcdef", 2, 2, last=True) == "cdef"
    assert keep_rounds("abcdef", 0, 2, last=True) == ""
    assert keep_rounds("abc", 2, 2, last=True) == "abc"


@pytest.mark.parametrize("power", [0, 0.2, 1, 4])
def test_the_largest_number_that_fits_is_found_with_few_measurements(power: float) -> None:
    """Lengths may grow unevenly."""
    lengths = [10 + int(7 * number**power) + number for number in range(200)]
    most = 0
    for below in (1, 2, 3, 20, 199):
        for limit in range(0, lengths[below], max(lengths[below] // 50, 1)):
            asked: list[int] = []

            def length(number: int, asked: list[int] = asked) -> int:
                asked.append(number)
                return lengths[number]

            number = largest(length, limit, below)
            assert number == max((n for n in range(below) if lengths[n] <= limit), default=0)
            most = max(most, len(asked))
    assert most <= {0: 10, 0.2: 10, 1: 5, 4: 14}[power]


def test_the_longest_row_determines_the_rounds() -> None:
    rows = [lambda rounds: 10 + 5 * rounds, lambda rounds: 12 + 5 * rounds, lambda rounds: 3]
    assert rounds_that_fit(rows, 4, None) == 4
    assert rounds_that_fit(rows, 4, 32) == 4
    assert rounds_that_fit(rows, 4, 31) == 3
    assert rounds_that_fit(rows, 4, 5) == 0
