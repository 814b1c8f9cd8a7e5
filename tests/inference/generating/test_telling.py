"""Progress of answers: rows done, tokens so far, time left; not more than once a second."""

from __future__ import annotations

import pytest
import torch

from sft.inference.generating import criteria as telling
from sft.inference.generating.criteria import Telling


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(telling.time, "monotonic", lambda: now[0])
    return now


def test_tokens_and_time_left(clock: list[float]) -> None:
    told: list[tuple[str, int, int, str]] = []
    telling = Telling(lambda phase, done, total, note="": told.append((phase, done, total, note)), 40, 100)
    telling.done(0, 10)
    criterion = telling.batch(20, start=5)
    for tokens in range(1, 49):
        clock[0] += 0.125
        assert criterion(torch.zeros(20, 5 + tokens)).tolist() == [False] * 20
    assert [note.partition(",")[0] for *_, note in told[1:]] == [f"token {n} of at most 100" for n in range(8, 49, 8)]
    assert told[0] == ("generate", 10, 40, "")
    assert told[-1] == ("generate", 10, 40, "token 48 of at most 100, about 6 s left")  # nearly half, in 6 s
    clock[0] += 6
    telling.done(20, 10)
    telling.done(30, 10)
    assert told[-2:] == [("generate", 30, 40, "about 4 s left"), ("generate", 40, 40, "")]


def test_minutes(clock: list[float]) -> None:
    notes: list[str] = []
    telling = Telling(lambda phase, done, total, note="": notes.append(note), 100, 10)
    clock[0] += 60
    telling.done(0, 10)
    assert notes == ["about 9 min left"]
