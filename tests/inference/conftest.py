"""The naive scorer as a reference, and prompts and labels to score."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

Ids = list[int]


@dataclass
class Naive:
    """Label scores by whole re-runs, one at a time: no cache, no padding, no batch, the head everywhere, in float64."""

    model: Any
    prompts: Sequence[Ids]
    labels: Sequence[Ids]
    end_tokens: int = 1

    def __post_init__(self) -> None:
        self.scores = {name: np.zeros((len(self.prompts), len(self.labels))) for name in ("sum", "end", "first")}
        for row, prompt in enumerate(self.prompts):
            for column, label in enumerate(self.labels):
                logprobs = self._logprobs(prompt, label)
                self.scores["sum"][row, column] = logprobs.sum()
                self.scores["end"][row, column] = logprobs[len(label) - self.end_tokens :].sum()
                self.scores["first"][row, column] = logprobs[0]

    def _logprobs(self, prompt: Ids, label: Ids) -> Any:
        import torch

        ids = torch.tensor([[*prompt, *label]])
        with torch.no_grad():
            logits = self.model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[0]
        # counted from the end: an adapter's virtual tokens come first
        logprobs = logits[-len(label) - 1 : -1].double().log_softmax(dim=-1)
        return logprobs[torch.arange(len(label)), torch.tensor(list(label))]

    def gap(self, **options: Any) -> float:
        """The largest difference, in nats, from the engine's scores; `options` are those of `score_labels`."""
        from sft.inference.classification import score_labels

        scores = score_labels(self.model, self.prompts, self.labels, end_tokens=self.end_tokens, **options)
        return max(
            float(np.abs(getattr(scores, f"{name}_logprob_NL") - expected).max())
            for name, expected in self.scores.items()
        )


@pytest.fixture(scope="session")
def naive() -> Callable[..., Naive]:
    """The naive scorer: `naive(model, prompts, labels).gap(batch_size=3)`."""
    return Naive


@pytest.fixture
def draw() -> Callable[[int], Ids]:
    """Random ids: `draw(length)`."""
    generator = random.Random(0)  # noqa: S311 not for secrets
    return lambda length: [generator.randrange(256) for _ in range(length)]


@pytest.fixture
def ragged(draw: Callable[[int], Ids]) -> list[Ids]:
    """Prompts of very different lengths without a shared prefix."""
    return [draw(length) for length in (1, 300, 7, 40, 2, 41, 120)]


@pytest.fixture
def alike(draw: Callable[[int], Ids]) -> list[Ids]:
    """Prompts with a shared prefix; one of them has only one more token."""
    prefix = draw(20)
    return [prefix + draw(length) for length in (1, 60, 7, 33, 2, 34)]


@pytest.fixture
def labels() -> list[Ids]:
    """Labels of several lengths, prefixes of one another among them; 258 is the end of turn."""
    return [[5, 6, 258], [5, 258], [5, 6, 7, 8, 258], [9, 258], [11, 12, 13, 14, 15, 16, 258], [258]]


@pytest.fixture
def with_prefix(draw: Callable[[int], Ids]) -> list[Ids]:
    """Prompts with a shared prefix of 24 ids; one of them has only one more id."""
    prefix = draw(24)
    return [prefix + draw(length) for length in (1, 30, 7, 40, 2, 41, 90, 90, 7)]
