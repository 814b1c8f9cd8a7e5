"""Check for values that are invalid under any key of a config; problems have the value's key path.

These are numbers that are not finite or too large for libraries, strings with characters that files or terminals cannot
hold, and very deep nesting. All other values are safe to traverse, to print and to write as JSON.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

from sft.config.wording import shown
from sft.errors import Problem

MAX_DEPTH = 64
MAX_ENTRIES = 100_000  # of one object or list: more would take too long to check
MAX_LENGTH = 1_000_000  # characters of one string
_INFINITE = "is not a finite number"
_TOO_LARGE = "expected an integer from -2^63 to 2^63 - 1"
_LARGEST = 2**63  # no count, seed or size is larger
# NUL ends strings in paths and in C; a lone surrogate (`"\ud800"` in JSON) is not a character and cannot be written.
_INVALID_CHARACTER = re.compile("[\x00\ud800-\udfff]")


def value_problems(value: Any) -> list[Problem]:
    """Return the problems of all invalid values in `value`, with their key paths."""
    return [Problem(where.removeprefix("."), what) for where, what in _problems(value, 0)]


def can_be_walked(problems: Iterable[Problem]) -> bool:
    """Return whether further checks can traverse the value: they accept any number, but not any string or depth."""
    return all(problem.what in (_INFINITE, _TOO_LARGE) for problem in problems)


def _scalar_problem(item: Any) -> str | None:
    """Return the problem of a value that is not an object or list."""
    if isinstance(item, str):
        if len(item) > MAX_LENGTH:
            return f"expected at most {MAX_LENGTH:,} characters, got {len(item):,}"
        match = _INVALID_CHARACTER.search(item)
        return None if match is None else f"contains the invalid character {shown(match.group())}"
    if isinstance(item, float):
        return None if math.isfinite(item) else _INFINITE
    if isinstance(item, int) and not -_LARGEST <= item < _LARGEST:
        return _TOO_LARGE
    return None


def _problems(value: Any, depth: int) -> list[Problem]:
    """Return the problems of a value, with key paths relative to it (`.a.b[1]`)."""
    if not isinstance(value, dict | list):
        return [] if (problem := _scalar_problem(value)) is None else [Problem("", problem)]
    if depth > MAX_DEPTH:
        return [Problem("", f"is nested too deeply: more than {MAX_DEPTH} levels")]
    if len(value) > MAX_ENTRIES:
        return [Problem("", f"expected at most {MAX_ENTRIES:,} entries, got {len(value):,}")]
    problems: list[Problem] = []
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(key, str) and (problem := _scalar_problem(key)) is not None:
            problems.append(Problem(f".{shown(key)}", f"the key {problem}"))
        for where, what in _problems(item, depth + 1):
            step = f".{shown(key)}" if isinstance(key, str) else f"[{key}]"
            problems.append(Problem(step + where, what))
    return problems
