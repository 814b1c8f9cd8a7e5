"""Values that are invalid under any key of a config."""

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
    ("value", "message"),
    [
        ({"a": {"b": [1.5, float("inf")]}}, "a.b[1]: is not a finite number"),
        ({"a": float("nan")}, "a: is not a finite number"),
        ({"a": 10**400}, "a: expected an integer from -2^63 to 2^63 - 1"),
        ({"a": ["x", "\ud800"]}, "a[1]: contains the invalid character \\ud800"),
        ({"a": "x\0"}, "a: contains the invalid character \\u0000"),
        ({"a": {"b\0": 1}}, "a.b\\u0000: the key contains the invalid character \\u0000"),
        ({"a": list(range(MAX_ENTRIES + 1))}, "a: expected at most 100,000 entries, got 100,001"),
        ({"a": {str(n): n for n in range(MAX_ENTRIES + 1)}}, "a: expected at most 100,000 entries, got 100,001"),
        ({"a": ["x" * (MAX_LENGTH + 1)]}, "a[0]: expected at most 1,000,000 characters, got 1,000,001"),
        (nested(MAX_DEPTH + 2), "[0]" * (MAX_DEPTH + 1) + f": is nested too deeply: more than {MAX_DEPTH} levels"),
        (nested(100_000), "[0]" * (MAX_DEPTH + 1) + f": is nested too deeply: more than {MAX_DEPTH} levels"),
    ],
    ids=["infinite", "nan", "large", "surrogate", "nul", "key", "entries", "keys", "length", "deep", "very deep"],
)
def test_an_invalid_value_is_a_problem_with_its_key_path(value: Any, message: str) -> None:
    (problem,) = value_problems(value)
    assert ": ".join(problem) == message


@pytest.mark.parametrize(
    "value", [None, True, -(2**63), 1e308, "שלום 🙂\t\n", [], {"a": {"": [None]}}, nested(MAX_DEPTH)]
)
def test_valid_values_are_no_problem(value: Any) -> None:
    assert value_problems(value) == []
