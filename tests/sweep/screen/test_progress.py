"""Counts, durations and the estimate of the time left."""

from __future__ import annotations

import pytest

from sft.sweep.screen.progress import Counts, cut, duration, seconds_left, time_left


@pytest.mark.parametrize(("seconds", "text"), [(8.2, "8 s"), (860, "14 min 20 s"), (11_100, "3 h 05 min")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("durations", "used", "waiting", "slots", "left"),
    [
        ([], [5.0], 3, 1, None),
        ([10.0], [], 2, 1, 20.0),
        ([10.0, 20.0], [], 2, 1, 30.0),
        ([10.0], [4.0], 0, 1, 6.0),
        ([10.0], [4.0, 9.0], 0, 2, 6.0),
        ([10.0], [4.0], 2, 1, 26.0),
        ([10.0], [9.0, 9.0], 1, 2, 10.0),  # the waiting experiment takes ten seconds, however soon it starts
        ([10.0], [30.0], 0, 1, 0.0),
        ([10.0], [], 100, 4, 250.0),
        ([10.0], [], 1, 8, 10.0),
    ],
)
def test_the_estimate(durations: list[float], used: list[float], waiting: int, slots: int, left: float | None) -> None:
    assert seconds_left(durations, used, waiting, slots) == left


@pytest.mark.parametrize(
    ("seconds", "unfinished", "text"),
    [
        (None, 3, ""),
        (20.0, 0, ""),
        (0.0, 1, "longer than the others took"),
        (1.0, 1, "about 5 s left"),
        (57.0, 1, "about 55 s left"),
        (83.0, 1, "about 1 min 20 s left"),
        (860.0, 1, "about 14 min left"),
        (11_000.0, 1, "about 3 h 05 min left"),
    ],
)
def test_the_estimate_in_words(seconds: float | None, unfinished: int, text: str) -> None:
    assert time_left(seconds, unfinished) == text


def test_counts_add_up() -> None:
    counts = Counts(total=10, done=3, running=2, failed=1, elsewhere=1)
    assert counts.waiting == 3
    assert str(counts) == "3 done · 2 running · 1 failed · 3 waiting · 1 elsewhere"


def test_text_is_truncated_to_a_width() -> None:
    assert cut("shots=8", 7) == "shots=8"
    assert cut("shots=16", 7) == "shots=…"
    assert cut("日本語", 5) == "日本…"
    assert cut("a\nb\x1b[2J", 9) == "ab[2J"
