"""Progress of answers that are being generated: rows done, tokens so far in the batch, time left. Knows no model."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sft.log import Progress

SECONDS_BETWEEN = 1.0  # within a batch


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
