"""The recorded environment of a run."""

from __future__ import annotations

import time

from sft.results.environment import Clock, environment, resources


def test_phases_add_up() -> None:
    clock = Clock()
    for _ in range(2):
        with clock("train"):
            time.sleep(0.01)
    seconds = clock.seconds()
    assert seconds["total"] >= seconds["train"] >= 0.02


def test_versions_and_memory_are_recorded() -> None:
    assert {"torch", "transformers", "trl", "peft"} <= environment()["packages"].keys()
    assert resources()["peak_memory_bytes"] > 10_000_000
