"""Words in scripts with and without spaces."""

from __future__ import annotations

import pytest

from sft.prompting.selection.words import words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Where's my CARD? (2nd time!)", ["where", "s", "my", "card", "2nd", "time"]),
        ("Straße, \uff21\uff22\uff23 ﬁn", ["strasse", "abc", "fin"]),
        ("हिन्दी में", ["हिन्दी", "में"]),  # combining vowels are part of the word
        ("don't_stop", ["don", "t", "stop"]),
        ("银行卡丢了", ["银行", "行卡", "卡丢", "丢了"]),
        ("卡", ["卡"]),
        ("我的card丢了", ["我的", "card", "丢了"]),
        ("บัตรหาย", ["บัต", "ตร", "รห", "หา", "าย"]),  # a combining vowel stays with its letter
        ("ที่ไหน", ["ที่ไ", "ไห", "หน"]),
        ("カード", ["カー", "ード"]),
        ("카드를 잃어버렸어요", ["카드를", "잃어버렸어요"]),  # Korean has spaces
        ("?! …", []),
        ("", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    import unicodedata

    assert words(text) == [unicodedata.normalize("NFKC", word) for word in expected]
