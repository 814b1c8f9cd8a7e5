"""What a chat template may take: a loop and a text without end are stopped, a process that had to wait is not."""

from __future__ import annotations

import resource
import signal
import threading
import time

import pytest

from sft.errors import ModelError
from sft.prompting import bounds
from sft.prompting.bounds import bounded


def spin(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        sum(range(1000))


def test_a_loop_is_stopped_and_all_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "SECONDS", 0.2)
    limit = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(ModelError, match=r"more than 0.2 s"), bounded():
        spin(20)
    assert resource.getrlimit(resource.RLIMIT_AS) == limit
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)
    spin(0.5)  # the timer is off


def test_waiting_is_nobody_s_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "SECONDS", 0.2)
    with bounded():
        time.sleep(0.5)  # as a process that was stopped, or has a busy machine


def test_memory_is_bounded() -> None:
    with pytest.raises(ModelError, match="more than 1 GB"), bounded():
        "a" * (2 * bounds.MEMORY)
    assert len("a" * 1000) == 1000


def test_threads_are_left_to_themselves() -> None:
    ended = []

    def render() -> None:
        with bounded():
            ended.append(True)

    thread = threading.Thread(target=render)
    thread.start()
    thread.join()
    assert ended == [True]
