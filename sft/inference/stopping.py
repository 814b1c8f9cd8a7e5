"""Texts that end an answer: where the first is complete, and the answer cut before it. Knows ids and their text."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

_SLACK = 4  # ids that may stand for nothing in a text, beside one for each byte of it


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
