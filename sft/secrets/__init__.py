"""Secrets - tokens, passwords, keys - taken out of all that is written or shown. Knows nothing of files or configs.

What is a secret is told in four ways:

- by name: what stands under a key such as `hf_token`, `api_key` or `password`, but not `eos_token` (`names.py`);
- by place: user and password in an URL, and those of its parameters that are credentials (`urls.py`);
- by value: what environment variables with such names hold, and every secret met so far, wherever it occurs in a
  text (`known.py`);
- by form: tokens with the prefix of a service, such as `hf_…` or `sk-…`, private keys, signed tokens (`forms.py`).

Values of fewer than eight characters are known by name and place only: in a text they could be any word. So are those
of fewer than sixteen letters and nothing else that an environment variable holds, or a key that may name other things
(`secret_word`): a weak password such as `positive` would take the label of that name out of every result. Numbers and
booleans are never touched.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sft.secrets.forms import without_forms
from sft.secrets.known import VARIABLE, known
from sft.secrets.names import Place, place_of, sure_place_of, surely_names_secret
from sft.secrets.urls import PLACEHOLDER, is_url

__all__ = [
    "PLACEHOLDER", "VARIABLE", "hand_on", "join_secrets", "masked", "redact_text", "redacted", "remember",
    "split_secrets", "take_over",
]  # fmt: skip

_FIELD = re.compile(r"[a-z][a-z0-9_]{0,30}")


def redacted(value: Any) -> Any:
    """A JSON value with `PLACEHOLDER` for each secret in it: by name, by place, and by value, in its keys too."""
    known.look_at_environment()
    before = len(known)
    result = _Walk(_redact, place_of, with_keys=True).of(value)
    if len(known) > before:  # a secret that was only met on the way may have occurred before
        result = _Walk(_redact, place_of, with_keys=True).of(value)
    return result


def redact_text(text: str) -> str:
    """A text with `PLACEHOLDER` for each secret in it, by place and by value."""
    known.look_at_environment()
    return _redact(text)


def masked(value: Any) -> Any:
    """A JSON value with `PLACEHOLDER` for what is a credential beyond doubt, whatever the environment holds.

    Much less goes than in `redacted`, so that no two pieces of work look the same: what stands under names that nothing
    but a credential goes by, and in strings that are URLs as a whole, passwords of schemes that have users and the
    parameters of such names. All else stays: only the hash of it may be shown.
    """
    return _Walk(_mask, sure_place_of, with_keys=False).of(value)


def remember(value: Any) -> None:
    """Meet the secrets of a JSON value, so that every later text is free of them."""
    _Walk(_look_at, place_of, with_keys=False).of(value)


def hand_on() -> dict[str, str]:
    """What the environment of a child holds, that is to know the secrets met here; nothing where none were."""
    forms = known.forms()
    return {VARIABLE: json.dumps(forms)} if forms else {}


def take_over() -> None:
    """Meet the secrets that a parent hands on."""
    for form in json.loads(os.environ.pop(VARIABLE, "[]")):
        known.add(form)


def split_secrets(config: Any) -> tuple[Any, dict[str, Any]]:
    """`redacted(config)`, and what was taken out of it: JSON pointer (`/model/model_args/token`) -> value.

    Both are JSON. A string that has a secret in it is taken out as a whole, and so is an object that has one in a key.
    """
    public = redacted(config)
    return public, dict(_differences(config, public, ""))


def join_secrets(public: Any, secrets: Mapping[str, Any]) -> Any:
    """The value that `split_secrets` gave these two for; the arguments stay as they are.

    Raises:
        ValueError: the public value has no such place.
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
            raise ValueError(f"there is no place {pointer} for a secret") from None
        _meet(secret, shown)
    remember(holder[""])
    return holder[""]


class _Walk:
    """One pass through a JSON value; a string that occurs often is looked at once."""

    def __init__(
        self, change: Callable[[str], str], inside: Callable[[str, Place], Place | None], with_keys: bool
    ) -> None:
        self._change, self._inside, self._with_keys = change, inside, with_keys
        self._seen: dict[str, str] = {}

    def of(self, value: Any, place: Place = "plain") -> Any:
        if isinstance(value, str):
            return self._leaf(value)
        if isinstance(value, dict):
            return self._object(value, place)
        if isinstance(value, list | tuple):
            return [self.of(item, place) for item in value]
        return value

    def _leaf(self, text: str) -> str:
        found = self._seen.get(text)
        if found is None:
            found = self._seen[text] = self._change(text)
        return found

    def _object(self, value: dict[Any, Any], place: Place) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        for key, item in value.items():
            inside = self._inside(key, place) if isinstance(key, str) else place
            shown = self._key(key, result) if self._with_keys and isinstance(key, str) else key
            sure = place == "storage" or surely_names_secret(str(key))
            result[shown] = _hidden(item, sure) if inside is None else self.of(item, inside)
        return result

    def _key(self, key: str, taken: dict[Any, Any]) -> str:
        """Names of fields stay, whatever the secrets are: else one could make a result unreadable."""
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


def _look_at(text: str) -> str:
    return known.without_credentials(text) if is_url(text) else text


def _hidden(value: Any, sure: bool) -> Any:
    """The value of a secret's key: numbers, booleans and null may stand there, all else goes as a whole."""
    texts = [text for text in _texts(value) if text]
    for text in texts:
        (known.add if sure else known.add_unless_word)(text)
        known.without_credentials(text)  # of an URL or a connection string, the parts by themselves, too
    return PLACEHOLDER if texts else value


def _texts(value: Any) -> Iterator[str]:
    """Every string in a JSON value, the keys too."""
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
    """Where a redacted value differs, and what stood there."""
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


def _meet(original: Any, public: Any) -> None:
    """Remember what stands in the original where the public value has a placeholder."""
    if isinstance(original, str) and isinstance(public, str):
        around = map(re.escape, public.split(PLACEHOLDER))
        if found := re.fullmatch("(.+?)".join(around), original, re.DOTALL):
            for secret in found.groups():
                known.add(secret)
    elif isinstance(original, dict) and isinstance(public, dict):
        for pair, shown in zip(original.items(), public.items(), strict=False):
            _meet(list(pair), list(shown))
    elif isinstance(original, list) and isinstance(public, list):
        for item, shown in zip(original, public, strict=False):
            _meet(item, shown)


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


def _step(container: Any, key: str) -> Any:
    """The key or position that a part of a pointer means."""
    if isinstance(container, list):
        return int(key)
    if key not in container:
        raise KeyError(key)
    return key
