"""Plugins of one kind by name: the spec of each without importing it, and the plugin itself on first use.

A user adds an own plugin in a config as `"my_module:my_function"`. Knows nothing of what plugins do;
`sft.plugins` lists the shipped plugins.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Generic, TypeVar

from sft.errors import UserError, did_you_mean
from sft.foreign import guarded, users_code

_NO_PLUGS = (int, float, complex, str, bytes, list, tuple, dict, set, ModuleType, type(None))


@dataclass(frozen=True)
class PluginSpec:
    """The properties of a plugin that the program needs without importing it.

    Args:
        name: its name in configs.
        target: `"module:attribute"`; empty if a library implements it.
        summary: a few words for descriptions and docs.
    """

    name: str
    target: str = ""
    summary: str = ""


S = TypeVar("S", bound=PluginSpec)


class Registry(Mapping[str, S], Generic[S]):
    """Specs of the plugins of one kind, by name.

    Args:
        kind: the kind of plugin, for messages (`initialiser`).
        specs: the specs of the shipped plugins.
        own: the spec of a user's own plugin.
    """

    def __init__(self, kind: str, specs: Iterable[S], own: S) -> None:
        self.kind = kind
        self.own = own
        self._specs = {spec.name: spec for spec in specs}

    def __getitem__(self, name: str) -> S:
        return self._specs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)

    @property
    def described(self) -> str:
        """Return all names with their summaries, and the form of a user's own name, for a setting's description."""
        names = (f"{spec.name} ({spec.summary})" if spec.summary else spec.name for spec in self.values())
        return f'{", ".join(names)}; or "module:function"'

    def spec(self, name: str) -> S:
        """Return the spec of the plugin with this name, also of a user's own."""
        return self._specs.get(name, self.own)

    def problem(self, name: str) -> str | None:
        """Return the problem of `name`, or None. Imports nothing: `validate` uses it."""
        if name in self:
            return None
        module, colon, attribute = name.partition(":")
        if colon and all(part.isidentifier() for part in (*module.split("."), attribute)):
            return None
        known = ", ".join(self)
        return f'unknown {self.kind} "{name}"{did_you_mean(name, list(self))} (known: {known}; or "module:function")'

    def resolve(self, name: str) -> Any:
        """Import and return the plugin with this name, or the user's `"module:attribute"`.

        Raises:
            UserError: an unknown name, an absent module or an absent attribute.
        """
        if name in self:
            module, _, attribute = self[name].target.partition(":")
            return getattr(importlib.import_module(module), attribute)
        if problem := self.problem(name):
            raise UserError(problem)
        return self._load_own(name)

    def _load_own(self, target: str) -> Any:
        """Load the user's own plugin; its errors, also in later calls, become one line."""
        module, _, attribute = target.partition(":")
        what = f'{self.kind} "{target}"'
        with users_code(what):
            try:
                imported = importlib.import_module(module)
            except ModuleNotFoundError as error:
                if error.name is not None and not f"{module}.".startswith(f"{error.name}."):
                    raise  # the user's module was found; something that it imports was not
                raise UserError(
                    f'{what}: no module "{module}" next to the config or in the working directory'
                ) from None
        if not hasattr(imported, attribute):
            raise UserError(f'{what}: module "{module}" has no "{attribute}"')
        plug = getattr(imported, attribute)
        if isinstance(plug, _NO_PLUGS):
            raise UserError(f"{what}: expected a function, got {type(plug).__name__}")
        return guarded(plug, what) if callable(plug) else plug
