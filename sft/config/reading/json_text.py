"""Strict JSON from a file's bytes, with the line and column of whatever stands against it.

Python's parser gives a place for syntax errors only: for a repeated key, NaN, a number too long or nesting too deep the
text is read a second time, here. Knows nothing of configs.
"""

from __future__ import annotations

import codecs
import json
import re
from typing import Any

from sft.config.reading.values import MAX_DEPTH
from sft.config.wording import quoted
from sft.errors import ConfigError, Problem
from sft.io import parse_json

# A key with its colon, another string, or another part of JSON that can be wrong (true, false and null cannot).
_STRING = r'"(?:[^"\\]|\\.)*"'
_TOKEN = re.compile(rf"(?P<key>{_STRING})\s*:|{_STRING}|[{{}}\[\]]|-?Infinity|NaN|-?\d[\d.eE+-]*", re.DOTALL)
_LONGEST_NUMBER = 4000  # digits; Python refuses to read whole numbers longer than that


def read_json(content: bytes, source: str) -> Any:
    """The value of a JSON text in UTF-8.

    Args:
        content: of the file.
        source: the file, for messages.

    Raises:
        ConfigError: it is no JSON; with `file:line:column`.
    """
    text = content.removeprefix(codecs.BOM_UTF8).decode("utf-8", errors="replace")
    try:
        content.decode("utf-8")  # refuses what the line above replaced
        return parse_json(text)
    except UnicodeDecodeError as error:
        offset = len(content[: error.start].removeprefix(codecs.BOM_UTF8).decode("utf-8"))
        wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in content[:4]
        what = "is not UTF-8 text" + (": it looks like UTF-16, save it as UTF-8" if wide else "")
    except json.JSONDecodeError as error:
        offset = error.pos if text.strip() else 0
        what = "not JSON: " + (error.msg[:1].lower() + error.msg[1:] if text.strip() else "the file is empty")
    except ValueError as error:
        offset, what = _stumble(text) or (0, f"not JSON: {error}")
    line, column = text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)
    raise ConfigError(f"{source}:{line}:{column}", [Problem("", what)])


def _stumble(text: str) -> tuple[int, str] | None:
    """The first place that strict parsing refuses in a text without a syntax error before it, and why."""
    keys: list[set[str]] = []  # of every open object, empty for a list
    for token in _TOKEN.finditer(text):
        start, word = token.start(), token.group()
        if word in "{[":
            keys.append(set())
            if len(keys) > MAX_DEPTH:
                return start, f"is nested too deeply: more than {MAX_DEPTH} levels"
        elif word in "}]":
            del keys[-1:]
        elif keys and token["key"]:
            key = json.loads(token["key"], strict=False)
            if key in keys[-1]:
                return start, f"the key {quoted(key)} stands twice in one object"
            keys[-1].add(key)
        elif word.endswith(("NaN", "Infinity")):
            return start, f"{word} is not a JSON number"
        elif word[0] != '"' and len(word) > _LONGEST_NUMBER:
            return start, f"a number of {len(word)} digits is too large"
    return None
