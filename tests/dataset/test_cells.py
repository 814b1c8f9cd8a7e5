"""The rule that converts a value to a string."""

from __future__ import annotations

import datetime
import decimal
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft.dataset.cells import Number, cell_text, nested_text, parse_cells


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("007", "007"), ("", ""), (None, None), (True, "true"), (False, "false"), (0, "0"), (2**70, str(2**70)),
        (1.5, "1.5"), (1.0, "1"), (-0.5, "-0.5"), (1e22, "1e+22"), (float("nan"), None), (float("inf"), "inf"),
        (np.float32(0.1), "0.1"), (np.float16(0.1), "0.1"), (np.int8(3), "3"), (np.bool_(True), "true"),
        (decimal.Decimal("1.10"), "1.10"), (datetime.date(2024, 7, 25), "2024-07-25"), (b"\x00\x01", "(2 bytes)"),
        (["a", 1, None, True], '["a", 1, null, true]'), ({"größe": [Number("1.10")]}, '{"größe": [1.10]}'),
    ],
)  # fmt: skip
def test_each_kind_of_value(value: Any, text: str | None) -> None:
    assert cell_text(value) == text


@pytest.mark.parametrize(
    "literal", ["007"[2:], "1.10", "1e5", "1E+05", "-0", "-0.0", "18446744073709551616", "0.30000000000000004441"]
)
def test_a_json_number_keeps_its_characters(literal: str) -> None:
    assert cell_text(parse_cells(literal)) == literal
    assert nested_text(parse_cells(f'{{"a": [{literal}]}}')) == f'{{"a": [{literal}]}}'


def test_values_that_json_lacks() -> None:
    assert parse_cells("[NaN, Infinity, null]") == [None, "Infinity", None]
    with pytest.raises(ValueError, match='duplicate key "a"'):
        parse_cells('{"a": 1, "a": 2}')


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(json_values)
def test_nested_text_is_json_of_the_same_value(value: Any) -> None:
    assert json.loads(nested_text(value)) == value
