"""Options of a sweep."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sft.errors import UserError, did_you_mean
from sft.launchers.base import Resources
from sft.plugins import LAUNCHERS
from sft.results.markers import STALE_AFTER
from sft.sweep.planning.slots import Slot


@dataclass(frozen=True)
class SweepOptions:
    """Options of a sweep.

    Args:
        plug_folder: the grid's folder, in which `"module:function"` plugins are found.
        do_eval: whether to evaluate each trained model.
        slots: one for each experiment that runs at the same time.
        threads: threads per experiment; None: not chosen yet (see `fixed_threads.py`).
        launcher: name of a launcher, or a user's `"module:factory"`.
        launcher_args: options of the launcher.
        limits: limits of each experiment: seconds, bytes.
        retry_failed: whether to retry experiments that failed by themselves before.
        max_failures: number of failures after which no experiment starts; None: unlimited.
        oom_retry: whether to retry an experiment that was out of memory with half the batch.
        stale_after: seconds without a heartbeat after which another sweep's experiment is taken over, on a file system
            without locks.
        program: command line before the name of the command.
    """

    plug_folder: Path
    do_eval: bool = True
    slots: tuple[Slot, ...] = (Slot(),)
    threads: int | None = None
    launcher: str = "local"
    launcher_args: Mapping[str, str] = field(default_factory=dict)
    limits: Resources = field(default_factory=Resources)
    retry_failed: bool = False
    max_failures: int | None = None
    oom_retry: bool = True
    stale_after: float = STALE_AFTER
    program: tuple[str, ...] = field(default_factory=lambda: (sys.executable, "-m", "sft.cli"))


def launcher_arguments(launcher: str, pairs: Sequence[str], isolation: str | None = None) -> dict[str, str]:
    """Return the options of a launcher.

    Args:
        launcher: name of the launcher, or a user's own.
        pairs: `KEY=VALUE` of `--launcher-arg`.
        isolation: value of `--isolation`, short for `--launcher-arg isolation=…`.

    Raises:
        UserError: an unknown option, an invalid value, or a duplicate option.
    """
    parts = [text.partition("=") for text in pairs]
    if invalid := [text for text, (key, equals, _) in zip(pairs, parts, strict=True) if not (key and equals)]:
        raise UserError(f'--launcher-arg: expected KEY=VALUE, got "{invalid[0]}"')
    items = [*((key, value) for key, _, value in parts), *([("isolation", isolation)] if isolation else [])]
    spec = LAUNCHERS.spec(launcher)
    options = {option.name: option for option in spec.options}
    arguments: dict[str, str] = {}
    for key, value in items:
        if key in arguments and arguments[key] != value:
            raise UserError(f'--launcher-arg: duplicate option "{key}": "{arguments[key]}" and "{value}"')
        if launcher in LAUNCHERS and key not in options:
            known = f"known: {', '.join(options)}" if options else "it has none"
            hint = did_you_mean(key, list(options))
            raise UserError(f'--launcher-arg: the launcher "{launcher}" has no option "{key}"{hint} ({known})')
        if key in options and options[key].choices and value not in options[key].choices:
            raise UserError(f'--launcher-arg {key}: expected {" or ".join(options[key].choices)}, got "{value}"')
        arguments[key] = value
    return arguments
