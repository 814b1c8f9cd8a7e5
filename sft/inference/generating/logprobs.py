"""Log-probabilities of generated tokens under the unmodified model distribution.

They are computed in fp32 from the model's logits, before penalties, temperature and constraints. If a way of generating
does not run the model step by step, the answer is read once more.

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
    """Records the log-probabilities of one batch: call `listening`, and pass the object as a stopping criterion.

    Args:
        rows: number of rows in the batch.
        stepwise: whether each token of each row comes from one forward; False for beams and drafts.
    """

    def __init__(self, rows: int, stepwise: bool) -> None:
        self._rows = rows
        self._logits_BV: Tensor | None = None
        self._forwards = 0
        self._plain = stepwise
        self._steps: list[Tensor] = []

    @contextmanager
    def listening(self, model: torch.nn.Module) -> Iterator[None]:
        """Inside, the last logits of each forward of the model are recorded."""
        handle = model.register_forward_hook(self._record)
        try:
            yield
        finally:
            handle.remove()
            self._logits_BV = None

    def _record(self, model: torch.nn.Module, inputs: Any, output: Any) -> None:
        self._forwards += 1
        self._logits_BV = output.logits[:, -1]

    def __call__(self, input_ids: Tensor, scores: Any = None, **kwargs: Any) -> Tensor:
        """Record the log-probability of each row's last id; end no row [B]."""
        logits_BV, self._logits_BV = self._logits_BV, None
        # a second forward for one token has another purpose (a prompt in parts, guidance)
        self._plain &= self._forwards == 1 and logits_BV is not None and len(logits_BV) == len(input_ids) == self._rows
        self._forwards = 0
        if self._plain and logits_BV is not None:
            chosen_B1 = input_ids[:, -1:].to(logits_BV.device)
            logits_BV = logits_BV.float()
            self._steps.append(logits_BV.gather(1, chosen_B1)[:, 0] - logits_BV.logsumexp(dim=1))
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)

    def table(self) -> list[list[float]] | None:
        """Return the log-probability of each new token of each row; None if the steps were not one forward each."""
        if not self._plain or not self._steps:
            return None
        table: list[list[float]] = torch.stack(self._steps, dim=1).double().tolist()
        return table


def reread(decoder: Decoder, prompt: Sequence[int], answer: Sequence[int]) -> list[float]:
    """Return the log-probability of each id of an answer after its prompt, from one forward of both."""
    if not answer:
        return []
    ids_1S = torch.tensor([[*prompt, *answer]], device=decoder.device)
    logits_TV = decoder.whole(ids_1S, keep=len(answer) + 1)[0, :-1].float()
    chosen_T1 = torch.tensor(list(answer), device=logits_TV.device)[:, None]
    logprobs: list[float] = (logits_TV.gather(1, chosen_T1)[:, 0] - logits_TV.logsumexp(dim=1)).double().tolist()
    return logprobs
