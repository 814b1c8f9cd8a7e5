"""Values that no config can hold, each with its key path."""

from __future__ import annotations

from typing import Any

import pytest

from sft.config.reading.values import MAX_DEPTH, MAX_ENTRIES, MAX_LENGTH, value_problems


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"a": {"b": [1.5, float("inf")]}}, "a.b[1]: is not a finite number"),
        ({"a": float("nan")}, "a: is not a finite number"),
        ({"a": 10**400}, "a: is too large a number: whole numbers go to 2^63"),
        ({"a": ["x", "\ud800"]}, "a[1]: holds \\ud800, which is no character of a text"),
        ({"a": "x\0"}, "a: holds \\u0000, which is no character of a text"),
        ({"a": {"b\0": 1}}, "a.b\\u0000: the key holds \\u0000, which is no character of a text"),
        ({"a": list(range(MAX_ENTRIES + 1))}, "a: expected at most 100,000 entries, got 100,001"),
        ({"a": {str(n): n for n in range(MAX_ENTRIES + 1)}}, "a: expected at most 100,000 entries, got 100,001"),
        ({"a": ["x" * (MAX_LENGTH + 1)]}, "a[0]: expected at most 1,000,000 characters, got 1,000,001"),
        (nested(MAX_DEPTH + 2), "[0]" * (MAX_DEPTH + 1) + f": is nested too deeply: more than {MAX_DEPTH} levels"),
        (nested(100_000), "[0]" * (MAX_DEPTH + 1) + f": is nested too deeply: more than {MAX_DEPTH} levels"),
    ],
    ids=["infinite", "nan", "large", "surrogate", "nul", "key", "entries", "keys", "length", "deep", "very deep"],
)
def test_what_cannot_be_used(value: Any, said: str) -> None:
    (problem,) = value_problems(value)
    assert ": ".join(problem) == said


@pytest.mark.parametrize(
    "value", [None, True, -(2**63), 1e308, "שלום 🙂\t\n", [], {"a": {"": [None]}}, nested(MAX_DEPTH)]
)
def test_what_can(value: Any) -> None:
    assert value_problems(value) == []
