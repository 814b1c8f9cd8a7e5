"""The wording of config problems: what was given, and what is possible. Knows nothing of configs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from sft.errors import did_you_mean

LONGEST_VALUE = 60
FEW_CHOICES = 12
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


def quoted(value: Any) -> str:
    """A value as the user wrote it (JSON), shortened."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"


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
    near = did_you_mean(given, choices) if isinstance(given, str) and len(choices) > 3 else ""
    if len(choices) > FEW_CHOICES and near:
        return f"one of {len(choices)} names{near}"
    return either(quoted(choice) for choice in choices) + near


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
