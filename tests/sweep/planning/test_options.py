"""Options of launchers: each accepts only its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sft.errors import UserError
from sft.plugins import LAUNCHERS, LauncherSpec
from sft.sweep import preflight
from sft.sweep.planning.options import SweepOptions, launcher_arguments


@pytest.mark.parametrize(
    ("launcher", "pairs", "isolation", "expected"),
    [
        ("local", [], None, {}),
        ("local", [], "spawn", {"isolation": "spawn"}),
        ("local", ["isolation=fork"], None, {"isolation": "fork"}),
        ("local", ["isolation=fork"], "fork", {"isolation": "fork"}),
        ("mine:launcher", ["queue=long", "extra=a=b"], None, {"queue": "long", "extra": "a=b"}),
    ],
)
def test_the_options_of_a_launcher(
    launcher: str, pairs: list[str], isolation: str | None, expected: dict[str, str]
) -> None:
    assert launcher_arguments(launcher, pairs, isolation) == expected


@pytest.mark.parametrize(
    ("pairs", "isolation", "message"),
    [
        (["isolation"], None, '--launcher-arg: expected KEY=VALUE, got "isolation"'),
        (["=x"], None, '--launcher-arg: expected KEY=VALUE, got "=x"'),
        (
            ["isolatoin=fork"],
            None,
            'the launcher "local" has no option "isolatoin"; did you mean "isolation"? (known: ',
        ),
        (["isolation=forks"], None, 'isolation: expected auto or fork or spawn or resident, got "forks"'),
        (["isolation=fork"], "spawn", 'duplicate option "isolation": "fork" and "spawn"'),
    ],
)
def test_invalid_options_are_rejected(pairs: list[str], isolation: str | None, message: str) -> None:
    with pytest.raises(UserError) as caught:
        launcher_arguments("local", pairs, isolation)
    assert message in str(caught.value)


def test_data_is_checked_locally_with_any_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Any]] = []
    monkeypatch.setattr(
        preflight, "launcher_of", lambda options: asked.append((options.launcher, options.launcher_args))
    )
    options = SweepOptions(Path(), launcher_args={"isolation": "resident"})
    preflight._local_launcher(options)
    monkeypatch.setitem(LAUNCHERS._specs, "far", LauncherSpec("far", is_local=False))
    preflight._local_launcher(replace(options, launcher="far", launcher_args={"queue": "long"}))
    assert asked == [("local", {"isolation": "resident"}), ("local", {"isolation": "spawn"})]
