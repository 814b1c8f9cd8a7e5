"""Values that no config can hold, whatever their key: told with their key path.

Numbers that are not finite or that no library takes, texts with characters that no file or terminal takes, and nesting
without end. What is left is safe to walk, to print and to write as JSON. Knows nothing of keys and their meaning.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
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
    return [] if _is_sound(value) else list(_problems(value))


def can_be_walked(problems: Iterable[Problem]) -> bool:
    """Whether further checks may look into the value all the same: they take any number, not any text or depth."""
    return all(problem.what in (_INFINITE, _TOO_LARGE) for problem in problems)


def _is_sound(value: Any) -> bool:
    """Whether there is no problem at all: quick, since nearly always so. Level by level, so that depth is no danger."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict | list) and len(item) > MAX_ENTRIES:
                return False
            if isinstance(item, dict):
                below.extend(item)
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
            elif _trouble(item) is not None:
                return False
        if not below:
            return True
        level = below
    return False


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


def _problems(value: Any) -> Iterator[Problem]:
    waiting: list[tuple[str, Any, int]] = [("", value, 0)]
    while waiting:
        where, item, depth = waiting.pop()
        if isinstance(item, dict | list) and depth > MAX_DEPTH:
            yield Problem(where, f"is nested too deeply: more than {MAX_DEPTH} levels")
        elif isinstance(item, dict | list) and len(item) > MAX_ENTRIES:
            yield Problem(where, f"expected at most {MAX_ENTRIES:,} entries, got {len(item):,}")
        elif isinstance(item, dict):
            for key in item:
                if trouble := _trouble(key):
                    yield Problem(_below(where, key), f"the key {trouble}")
            waiting += [(_below(where, key), one, depth + 1) for key, one in reversed(item.items())]
        elif isinstance(item, list):
            waiting += [(f"{where}[{n}]", one, depth + 1) for n, one in reversed(list(enumerate(item)))]
        elif trouble := _trouble(item):
            yield Problem(where, trouble)


def _below(where: str, key: str) -> str:
    return f"{where}.{shown(key)}" if where else shown(key)
