"""Values that no config can hold, whatever their key: told with their key path.

Numbers that are not finite or that no library takes, texts with characters that no file or terminal takes, and nesting
without end. What is left is safe to walk, to print and to write as JSON. Knows nothing of keys and their meaning.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

from sft.config.wording import shown
from sft.errors import Problem

MAX_DEPTH = 64
MAX_ENTRIES = 100_000  # of one object or list: what more of them would take is not worth waiting for
MAX_LENGTH = 1_000_000  # characters of one string
_INFINITE = "is not a finite number"
_TOO_LARGE = "is too large a number: whole numbers go to 2^63"
_LARGEST = 2**63  # whole numbers beyond are no count, seed or size
# NUL ends texts in paths and in C; a lone surrogate (`"\ud800"` in JSON) is no character and cannot be written.
_NO_TEXT = re.compile("[\x00\ud800-\udfff]")


def value_problems(value: Any) -> list[Problem]:
    """Every value in `value` that cannot be used, with its key path."""
    return [Problem(where.removeprefix("."), what) for where, what in _problems(value, 0)]


def can_be_walked(problems: Iterable[Problem]) -> bool:
    """Whether further checks may look into the value all the same: they take any number, not any text or depth."""
    return all(problem.what in (_INFINITE, _TOO_LARGE) for problem in problems)


def _trouble(item: Any) -> str | None:
    """What is wrong with a plain value."""
    if isinstance(item, str):
        if len(item) > MAX_LENGTH:
            return f"expected at most {MAX_LENGTH:,} characters, got {len(item):,}"
        found = _NO_TEXT.search(item)
        return None if found is None else f"holds {shown(found.group())}, which is no character of a text"
    if isinstance(item, float):
        return None if math.isfinite(item) else _INFINITE
    if isinstance(item, int) and not -_LARGEST <= item < _LARGEST:
        return _TOO_LARGE
    return None


def _problems(value: Any, depth: int) -> list[Problem]:
    """The problems of a value, with key paths from it on (`.a.b[1]`)."""
    if not isinstance(value, dict | list):
        return [] if (trouble := _trouble(value)) is None else [Problem("", trouble)]
    if depth > MAX_DEPTH:
        return [Problem("", f"is nested too deeply: more than {MAX_DEPTH} levels")]
    if len(value) > MAX_ENTRIES:
        return [Problem("", f"expected at most {MAX_ENTRIES:,} entries, got {len(value):,}")]
    problems: list[Problem] = []
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(key, str) and (trouble := _trouble(key)) is not None:
            problems.append(Problem(f".{shown(key)}", f"the key {trouble}"))
        for where, what in _problems(item, depth + 1):
            step = f".{shown(key)}" if isinstance(key, str) else f"[{key}]"
            problems.append(Problem(step + where, what))
    return problems
