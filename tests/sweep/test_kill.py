"""SIGKILL at random moments to the sweep, a child or the fork server: no result is lost or repeated."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import stub_rounds

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="parent-death signals exist only on Linux")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("isolation", "stubs", "victims"),
    [
        ("fork", 12, ["parent", "server", "child"]),
        ("resident", 6, ["child", "parent"]),
        ("spawn", 4, ["child"]),
        pytest.param("fork", 12, [None] * 39, marks=pytest.mark.long),
        pytest.param("resident", 12, [None] * 3, marks=pytest.mark.long),
        pytest.param("spawn", 12, [None], marks=pytest.mark.long),
    ],
)
def test_a_sweep_that_was_killed_and_run_again_has_the_same_results(
    tmp_path: Path, isolation: str, stubs: int, victims: list[str | None]
) -> None:
    """By default one round for each kind of victim; many rounds with random victims in the long run."""
    chance = random.Random(20)  # noqa: S311
    rounds = stub_rounds.Rounds(tmp_path, isolation, stubs=stubs)
    try:
        for index, kind in enumerate(victims):
            rounds.round(index, chance, kind)
    finally:
        rounds.close()
    assert sum(rounds.victims.values()) == len(victims), rounds.victims
