"""The secrets that this process has met, and how to find them in a text, however they are spelled there."""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote, quote_plus

from sft.secrets.names import is_secret_variable
from sft.secrets.urls import PLACEHOLDER, without_credentials

VARIABLE = "SFT_SECRETS"  # in the environment of a child: the secrets of its config, as `split_secrets` gives them
SHORTEST = 8
LONGEST_WORD = 16  # from so many letters on, a text of letters alone is no word
SHORTEST_LINE = 16  # of a secret of several lines, such as a private key
_LONGEST_CACHED = 1000


class Known:
    """Secrets met so far, in all the spellings that texts may have them in."""

    def __init__(self) -> None:
        self._forms: set[str] = set()
        self._looked_at: set[tuple[str, str]] = set()
        self._pattern: re.Pattern[str] | None = None

    def __len__(self) -> int:
        return len(self._forms)

    def add(self, secret: str) -> None:
        """Meet a secret; one too short or too plain to be told from other text is passed over."""
        for part in _telling_parts(secret):
            if forms := _spellings(part) - self._forms:
                self._forms |= forms
                self._pattern = None

    def add_unless_word(self, secret: str) -> None:
        """Meet a secret that nothing but its name tells of, unless it could be any word of the experiment."""
        if not (len(secret.strip()) < LONGEST_WORD and secret.strip().isalpha()):
            self.add(secret)

    def forms(self) -> list[str]:
        """All spellings of what was met."""
        return sorted(self._forms)

    def clear(self) -> None:
        """Forget them all."""
        self._forms.clear()
        self._looked_at.clear()
        self._pattern = None
        _without_credentials.cache_clear()  # what it has seen it would not tell again

    def look_at_environment(self) -> None:
        """Meet the secrets in variables that were not there before, or have another value now.

        Not a password that is a short plain word: `DB_PASSWORD=positive` would take a label out of every result.
        """
        for name in list(os.environ):
            value = os.environ.get(name, "")
            if (name, value) not in self._looked_at and name != VARIABLE:  # that one is met part by part, when joined
                self._looked_at.add((name, value))
                if is_secret_variable(name):
                    self.add_unless_word(value)
                without_credentials(value, False, self.add_unless_word)  # of a proxy or a data base

    def replaced(self, text: str) -> str:
        """`text` with a placeholder for each secret met."""
        if not self._forms:
            return text
        if self._pattern is None:  # the longest first: one secret may hold another
            self._pattern = re.compile("|".join(map(re.escape, sorted(self._forms, key=len, reverse=True))))
        return self._pattern.sub(PLACEHOLDER, text)

    def without_credentials(self, text: str, for_identity: bool = False) -> str:
        """`text` whose URLs have lost their credentials (see `urls.py`); those are met."""
        if "://" not in text and "=" not in text:
            return text
        if len(text) > _LONGEST_CACHED:
            return without_credentials(text, for_identity, self.add)
        return _without_credentials(text, for_identity)


known = Known()


@lru_cache(maxsize=4096)
def _without_credentials(text: str, for_identity: bool) -> str:
    return without_credentials(text, for_identity, known.add)


def _telling_parts(secret: str) -> Iterator[str]:
    """What of a secret can be looked for in texts: all of it, and its lines (a log may show but one)."""
    secret = secret.strip()
    lines = [line.strip() for line in secret.splitlines()]
    long_lines = [line for line in lines if len(line) >= SHORTEST_LINE and not line.startswith("-----")]
    for part in (secret, *(long_lines if len(lines) > 1 else [])):
        # one character over and over fills digests and rulers; a path to a secret is none
        if len(part) >= SHORTEST and len(set(part)) > 2 and part not in PLACEHOLDER and not _is_path(part):
            yield part


def _is_path(text: str) -> bool:
    try:
        return text.startswith(("/", "~", "./")) and Path(text).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # too long for a name, a null character, no home
        return False


def _spellings(secret: str) -> set[str]:
    """A secret as it stands in texts: plain, in JSON, in Python's own notation, in URLs, in HTML, on one line."""
    quoted = {quote(secret), quote(secret, safe=""), quote_plus(secret)}
    forms = {
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        html.escape(secret),
        "".join(character for character in secret if character.isprintable()),
        *quoted,
        *(re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), form) for form in quoted),
    }
    return {form for form in forms if len(form) >= SHORTEST}
