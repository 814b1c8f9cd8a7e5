"""The wording: short and printable, whatever a file holds."""

from __future__ import annotations

from typing import Any

import pytest

from sft.config.wording import LONGEST_VALUE, config_error, listed, near, quoted, shown
from sft.errors import Problem


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a\x1b[31m\u202e\n", '"a\\u001b[31m\\u202e\\n"'),
        ("\ud800", '"\\ud800"'),
        ("\U000e0001", '"\\U000e0001"'),
        ("é שלום", '"é שלום"'),
        ([1, {"a": None}], '[1, {"a": null}]'),
    ],
)
def test_a_value_is_quoted_printably(value: Any, text: str) -> None:
    assert quoted(value) == text


@pytest.mark.parametrize("value", ["x" * 10**6, list(range(10**6)), [[["x" * 100]] * 100] * 100])
def test_a_large_value_is_shortened(value: Any) -> None:
    assert len(quoted(value)) == LONGEST_VALUE
    assert quoted(value).endswith("…")


def test_keys_and_lists_are_shortened() -> None:
    assert shown("k" * 1000) == "k" * 99 + "…"
    assert shown("a\nb") == "a\\u000ab"
    assert [shown(blank) for blank in ("", " ")] == ['""', '" "']
    assert listed(["a", "b"]) == '"a", "b"'
    assert listed(list(range(100))) == "0, 1, 2, 3, 4, 5, 6, 7 and 92 more"


def test_a_very_long_string_has_no_near_name() -> None:
    assert near("shotz", ["shots", "path"]) == '; did you mean "shots"?'
    assert near("shots" * 10**5, ["shots"]) == ""


def test_only_the_first_of_very_many_problems_are_listed() -> None:
    lines = str(config_error("f", [Problem(f"k{n}", "no") for n in range(1000)])).splitlines()
    assert lines[1].split() == ["k0", "no"]
    assert lines[-1].split() == ["…", "and", "960", "more"]
    assert len(str(config_error("f", [Problem(f"k{n}", "no") for n in range(40)])).splitlines()) == 41
