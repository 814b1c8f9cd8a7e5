"""The model's own log-probability of each token that was chosen, whatever made the choice.

Taken from the logits as the model gives them, before penalties, temperature and constraints, in fp32; one number for
each token is kept. Where a way of generating does not feed the model step by step, the answer is read once more.

Shapes: B rows, S ids of a row, V vocabulary, T new tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from sft.inference.decoder import Decoder


class StepLogprobs:
    """Listens while one batch is generated: `with listening(model):`, and itself a stopping criterion that stops none.

    Args:
        rows: in the batch.
        stepwise: whether each token of each row comes of one forward of its own; not so for beams and drafts.
    """

    def __init__(self, rows: int, stepwise: bool) -> None:
        self._rows = rows
        self._logits_BV: Tensor | None = None
        self._forwards = 0
        self._plain = stepwise
        self._steps: list[Tensor] = []

    @contextmanager
    def listening(self, model: torch.nn.Module) -> Iterator[None]:
        """Inside, the last logits of each forward of the model are noted."""
        handle = model.register_forward_hook(self._heard)
        try:
            yield
        finally:
            handle.remove()
            self._logits_BV = None

    def _heard(self, model: torch.nn.Module, given: Any, output: Any) -> None:
        self._forwards += 1
        self._logits_BV = output.logits[:, -1]

    def __call__(self, input_ids: Tensor, scores: Any = None, **kwargs: Any) -> Tensor:
        """Take the log-probability of each row's last id; ends no row [B]."""
        logits_BV, self._logits_BV = self._logits_BV, None
        # a second forward for one token is of something else (a prompt in parts, guidance), none is not to be seen
        self._plain &= self._forwards == 1 and logits_BV is not None and len(logits_BV) == len(input_ids) == self._rows
        self._forwards = 0
        if self._plain and logits_BV is not None:
            chosen_B1 = input_ids[:, -1:].to(logits_BV.device)
            logits_BV = logits_BV.float()
            self._steps.append(logits_BV.gather(1, chosen_B1)[:, 0] - logits_BV.logsumexp(dim=1))
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)

    def table(self) -> list[list[float]] | None:
        """For each row the log-probability of each new token; None when the steps were not one forward each."""
        if not self._plain or not self._steps:
            return None
        table: list[list[float]] = torch.stack(self._steps, dim=1).double().tolist()
        return table


def reread(decoder: Decoder, prompt: Sequence[int], answer: Sequence[int]) -> list[float]:
    """The log-probability of each id of an answer after its prompt, in one forward of both."""
    if not answer:
        return []
    ids_1S = torch.tensor([[*prompt, *answer]], device=decoder.device)
    logits_TV = decoder.whole(ids_1S, keep=len(answer) + 1)[0, :-1].float()
    chosen_T1 = torch.tensor(list(answer), device=logits_TV.device)[:, None]
    logprobs: list[float] = (logits_TV.gather(1, chosen_T1)[:, 0] - logits_TV.logsumexp(dim=1)).double().tolist()
    return logprobs
