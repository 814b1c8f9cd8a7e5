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
    ("isolation", "number"),
    [("fork", 19), ("spawn", 1), ("resident", 3), pytest.param("fork", 39, marks=pytest.mark.long)],
)
def test_a_sweep_that_was_killed_and_run_again_has_the_same_results(
    tmp_path: Path, isolation: str, number: int
) -> None:
    chance = random.Random(20)  # noqa: S311
    rounds = stub_rounds.Rounds(tmp_path, isolation)
    try:
        for index in range(number):
            rounds.round(index, chance)
    finally:
        rounds.close()
    assert sum(rounds.victims.values()) == number, rounds.victims
