"""The wording of config problems: what was given, and what is possible. Knows nothing of configs.

Whatever a file holds, its texts come out short and printable: what would not show, or would act on a terminal (control
characters, marks that turn the direction of writing), is written as an escape.
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
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "list": "a list",
    "dict": "an object",
    "null": "null",
}
_ORDER = list(_TYPES)


def shown(text: str, longest: int = LONGEST_KEY) -> str:
    """A key, name or path for people: printable, shortened, and in quotes where it would not be seen."""
    if not text.strip():
        return f'"{_printable(text)}"'
    return _printable(text if len(text) <= longest else text[: longest - 1] + "…")


def quoted(value: Any) -> str:
    """A value as the user wrote it (JSON), printable, and shortened."""
    text = ""
    for chunk in json.JSONEncoder(ensure_ascii=False, default=str).iterencode(value):
        text += chunk
        if len(text) > LONGEST_VALUE:  # the rest of a large value is never looked at
            return _printable(redact_text(text)[: LONGEST_VALUE - 1] + "…")
    return _printable(redact_text(text))


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else _escape(sign) for sign in text)


def _escape(sign: str) -> str:
    return f"\\u{ord(sign):04x}" if ord(sign) < 0x10000 else f"\\U{ord(sign):08x}"


def listed(values: Sequence[Any]) -> str:
    """`"a", "b"`; of many the first ones and how many more."""
    text = ", ".join(quoted(value) for value in values[:MOST_LISTED])
    more = len(values) - MOST_LISTED
    return text if more <= 0 else f"{text} and {more} more"


def near(given: str, possible: Sequence[str]) -> str:
    """`; did you mean "shots"?`, or nothing: as `did_you_mean`, remembered, and without comparing very long texts."""
    return _near(given, tuple(possible)) if len(given) <= LONGEST_KEY else ""


@lru_cache(maxsize=1024)
def _near(given: str, possible: tuple[str, ...]) -> str:
    return did_you_mean(given, possible)


def config_error(source: str, problems: Sequence[Problem]) -> ConfigError:
    """The error that tells all problems; of very many the first ones and how many more."""
    if (more := len(problems) - MOST_PROBLEMS) <= 0:
        return ConfigError(source, problems)
    return ConfigError(source, [*problems[:MOST_PROBLEMS], Problem("…", f"and {more} more")])


def either(parts: Iterable[str]) -> str:
    """`a`, `a or b`, `a, b or c`; with a comma before `or` where a part is more than a few words."""
    unique = list(dict.fromkeys(parts))
    if len(unique) < 2:
        return "".join(unique)
    comma = "," if any(word in part for part in unique for word in (" or ", " from ", ",")) else ""
    return f"{', '.join(unique[:-1])}{comma} or {unique[-1]}"


def not_allowed(value: Any, possible: str) -> str:
    """`-3 is not allowed: a whole number from 1, or "auto"`."""
    return f"{quoted(value)} is not allowed: {possible}"


def types_phrase(types: Sequence[str]) -> str:
    """The simple types in words: `a whole number or a text`."""
    return either(_TYPES[name] for name in sorted(types, key=_ORDER.index))


def choices_phrase(given: Any, choices: Sequence[str]) -> str:
    """The possible texts; of many only the near one, where there is one."""
    meant = near(given, choices) if isinstance(given, str) and len(choices) > 3 else ""
    if len(choices) > FEW_CHOICES and meant:
        return f"one of {len(choices)} names{meant}"
    return either(quoted(choice) for choice in choices) + meant


def fits(value: Any, types: Sequence[str]) -> bool:
    """Whether a JSON value is of one of the simple types. true is no number; a whole number is a number."""
    if value is None:
        return "null" in types
    if isinstance(value, bool):
        return "bool" in types
    if isinstance(value, int):
        return "int" in types or "float" in types
    names = {float: "float", str: "str", list: "list", dict: "dict"}
    return names.get(type(value), "") in types
