"""One shape for everything pluggable: a mapping from names to things, filled lazily, open to the user's own.

Entries are written `"package.module:attribute"` and imported on first use, so that naming them costs nothing.
A user adds their own from a config as `"my_module:my_function"`. It knows nothing of what it holds.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Generic, TypeVar, cast

from sft.errors import UserError, did_you_mean
from sft.foreign import guarded, users_code

T = TypeVar("T")
_NO_PLUGS = (int, float, complex, str, bytes, list, tuple, dict, set, ModuleType, type(None))


class Registry(Mapping[str, T], Generic[T]):
    """Names of one kind of plug.

    Args:
        kind: what an entry is, for messages (`initialiser`).
        entries: name -> `"module:attribute"`.
    """

    def __init__(self, kind: str, entries: Mapping[str, str]) -> None:
        self.kind = kind
        self._entries = dict(entries)

    def __getitem__(self, name: str) -> T:
        return self._load(self._entries[name])

    def __contains__(self, name: object) -> bool:
        return name in self._entries  # a mapping's own would import the entry to find out

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def problem(self, name: str) -> str | None:
        """What is wrong with `name`, or None. Imports nothing: `validate` uses it."""
        if name in self._entries:
            return None
        module, colon, attribute = name.partition(":")
        if colon and all(part.isidentifier() for part in (*module.split("."), attribute)):
            return None
        known = ", ".join(self._entries)
        return f'unknown {self.kind} "{name}"{did_you_mean(name, list(self))} (known: {known}; or "module:function")'

    def resolve(self, name: str) -> T:
        """The entry of that name, or the user's `"module:attribute"`.

        Raises:
            UserError: an unknown name, an absent module or an absent attribute.
        """
        if name in self._entries:
            return self[name]
        if trouble := self.problem(name):
            raise UserError(trouble)
        return self._load_plug(name)

    def _load(self, target: str) -> T:
        module, _, attribute = target.partition(":")
        return cast(T, getattr(importlib.import_module(module), attribute))

    def _load_plug(self, target: str) -> T:
        """Load the user's own; what it raises when it is called later is one line too."""
        module, _, attribute = target.partition(":")
        what = f'{self.kind} "{target}"'
        with users_code(what):
            try:
                imported = importlib.import_module(module)
            except ModuleNotFoundError as error:
                if error.name is not None and not f"{module}.".startswith(f"{error.name}."):
                    raise  # the user's module was found; something that it imports was not
                raise UserError(f'{what}: no module "{module}" beside the config or in the working directory') from None
        if not hasattr(imported, attribute):
            raise UserError(f'{what}: module "{module}" has no "{attribute}"')
        plug = getattr(imported, attribute)
        if isinstance(plug, _NO_PLUGS):
            raise UserError(f"{what}: expected a function, got {type(plug).__name__}")
        return cast(T, guarded(plug, what) if callable(plug) and not isinstance(plug, type) else plug)
