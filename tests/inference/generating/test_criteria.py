"""Stop strings end an answer wherever they start, also across tokens; progress is reported at most once a second."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from sft.inference.generating import criteria
from sft.inference.generating.criteria import GenerationProgress, StopAtTexts, StopTexts
from sft.inference.generating.engine import GenerationSettings
from sft.inference.generating.engine import generate as written


def decode(ids: Sequence[int]) -> str:
    return bytes(ids).decode("utf-8", errors="replace")


@pytest.mark.parametrize(
    ("text", "stops", "end", "cut"),
    [
        ("one. two", ("two",), 8, "one. "),
        ("one. two", (". ", "e"), 3, "on"),
        ("one. two", ("x",), None, "one. two"),
        ("a\n\nb\n\nc", ("\n\n",), 3, "a"),
        ("caf\u00e9 au", ("\u00e9",), 5, "caf"),
        ("ab", ("ab", "b"), 2, ""),
        ("", ("a",), None, ""),
    ],
)
def test_the_first_of_the_texts(text: str, stops: tuple[str, ...], end: int | None, cut: str) -> None:
    texts = StopTexts(stops, decode)
    ids = list(text.encode())
    assert texts.end(ids) == end
    assert texts.cut(text) == cut
    for count in range(1, len(ids) + 1):
        assert texts.ends_now(ids[:count]) == any(stop in text for stop in stops if stop in decode(ids[:count]))


def test_only_the_last_ids_are_decoded_at_each_step() -> None:
    looked_at: list[int] = []

    def counted(ids: Sequence[int]) -> str:
        looked_at.append(len(ids))
        return decode(ids)

    assert not StopTexts(("xyz",), counted).ends_now(list(b"a" * 1000))
    assert max(looked_at) < 20


def test_rows_of_a_batch() -> None:
    """Text in the prompt ends no row."""
    criterion = StopAtTexts(StopTexts(("b",), decode), start=2)
    ids = torch.tensor([list(b"bbaa"), list(b"aaab"), list(b"aaba")])
    assert criterion(ids).tolist() == [False, True, True]


@pytest.mark.parametrize("texts", [("bc",), ("zzz", "\u00e9"), ("\u00e9\u00e8", "c")])
def test_answers_end_where_a_text_is_complete(texts: Any, with_prefix: Any, make_model: Any) -> None:
    """Letters for ids: each token is one letter, one is half of a letter of two bytes."""
    model = make_model("llama", initializer_range=0.3)
    pieces = [b"abcd"[token % 4 : token % 4 + 1] if token % 7 else b"\xc3\xa9" for token in range(300)]

    def decode(ids: Any) -> str:
        return b"".join(pieces[token] for token in ids).decode("utf-8", errors="replace")

    plain = written(model, with_prefix, GenerationSettings(20, (0, 9, 18, 27)))
    stops = StopTexts(texts, decode)
    for batch_size in (1, 4, "auto"):
        answers = written(
            model, with_prefix, GenerationSettings(20, (0, 9, 18, 27), stop_texts=stops), batch_size=batch_size
        )
        for answer, whole in zip(answers, plain, strict=True):
            found = [count for count in range(len(whole.ids) + 1) if any(t in decode(whole.ids[:count]) for t in texts)]
            assert answer.ids == whole.ids[: found[0] if found else None]
            assert answer.tokens == (found[0] if found else whole.tokens)
            assert not any(text in stops.cut(decode(answer.ids)) for text in texts)
    cut = sum(len(answer.ids) < len(whole.ids) for answer, whole in zip(answers, plain, strict=True))
    assert cut == 0 if texts == ("zzz",) else cut > 0


def test_a_batch_ends_when_all_rows_have_ended_at_a_text(make_model: Any) -> None:
    steps: list[int] = []
    model = make_model("llama")
    stops = StopTexts(("x",), lambda ids: "x" * (len(ids) >= 3))
    written(model, [[1], [2, 3]], GenerationSettings(50, stop_texts=stops))  # with a trial of both rows
    model.register_forward_pre_hook(lambda *_: steps.append(1))
    answers = written(model, [[1], [2, 3]], GenerationSettings(50, stop_texts=stops))
    assert [answer.tokens for answer in answers] == [3, 3]
    assert len(steps) == 3


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(criteria.time, "monotonic", lambda: now[0])
    return now


def test_tokens_and_time_left(clock: list[float]) -> None:
    reports: list[Any] = []
    tracker = GenerationProgress(
        lambda phase, done, total, note="": reports.append((phase, done, total, note)), 40, 100
    )
    tracker.done(0, 10)
    criterion = tracker.batch(20, start=5)
    for tokens in range(1, 49):
        clock[0] += 0.125
        assert criterion(torch.zeros(20, 5 + tokens)).tolist() == [False] * 20
    assert [note.partition(",")[0] for *_, note in reports[1:]] == [
        f"token {n} of at most 100" for n in range(8, 49, 8)
    ]
    assert reports[0] == ("generate", 10, 40, "")
    assert reports[-1] == ("generate", 10, 40, "token 48 of at most 100, about 6 s left")  # nearly half, in 6 s
    clock[0] += 6
    tracker.done(20, 10)
    tracker.done(30, 10)
    assert reports[-2:] == [("generate", 30, 40, "about 4 s left"), ("generate", 40, 40, "")]


def test_minutes(clock: list[float]) -> None:
    notes: list[str] = []
    tracker = GenerationProgress(lambda phase, done, total, note="": notes.append(note), 100, 10)
    clock[0] += 60
    tracker.done(0, 10)
    assert notes == ["about 9 min left"]
