"""The wording of config problems: the expected values and the given one. Knows nothing of configs.

All texts are short and printable, whatever a file holds: characters that are invisible or act on a terminal (control
characters, marks that change the direction of writing) are escaped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from sft.errors import ConfigError, Problem, did_you_mean
from sft.secrets import redact_text

LONGEST_VALUE = 60
LONGEST_KEY = 100
FEW_CHOICES = 12
MOST_LISTED = 8
MOST_PROBLEMS = 40
_TYPES = {
    "bool": "true or false",
    "int": "an integer",
    "float": "a number",
    "str": "a string",
    "list": "a list",
    "dict": "an object",
    "null": "null",
}
_ORDER = list(_TYPES)


def shown(text: str, longest: int = LONGEST_KEY) -> str:
    """Return a key, name or path for display: printable, shortened, and in quotes if it is blank."""
    if not text.strip():
        return f'"{_printable(text)}"'
    return _printable(text if len(text) <= longest else text[: longest - 1] + "…")


def quoted(value: Any) -> str:
    """Return a value as the user wrote it (JSON), printable and shortened."""
    text = ""
    for chunk in json.JSONEncoder(ensure_ascii=False, default=str).iterencode(value):
        text += chunk
        if len(text) > LONGEST_VALUE:  # the rest of a large value is never encoded
            return _printable(redact_text(text)[: LONGEST_VALUE - 1] + "…")
    return _printable(redact_text(text))


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"


def listed(values: Sequence[Any]) -> str:
    """Join values as `"a", "b"`; of many, the first ones and the number of the others."""
    text = ", ".join(quoted(value) for value in values[:MOST_LISTED])
    more = len(values) - MOST_LISTED
    return text if more <= 0 else f"{text} and {more} more"


def near(name: str, possible: Sequence[str]) -> str:
    """Return `; did you mean "shots"?` or nothing: `did_you_mean` with a cache; very long strings are not compared."""
    return _near(name, tuple(possible)) if len(name) <= LONGEST_KEY else ""


@lru_cache(maxsize=1024)
def _near(name: str, possible: tuple[str, ...]) -> str:
    return did_you_mean(name, possible)


def config_error(source: str, problems: Sequence[Problem]) -> ConfigError:
    """Return the error that lists all problems; of very many, the first ones and the number of the others."""
    if (more := len(problems) - MOST_PROBLEMS) <= 0:
        return ConfigError(source, problems)
    return ConfigError(source, [*problems[:MOST_PROBLEMS], Problem("…", f"and {more} more")])


def either(parts: Iterable[str]) -> str:
    """Join parts as `a`, `a or b`, `a, b or c`; with a comma before `or` if a part holds several words."""
    unique = list(dict.fromkeys(parts))
    if len(unique) < 2:
        return "".join(unique)
    comma = "," if any(word in part for part in unique for word in (" or ", " from ", ",")) else ""
    return f"{', '.join(unique[:-1])}{comma} or {unique[-1]}"


def not_allowed(value: Any, possible: str, choices: Sequence[str] = ()) -> str:
    """Return `expected an integer from 1, or "auto", got -3`, and the nearest choice if there are many."""
    return f"expected {possible}, got {quoted(value)}{_near_choice(value, choices)}"


def types_phrase(types: Sequence[str]) -> str:
    """Return the simple types in words: `an integer or a string`."""
    return either(_TYPES[name] for name in sorted(types, key=_ORDER.index))


def choices_phrase(value: Any, choices: Sequence[str]) -> str:
    """Return the possible strings; only their number if there are many and one is near the given value."""
    if len(choices) > FEW_CHOICES and _near_choice(value, choices):
        return f"one of {len(choices)} names"
    return either(quoted(choice) for choice in choices)


def _near_choice(value: Any, choices: Sequence[str]) -> str:
    return near(value, choices) if isinstance(value, str) and len(choices) > 3 else ""


def fits(value: Any, types: Sequence[str]) -> bool:
    """Return whether a JSON value has one of the simple types. true is not a number; an integer is a number."""
    if value is None:
        return "null" in types
    if isinstance(value, bool):
        return "bool" in types
    if isinstance(value, int):
        return "int" in types or "float" in types
    names = {float: "float", str: "str", list: "list", dict: "dict"}
    return names.get(type(value), "") in types
