"""Strict JSON: every error has its line and column."""

from __future__ import annotations

import json

import pytest

from sft.config.reading.json_text import read_json
from sft.config.reading.values import MAX_DEPTH
from sft.errors import ConfigError


@pytest.mark.parametrize("value", [{"a": [1, 2.5, None, True, 'q"uo\\te', "é"]}, [], "x", 3])
def test_json_is_read(value: object) -> None:
    assert read_json(json.dumps(value).encode(), "f") == value
    assert read_json(b"\xef\xbb\xbf" + json.dumps(value, ensure_ascii=False).encode(), "f") == value


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "f:1:1: not JSON: the file is empty"),
        (b'{"a": 1,\n "b" 2}', "f:2:6: not JSON: expecting ':' delimiter"),
        (b'{"a": {"x": 1},\n "b": {"x": 1, "y": "x",\n "x": 2}}', 'f:3:2: duplicate key "x"'),
        (b'{"\\u0061": 1, "a": 2}', 'f:1:15: duplicate key "a"'),
        (b'{"a": ["NaN", "\\"",\n NaN]}', "f:2:2: NaN is not a JSON number"),
        (b"[-Infinity]", "f:1:2: -Infinity is not a JSON number"),
        (b"[" + b"9" * 5000 + b"]", "f:1:2: expected a number of at most 4000 digits, got 5000"),
        (b"[" * 100_000, f"f:1:{MAX_DEPTH + 1}: is nested too deeply: more than {MAX_DEPTH} levels"),
        (b'{\n"a": "\xff"}', "f:2:7: is not UTF-8 text; save it as UTF-8"),
        ("{}".encode("utf-16"), "f:1:1: is not UTF-8 text but looks like UTF-16; save it as UTF-8"),
    ],
    ids=["empty", "syntax", "duplicate", "duplicate escaped", "nan", "infinity", "digits", "deep", "latin", "utf-16"],
)
def test_an_error_has_its_line_and_column(content: bytes, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read_json(content, "f")
    assert str(raised.value) == message
