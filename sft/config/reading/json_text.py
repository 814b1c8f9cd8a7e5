"""Strict JSON from a file's bytes, with the line and column of any error.

Python's parser gives the position of syntax errors only. For a duplicate key, NaN, too long a number or too deep a
nesting, the text is read a second time here.
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
_LONGEST_NUMBER = 4000  # digits; Python refuses to read longer integers


def read_json(content: bytes, source: str) -> Any:
    """Return the value of JSON in UTF-8.

    Args:
        content: bytes of the file.
        source: name of the file, for messages.

    Raises:
        ConfigError: the content is not JSON; with `file:line:column`.
    """
    text = content.removeprefix(codecs.BOM_UTF8).decode("utf-8", errors="replace")
    try:
        content.decode("utf-8")  # refuses what the line above replaced
        return parse_json(text)
    except UnicodeDecodeError as error:
        offset = len(content[: error.start].removeprefix(codecs.BOM_UTF8).decode("utf-8"))
        is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in content[:4]
        problem = f"is not UTF-8 text{' but looks like UTF-16' if is_utf16 else ''}; save it as UTF-8"
    except json.JSONDecodeError as error:
        offset = error.pos if text.strip() else 0
        problem = "not JSON: " + (error.msg[:1].lower() + error.msg[1:] if text.strip() else "the file is empty")
    except ValueError as error:
        offset, problem = _first_error(text) or (0, f"not JSON: {error}")
    line, column = text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)
    raise ConfigError(f"{source}:{line}:{column}", [Problem("", problem)])


def _first_error(text: str) -> tuple[int, str] | None:
    """Return the offset and the reason of the first strictness error, if no syntax error comes before it."""
    keys: list[set[str]] = []  # one set per open object; an empty one per open list
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
                return start, f"duplicate key {quoted(key)}"
            keys[-1].add(key)
        elif word.endswith(("NaN", "Infinity")):
            return start, f"{word} is not a JSON number"
        elif word[0] != '"' and len(word) > _LONGEST_NUMBER:
            return start, f"expected a number of at most {_LONGEST_NUMBER} digits, got {len(word)}"
    return None
