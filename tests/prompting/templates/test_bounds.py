"""Limits of a chat template: an endless loop and an endless text are stopped; waiting is not."""

from __future__ import annotations

import resource
import signal
import threading
import time

import pytest

from sft.errors import ModelError
from sft.prompting.templates import bounds
from sft.prompting.templates.bounds import bounded


def spin(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        sum(range(1000))


def test_a_loop_is_stopped_and_all_limits_are_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "SECONDS", 0.2)
    limit = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(ModelError, match=r"more than 0.2 s"), bounded():
        spin(20)
    assert resource.getrlimit(resource.RLIMIT_AS) == limit
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)
    spin(0.5)  # the timer is off


def test_waiting_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "SECONDS", 0.2)
    with bounded():
        time.sleep(0.5)  # like a stopped process, or a busy machine


def test_memory_is_bounded() -> None:
    with pytest.raises(ModelError, match="more than 1 GB"), bounded():
        "a" * (2 * bounds.MEMORY)
    assert len("a" * 1000) == 1000


def test_other_threads_have_no_timer() -> None:
    ended = []

    def render() -> None:
        with bounded():
            ended.append(True)

    thread = threading.Thread(target=render)
    thread.start()
    thread.join()
    assert ended == [True]
