"""Stopping criteria of transformers' `generate`: stop at strings, and report the progress."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sft.log import Progress

_SLACK = 4  # ids without text, in addition to one id for each byte
SECONDS_BETWEEN = 1.0  # within a batch


class StopTexts(NamedTuple):
    """Texts that end an answer.

    Attributes:
        texts: strings, none empty.
        decode: turns ids into text, control tokens included.
    """

    texts: tuple[str, ...]
    decode: Callable[[list[int]], str]

    def end(self, ids: list[int]) -> int | None:
        """Return the number of ids until one of the texts is complete; None if none is."""
        if not self._in(ids):
            return None
        return 1 + bisect_left(range(1, len(ids) + 1), True, key=lambda count: self._in(ids[:count]))

    def cut(self, text: str) -> str:
        """Return the text before the first stop text."""
        starts = [start for stop in self.texts if (start := text.find(stop)) >= 0]
        return text[: min(starts, default=None)]

    def ends_now(self, ids: list[int]) -> bool:
        """Whether the last id completes one of the texts. Checks the end first, since it is called at every step."""
        longest = max(len(stop.encode("utf-8", errors="replace")) for stop in self.texts)
        return self._in(ids[-longest - _SLACK :]) and self._in(ids)

    def _in(self, ids: list[int]) -> bool:
        text = self.decode(ids)
        return any(stop in text for stop in self.texts)


class StopAtTexts:
    """A stopping criterion that ends the rows of a batch in which one of the texts is complete.

    Args:
        stops: the texts.
        start: number of ids of each row before its answer.
    """

    def __init__(self, stops: StopTexts, start: int) -> None:
        self._stops, self._start = stops, start
        self._ended: list[bool] = []

    def __call__(self, input_ids: Tensor, scores: Any = None, **kwargs: Any) -> Tensor:
        """Return which rows [B] have ended, given ids [B, S]."""
        rows = input_ids[:, self._start :].tolist()
        self._ended = self._ended or [False] * len(rows)
        self._ended = [ended or self._stops.ends_now(ids) for ended, ids in zip(self._ended, rows, strict=True)]
        return torch.tensor(self._ended, device=input_ids.device)


class GenerationProgress:
    """Reports the progress of generation over all prompts.

    Args:
        progress: receives the reports.
        total: number of prompts.
        longest: number of tokens of the longest possible answer.
    """

    def __init__(self, progress: Progress, total: int, longest: int) -> None:
        self._progress, self._total, self._longest = progress, total, longest
        self._done = 0
        self._began = self._reported = time.monotonic()

    def done(self, before: int, rows: int) -> None:
        """Report that `rows` prompts are answered in addition to the `before` earlier ones."""
        self._done = before + rows
        self._report(self._done / self._total)

    def batch(self, rows: int, start: int) -> Callable[..., Tensor]:
        """Return a stopping criterion that never stops and reports the number of tokens once a second.

        Args:
            rows: number of prompts in the batch.
            start: number of ids of each row before its answer.
        """

        def criterion(input_ids: Tensor, scores: Any = None, **kwargs: Any) -> Tensor:
            tokens = input_ids.shape[1] - start
            if time.monotonic() - self._reported >= SECONDS_BETWEEN:
                share = (self._done + rows * min(1.0, tokens / self._longest)) / self._total
                self._report(share, f"token {tokens} of at most {self._longest}")
            return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)

        return criterion

    def _report(self, share: float, note: str = "") -> None:
        self._reported = time.monotonic()
        spent = self._reported - self._began
        left = spent * (1 - share) / share if 0 < share < 1 and spent >= SECONDS_BETWEEN else None
        parts = [note, "" if left is None else f"about {_duration(left)} left"]
        self._progress("generate", self._done, self._total, ", ".join(filter(None, parts)))


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
