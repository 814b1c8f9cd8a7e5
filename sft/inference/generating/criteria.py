"""What looks on while answers are generated: where a text that ends them is complete, and how far all of them are.

Knows ids and their text, and no model.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sft.log import Progress

_SLACK = 4  # ids that may stand for nothing in a text, beside one for each byte of it
SECONDS_BETWEEN = 1.0  # within a batch


class StopTexts(NamedTuple):
    """Texts that end an answer.

    Attributes:
        texts: none empty; nothing ends an answer when there are none.
        decode: ids to the text that they stand for, control tokens included.
    """

    texts: tuple[str, ...]
    decode: Callable[[Sequence[int]], str]

    def end(self, ids: Sequence[int]) -> int | None:
        """How many ids it takes until one of the texts is complete; None when none ever is."""
        if not self._in(ids):
            return None
        return 1 + bisect_left(range(1, len(ids) + 1), True, key=lambda count: self._in(ids[:count]))

    def cut(self, text: str) -> str:
        """The text before the first of the texts."""
        places = [place for stop in self.texts if (place := text.find(stop)) >= 0]
        return text[: min(places, default=None)]

    def ends_now(self, ids: Sequence[int]) -> bool:
        """Whether the last id completes one of the texts. Looks at the end only, since it is asked at every step."""
        longest = max(len(stop.encode("utf-8", errors="replace")) for stop in self.texts)
        return self._in(ids[-longest - _SLACK :]) and self._in(ids)

    def _in(self, ids: Sequence[int]) -> bool:
        text = self.decode(ids)
        return any(stop in text for stop in self.texts)


class StopAtTexts:
    """Ends the rows of a batch in which one of the texts is complete: a stopping criterion of transformers.

    Args:
        stops: the texts.
        start: how many ids each row begins with that are no answer.
    """

    def __init__(self, stops: StopTexts, start: int) -> None:
        self._stops, self._start = stops, start
        self._ended: list[bool] = []

    def __call__(self, input_ids: Tensor, scores: Any = None, **kwargs: Any) -> Tensor:
        """Which rows [B] have ended, by ids [B, S]."""
        rows = input_ids[:, self._start :].tolist()
        self._ended = self._ended or [False] * len(rows)
        self._ended = [ended or self._stops.ends_now(ids) for ended, ids in zip(self._ended, rows, strict=True)]
        return torch.tensor(self._ended, device=input_ids.device)


class Telling:
    """Tells a `Progress` how far all prompts are.

    Args:
        progress: who is told.
        total: prompts in all.
        longest: tokens of the longest possible answer.
    """

    def __init__(self, progress: Progress, total: int, longest: int) -> None:
        self._progress, self._total, self._longest = progress, total, longest
        self._done = 0
        self._began = self._told = time.monotonic()

    def done(self, before: int, rows: int) -> None:
        """Beside those of before, so many prompts are answered."""
        self._done = before + rows
        self._tell(self._done / self._total)

    def batch(self, rows: int, start: int) -> Callable[..., Tensor]:
        """A stopping criterion of transformers that stops nothing and tells of the tokens so far, once a second.

        Args:
            rows: prompts in the batch.
            start: how many ids each row begins with that are no answer.
        """

        def criterion(input_ids: Tensor, scores: Any = None, **kwargs: Any) -> Tensor:
            tokens = input_ids.shape[1] - start
            if time.monotonic() - self._told >= SECONDS_BETWEEN:
                share = (self._done + rows * min(1.0, tokens / self._longest)) / self._total
                self._tell(share, f"token {tokens} of at most {self._longest}")
            return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)

        return criterion

    def _tell(self, share: float, note: str = "") -> None:
        self._told = time.monotonic()
        spent = self._told - self._began
        left = spent * (1 - share) / share if 0 < share < 1 and spent >= SECONDS_BETWEEN else None
        parts = [note, "" if left is None else f"about {_duration(left)} left"]
        self._progress("generate", self._done, self._total, ", ".join(filter(None, parts)))


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
