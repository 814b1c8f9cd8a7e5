"""The secrets that this process has met, and their replacement in texts, in any spelling."""

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

VARIABLE = "SFT_SECRETS"  # environment variable of a child: the secrets of its config, as `split_secrets` returns them
SHORTEST = 8
LONGEST_WORD = 16  # a string of at least this many letters is not a word
SHORTEST_LINE = 16  # a line of a multi-line secret, such as a private key
_LONGEST_CACHED = 1000


class Known:
    """The secrets met so far, in all spellings."""

    def __init__(self) -> None:
        self._forms: set[str] = set()
        self._read: set[tuple[str, str]] = set()
        self._pattern: re.Pattern[str] | None = None

    def __len__(self) -> int:
        return len(self._forms)

    def add(self, secret: str) -> None:
        """Remember a secret, unless it is too short or too simple to distinguish it from other text."""
        for part in _searchable_parts(secret):
            if forms := _spellings(part) - self._forms:
                self._forms |= forms
                self._pattern = None

    def add_unless_word(self, secret: str) -> None:
        """Remember a secret that is known only by its name, unless it could be an ordinary word."""
        if not (len(secret.strip()) < LONGEST_WORD and secret.strip().isalpha()):
            self.add(secret)

    def forms(self) -> list[str]:
        """Return all spellings of the secrets."""
        return sorted(self._forms)

    def clear(self) -> None:
        """Forget all secrets."""
        self._forms.clear()
        self._read.clear()
        self._pattern = None
        _without_credentials.cache_clear()  # a cached text would not be remembered again

    def read_environment(self) -> None:
        """Remember the secrets in environment variables that are new or have changed.

        Short plain words are ignored: `DB_PASSWORD=positive` would remove a label from every result.
        """
        for name in list(os.environ):
            value = os.environ.get(name, "")
            if (name, value) not in self._read and name != VARIABLE:  # its secrets are remembered by `take_over`
                self._read.add((name, value))
                if is_secret_variable(name):
                    self.add_unless_word(value)
                without_credentials(value, False, self.add_unless_word)  # such as the URL of a proxy or a database

    def replaced(self, text: str) -> str:
        """Return `text` with a placeholder for each known secret."""
        if not self._forms:
            return text
        if self._pattern is None:  # the longest first: one secret may hold another
            self._pattern = re.compile("|".join(map(re.escape, sorted(self._forms, key=len, reverse=True))))
        return self._pattern.sub(PLACEHOLDER, text)

    def without_credentials(self, text: str, for_identity: bool = False) -> str:
        """Return `text` without the credentials of its URLs (see `urls.py`), and remember them."""
        if "://" not in text and "=" not in text:
            return text
        if len(text) > _LONGEST_CACHED:
            return without_credentials(text, for_identity, self.add)
        return _without_credentials(text, for_identity)


known = Known()


@lru_cache(maxsize=4096)
def _without_credentials(text: str, for_identity: bool) -> str:
    return without_credentials(text, for_identity, known.add)


def _searchable_parts(secret: str) -> Iterator[str]:
    """Yield the parts of a secret to search in texts: all of it, and its lines (a log may show only one)."""
    secret = secret.strip()
    lines = [line.strip() for line in secret.splitlines()]
    long_lines = [line for line in lines if len(line) >= SHORTEST_LINE and not line.startswith("-----")]
    for part in (secret, *(long_lines if len(lines) > 1 else [])):
        # repeated characters occur in digests and rulers; a path to a secret is not a secret
        if len(part) >= SHORTEST and len(set(part)) > 2 and part not in PLACEHOLDER and not _is_path(part):
            yield part


def _is_path(text: str) -> bool:
    try:
        return text.startswith(("/", "~", "./")) and Path(text).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # too long for a name, a null character, no home
        return False


def _spellings(secret: str) -> set[str]:
    """Return the spellings of a secret: plain, in JSON, as Python repr, in URLs, in HTML, on one line."""
    quoted = {quote(secret), quote(secret, safe=""), quote_plus(secret)}
    forms = {
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        html.escape(secret),
        "".join(character for character in secret if character.isprintable()),
        *quoted,
        *(re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), form) for form in quoted),
    }
    return {form for form in forms if len(form) >= SHORTEST}
