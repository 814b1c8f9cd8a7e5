"""How a sweep is run."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sft.errors import UserError, did_you_mean
from sft.launchers.base import Resources
from sft.plugins import LAUNCHERS
from sft.results.markers import STALE_AFTER
from sft.sweep.slots import Slot


@dataclass(frozen=True)
class SweepOptions:
    """How a sweep is run.

    Args:
        plug_folder: the grid's folder, where `"module:function"` plugs are found.
        do_eval: judge each trained model.
        slots: one for each experiment that may run at a time.
        threads: of each experiment; None: not settled yet (see `threads.py`).
        launcher: where experiments run: a launcher's name, or the user's `"module:factory"`.
        launcher_args: its own options.
        limits: what each experiment may use: seconds, bytes.
        retry_failed: also run those that failed by themselves before.
        max_failures: start nothing more after so many; None: whatever fails.
        oom_retry: run one that ran out of memory again with half its batch.
        stale_after: seconds without a sign of life after which another sweep's experiment is taken over, where the file
            system has no locks.
        program: what is started, before the command's name and its arguments.
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


def launcher_arguments(launcher: str, given: Sequence[str], isolation: str | None = None) -> dict[str, str]:
    """Return the options of a launcher.

    Args:
        launcher: its name, or a user's own.
        given: `KEY=VALUE` of `--launcher-arg`.
        isolation: of `--isolation`, which is short for `--launcher-arg isolation=…`.

    Raises:
        UserError: no such option, a value that it does not take, or one that is given twice.
    """
    pairs = [text.partition("=") for text in given]
    if bad := [text for text, (key, sign, _) in zip(given, pairs, strict=True) if not (key and sign)]:
        raise UserError(f'--launcher-arg: expected KEY=VALUE, got "{bad[0]}"')
    named = [*((key, value) for key, _, value in pairs), *([("isolation", isolation)] if isolation else [])]
    spec = LAUNCHERS.spec(launcher)
    options = {option.name: option for option in spec.options}
    found: dict[str, str] = {}
    for key, value in named:
        if key in found and found[key] != value:
            raise UserError(f'--launcher-arg: "{key}" is given twice, as "{found[key]}" and "{value}"')
        if launcher in LAUNCHERS and key not in options:
            known = f"known: {', '.join(options)}" if options else "it has none"
            near = did_you_mean(key, list(options))
            raise UserError(f'--launcher-arg: the launcher "{launcher}" has no option "{key}"{near} ({known})')
        if key in options and options[key].choices and value not in options[key].choices:
            raise UserError(f'--launcher-arg {key}: expected {" or ".join(options[key].choices)}, got "{value}"')
        found[key] = value
    return found
