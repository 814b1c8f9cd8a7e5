"""The protocol of a metric: a function of references and predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class Metric(Protocol):
    """A function from references and predictions (a string per row, in the same order) to a number or named numbers."""

    def __call__(self, references: Sequence[str], predictions: Sequence[str], /) -> float | Mapping[str, float]: ...
