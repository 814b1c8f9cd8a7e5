"""Options of launchers: each takes only its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sft.errors import UserError
from sft.plugins import LAUNCHERS, LauncherSpec
from sft.sweep import preflight
from sft.sweep.options import SweepOptions, launcher_arguments


@pytest.mark.parametrize(
    ("launcher", "given", "isolation", "expected"),
    [
        ("local", [], None, {}),
        ("local", [], "spawn", {"isolation": "spawn"}),
        ("local", ["isolation=fork"], None, {"isolation": "fork"}),
        ("local", ["isolation=fork"], "fork", {"isolation": "fork"}),
        ("mine:launcher", ["queue=long", "extra=a=b"], None, {"queue": "long", "extra": "a=b"}),
    ],
)
def test_what_a_launcher_is_given(
    launcher: str, given: list[str], isolation: str | None, expected: dict[str, str]
) -> None:
    assert launcher_arguments(launcher, given, isolation) == expected


@pytest.mark.parametrize(
    ("given", "isolation", "said"),
    [
        (["isolation"], None, '--launcher-arg: expected KEY=VALUE, got "isolation"'),
        (["=x"], None, '--launcher-arg: expected KEY=VALUE, got "=x"'),
        (
            ["isolatoin=fork"],
            None,
            'the launcher "local" has no option "isolatoin"; did you mean "isolation"? (known: ',
        ),
        (["isolation=forks"], None, 'isolation: expected auto or fork or spawn or resident, got "forks"'),
        (["isolation=fork"], "spawn", '"isolation" is given twice, as "fork" and "spawn"'),
    ],
)
def test_what_it_does_not_take(given: list[str], isolation: str | None, said: str) -> None:
    with pytest.raises(UserError) as caught:
        launcher_arguments("local", given, isolation)
    assert said in str(caught.value)


def test_data_is_checked_here_whatever_launches_the_experiments(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Any]] = []
    monkeypatch.setattr(
        preflight, "launcher_of", lambda options: asked.append((options.launcher, options.launcher_args))
    )
    here = SweepOptions(Path(), launcher_args={"isolation": "resident"})
    preflight._here(here)
    monkeypatch.setitem(LAUNCHERS._specs, "far", LauncherSpec("far", is_local=False))
    preflight._here(replace(here, launcher="far", launcher_args={"queue": "long"}))
    assert asked == [("local", {"isolation": "resident"}), ("local", {"isolation": "spawn"})]
