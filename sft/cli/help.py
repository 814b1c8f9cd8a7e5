"""The form of `--help` and of usage errors."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup


class PlainGroup(TyperGroup):
    """The list of commands and all usage errors, in plain lines that `sft.api` can read; commands show panels."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "rich_markup_mode": None})


class PanelCommand(TyperCommand):
    """A command whose help shows its options in panels, and no type for flags."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options and arguments, `--help` among them."""
        params = super().get_params(ctx)
        for param in params:
            if getattr(param, "is_flag", False):
                param.metavar = ""
        return params
