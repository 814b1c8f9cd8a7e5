"""Redaction of secrets - tokens, passwords, keys - in all output. Knows nothing of files or configs.

A secret is recognised in four ways:

- by name: the value of a key such as `hf_token`, `api_key` or `password`, but not `eos_token` (`names.py`);
- by position: user and password of a URL, and its parameters that are credentials (`urls.py`);
- by value: the values of environment variables with such names, and every secret met so far, anywhere in a text
  (`known.py`);
- by form: tokens with the prefix of a service, such as `hf_…` or `sk-…`, private keys, signed tokens (`forms.py`).

Values of fewer than eight characters are recognised only by name and position: in a text they could be any word. The
same holds for values of only letters, fewer than sixteen, of an environment variable or of a key with an ambiguous name
(`secret_word`): a weak password such as `positive` would remove the label of that name from every result. Numbers and
booleans are never redacted.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sft.secrets.forms import without_forms
from sft.secrets.known import VARIABLE, known
from sft.secrets.names import Context, context_of, sure_context_of, surely_names_secret
from sft.secrets.urls import PLACEHOLDER, is_url

__all__ = [
    "PLACEHOLDER", "VARIABLE", "hand_on", "join_secrets", "masked", "redact_text", "redacted", "remember",
    "split_secrets", "take_over",
]  # fmt: skip

_FIELD = re.compile(r"[a-z][a-z0-9_]{0,30}")


def redacted(value: Any) -> Any:
    """Return a JSON value with `PLACEHOLDER` for each secret, in values and keys."""
    known.read_environment()
    before = len(known)
    result = _Walk(_redact, context_of, with_keys=True).of(value)
    if len(known) > before:  # a secret found late in the value may occur earlier too
        result = _Walk(_redact, context_of, with_keys=True).of(value)
    return result


def redact_text(text: str) -> str:
    """Return a text with `PLACEHOLDER` for each secret."""
    known.read_environment()
    return _redact(text)


def masked(value: Any) -> Any:
    """Return a JSON value with `PLACEHOLDER` for certain credentials, independent of the environment.

    It removes much less than `redacted`, so that different work never looks the same: the values of keys that only name
    credentials, and, in strings that are whole URLs, passwords of schemes with users and parameters with such names.
    Everything else stays, so only its hash may be shown.
    """
    return _Walk(_mask, sure_context_of, with_keys=False).of(value)


def remember(value: Any) -> None:
    """Remember the secrets of a JSON value, so that every later text is redacted."""
    _Walk(_remember_url, context_of, with_keys=False).of(value)


def hand_on() -> dict[str, str]:
    """Return the environment variable that passes the known secrets to a child; empty if there are none."""
    forms = known.forms()
    return {VARIABLE: json.dumps(forms)} if forms else {}


def take_over() -> None:
    """Remember the secrets that the parent passed."""
    for form in json.loads(os.environ.pop(VARIABLE, "[]")):
        known.add(form)


def split_secrets(config: Any) -> tuple[Any, dict[str, Any]]:
    """Return `redacted(config)`, and the removed values by JSON pointer (`/model/model_args/token`).

    Both are JSON. A string with a secret is removed whole, and so is an object with a secret in a key.
    """
    public = redacted(config)
    return public, dict(_differences(config, public, ""))


def join_secrets(public: Any, secrets: Mapping[str, Any]) -> Any:
    """Return the original value of `split_secrets`; the arguments are not modified.

    Raises:
        ValueError: the public value has no such pointer.
    """
    holder = {"": _copy(public)}
    for pointer, secret in secrets.items():
        keys = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")]
        try:
            target: Any = holder
            for key in keys[:-1]:
                target = target[_step(target, key)]
            last = _step(target, keys[-1])
            shown, target[last] = target[last], secret
        except (KeyError, IndexError, TypeError, ValueError):
            raise ValueError(f"no value at {pointer} for a secret") from None
        _remember_hidden(secret, shown)
    remember(holder[""])
    return holder[""]


class _Walk:
    """One pass through a JSON value; a repeated string is processed once."""

    def __init__(
        self, change: Callable[[str], str], inside: Callable[[str, Context], Context | None], with_keys: bool
    ) -> None:
        self._change, self._inside, self._with_keys = change, inside, with_keys
        self._seen: dict[str, str] = {}

    def of(self, value: Any, context: Context = "plain") -> Any:
        if isinstance(value, str):
            return self._leaf(value)
        if isinstance(value, dict):
            return self._object(value, context)
        if isinstance(value, list | tuple):
            return [self.of(item, context) for item in value]
        return value

    def _leaf(self, text: str) -> str:
        changed = self._seen.get(text)
        if changed is None:
            changed = self._seen[text] = self._change(text)
        return changed

    def _object(self, value: dict[Any, Any], context: Context) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        for key, item in value.items():
            inside = self._inside(key, context) if isinstance(key, str) else context
            shown = self._key(key, result) if self._with_keys and isinstance(key, str) else key
            sure = context == "storage" or surely_names_secret(str(key))
            result[shown] = _hidden(item, sure) if inside is None else self.of(item, inside)
        return result

    def _key(self, key: str, taken: dict[Any, Any]) -> str:
        """Return a redacted key. Names of fields always stay, else a secret could make a result unreadable."""
        if _FIELD.fullmatch(key) or (shown := self._leaf(key)) == key:
            return key
        unique, number = shown, 2
        while unique in taken:
            unique, number = f"{shown} {number}", number + 1
        return unique


def _redact(text: str) -> str:
    return without_forms(known.replaced(known.without_credentials(text)))


def _mask(text: str) -> str:
    return known.without_credentials(text, for_identity=True) if is_url(text) else text


def _remember_url(text: str) -> str:
    return known.without_credentials(text) if is_url(text) else text


def _hidden(value: Any, sure: bool) -> Any:
    """Return the redacted value of a secret's key: numbers, booleans and null stay, all else is removed whole."""
    texts = [text for text in _texts(value) if text]
    for text in texts:
        (known.add if sure else known.add_unless_word)(text)
        known.without_credentials(text)  # remember the parts of a URL or a connection string too
    return PLACEHOLDER if texts else value


def _texts(value: Any) -> Iterator[str]:
    """Yield every string in a JSON value, including keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(key)
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _differences(original: Any, public: Any, pointer: str) -> Iterator[tuple[str, Any]]:
    """Yield the pointers at which a redacted value differs, with the original values."""
    if original is public:
        return
    if isinstance(original, dict) and isinstance(public, dict) and list(original) == list(public):
        for key, item in original.items():
            yield from _differences(item, public[key], f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}")
    elif isinstance(original, list) and isinstance(public, list):
        for position, (item, shown) in enumerate(zip(original, public, strict=True)):
            yield from _differences(item, shown, f"{pointer}/{position}")
    elif original != public:
        yield pointer, original


def _remember_hidden(original: Any, public: Any) -> None:
    """Remember the parts of the original at the placeholders of the public value."""
    if isinstance(original, str) and isinstance(public, str):
        around = map(re.escape, public.split(PLACEHOLDER))
        if match := re.fullmatch("(.+?)".join(around), original, re.DOTALL):
            for secret in match.groups():
                known.add(secret)
    elif isinstance(original, dict) and isinstance(public, dict):
        for pair, shown in zip(original.items(), public.items(), strict=False):
            _remember_hidden(list(pair), list(shown))
    elif isinstance(original, list) and isinstance(public, list):
        for item, shown in zip(original, public, strict=False):
            _remember_hidden(item, shown)


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


def _step(container: Any, key: str) -> Any:
    """Return the key or index of a part of a pointer."""
    if isinstance(container, list):
        return int(key)
    if key not in container:
        raise KeyError(key)
    return key
