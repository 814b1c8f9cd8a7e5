"""Strict JSON from a file's bytes, with the line and column of whatever stands against it.

Python's parser gives a place for syntax errors only: for a repeated key, NaN, a number too long or nesting too deep the
text is read a second time, here. Knows nothing of configs.
"""

from __future__ import annotations

import codecs
import json
import re
from typing import Any, NamedTuple

from sft.config.reading.values import MAX_DEPTH
from sft.config.wording import quoted
from sft.errors import ConfigError, Problem
from sft.io import parse_json

# Whatever is not one of these (white space, true, false, null) has no part in what can be wrong.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]|-?Infinity|NaN|-?\d[\d.eE+-]*', re.DOTALL)
_COLON = re.compile(r"\s*:")
_LONGEST_NUMBER = 4000  # digits; Python refuses to read whole numbers longer than that


class _Stumble(NamedTuple):
    offset: int
    what: str


def read_json(content: bytes, source: str) -> Any:
    """The value of a JSON text in UTF-8.

    Args:
        content: of the file.
        source: the file, for messages.

    Raises:
        ConfigError: it is no JSON; with `file:line:column`.
    """
    try:
        text = content.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8", errors="replace")
        raise _error(source, before, len(before), _no_utf8(content)) from None
    if not text.strip():
        raise _error(source, text, 0, "not JSON: the file is empty")
    try:
        return parse_json(text)
    except json.JSONDecodeError as error:
        what = f"not JSON: {error.msg[:1].lower()}{error.msg[1:]}"
        raise _error(source, text, error.pos, what) from None
    except (ValueError, RecursionError) as error:
        offset, what = _stumble(text) or _Stumble(0, f"not JSON: {error}")
        raise _error(source, text, offset, what) from None


def _no_utf8(content: bytes) -> str:
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in content[:4]
    return "is not UTF-8 text" + (": it looks like UTF-16, save it as UTF-8" if wide else "")


def _error(source: str, text: str, offset: int, what: str) -> ConfigError:
    line = text.count("\n", 0, offset) + 1
    column = offset - text.rfind("\n", 0, offset)
    return ConfigError(f"{source}:{line}:{column}", [Problem("", what)])


def _stumble(text: str) -> _Stumble | None:
    """The first place that strict parsing refuses in a text without a syntax error before it."""
    keys: list[set[str]] = []  # of every open object, empty for a list
    for token in _TOKEN.finditer(text):
        start, word = token.start(), token.group()
        if word in "{[":
            keys.append(set())
            if len(keys) > MAX_DEPTH:
                return _Stumble(start, f"is nested too deeply: more than {MAX_DEPTH} levels")
        elif word in "}]":
            del keys[-1:]
        elif word.startswith('"'):
            if keys and _COLON.match(text, token.end()):
                key = json.loads(word, strict=False)
                if key in keys[-1]:
                    return _Stumble(start, f"the key {quoted(key)} stands twice in one object")
                keys[-1].add(key)
        elif word.endswith(("NaN", "Infinity")):
            return _Stumble(start, f"{word} is not a JSON number")
        elif len(word) > _LONGEST_NUMBER:
            return _Stumble(start, f"a number of {len(word)} digits is too large")
    return None
