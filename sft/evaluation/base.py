"""What a metric is: a function of references and predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class Metric(Protocol):
    """References and predictions, one string each per row and in the same order, to a number or several named ones."""

    def __call__(self, references: Sequence[str], predictions: Sequence[str], /) -> float | Mapping[str, float]: ...
