"""The trial of generated answers: what a batch's steps gave for a row, computed again by one plain forward.

The log-probability of each written token, as the model gave it step by step on its cache, is compared with that of one
forward of the prompt and the answer. Tried are the row with most padding and, where its length does not answer for it,
the longest: a window or a limit of positions shows from some length on. Answers grow while the run goes on, so later
batches are tried by the same rule.

Shapes: B rows, T tokens of an answer, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from sft.inference.decoder import Decoder
from sft.model.trial import DisagreementError, Trials, failed, largest, require_agreement, tolerance

Ids = Sequence[int]


class AnswerTrial:
    """Holds batches of answers against plain forwards.

    Args:
        model: of transformers or PEFT.
        decoder: what the run generates with.
        form: everything that tells this way of generating from others.
    """

    def __init__(self, model: Any, decoder: Decoder, form: tuple[Any, ...]) -> None:
        self._decoder, self._form = decoder, form
        self._trials, self._tolerance = Trials(model), tolerance(model)

    def known_fault(self, tokens: int) -> str | None:
        """What was found wrong before with rows of up to so many tokens."""
        tried = self._trials.of((*self._form, True), tokens)
        return None if tried is None else tried.fault

    def note_fault(self, tokens: int, fault: str) -> None:
        """Keep what is wrong with rows of up to so many tokens."""
        self._trials.note((*self._form, True), tokens, fault)

    def fault(self, error: Exception) -> str | None:
        """What an error says against the way that is tried; None where it is none of its faults."""
        return failed(error) if self.is_due or isinstance(error, DisagreementError) else None

    @property
    def is_due(self) -> bool:
        """Whether nothing was tried yet."""
        return self._trials.of((*self._form, False), 1) is None

    def check(self, prompts: Sequence[Ids], answers: Sequence[Ids], steps: Sequence[Sequence[float]]) -> None:
        """Try a row of a batch, or two, where those before it do not answer for it.

        Args:
            prompts: B lists of ids.
            answers: B lists of ids, each at least one, with whatever ended it.
            steps: for each row the log-probability of each token of its answer.

        Raises:
            DisagreementError: a plain forward gives others.
        """
        lengths = [len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True)]
        most_padded = min(range(len(prompts)), key=lambda row: len(prompts[row]))
        for row in (most_padded, max(range(len(prompts)), key=lengths.__getitem__)):
            form = *self._form, len(answers[row]) > 1
            if self._trials.of(form, lengths[row]) is None:
                self._try(prompts[row], answers[row], steps[row])
                self._trials.note((*self._form, False), lengths[row])
                self._trials.note(form, lengths[row])

    def _try(self, prompt: Ids, answer: Ids, steps: Sequence[float]) -> None:
        fed_1S = torch.tensor([[*prompt, *answer[:-1]]], device=self._decoder.device)
        logits_TV = self._decoder.whole(fed_1S, keep=len(answer))[0].float()
        logprobs_T = logits_TV.log_softmax(dim=-1)[range(len(answer)), list(answer)]
        # where positions depend on the length of the text, this forward has the length of the last step alone
        first = len(answer) - 1 if self._decoder.grows else 0
        allowed = self._tolerance * largest(logits_TV)
        require_agreement(torch.tensor(steps)[first : len(answer)], logprobs_T[first:], allowed, "log-probabilities")
