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
from sft.model.trial import (
    DisagreementError,
    Trials,
    chosen_logprobs,
    failed,
    largest,
    plain_logits,
    require_agreement,
    tolerance,
)

Ids = Sequence[int]
_STEPS = 3  # tokens; the first needs no cache


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
        tried = self._trials.of((*self._form, "any"), tokens)
        return None if tried is None else tried.fault

    def note_fault(self, tokens: int, fault: str) -> None:
        """Keep what is wrong with rows of up to so many tokens."""
        self._trials.note((*self._form, "any"), tokens, fault)

    def fault(self, error: Exception) -> str | None:
        """What an error says against the way that is tried; None where it is none of its faults."""
        return failed(error) if self.is_due() or isinstance(error, DisagreementError) else None

    def is_due(self, tokens: int = 1) -> bool:
        """Whether no trial answers for rows of so many tokens."""
        return all(self._trials.of((*self._form, crosses, False), tokens) is None for crosses in (False, True))

    def check(self, prompts: Sequence[Ids], answers: Sequence[Ids], steps: Sequence[Sequence[float]]) -> None:
        """Try a row of a batch, or two, where those before it do not answer for it.

        Args:
            prompts: B lists of ids.
            answers: B lists of ids, each at least one, with whatever ended it.
            steps: for each row the log-probability of each token of its answer.

        Raises:
            DisagreementError: a plain forward gives others.
        """
        rows = range(len(prompts))
        lengths = [len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True)]
        # where positions depend on the length of the text, an answer that grows beyond a limit is of another kind
        crosses = [self._decoder.grows and not self._trials.alike(len(prompts[row]), lengths[row]) for row in rows]
        most_padded = min(rows, key=lambda row: len(prompts[row]))
        for row in (most_padded, max(rows, key=lengths.__getitem__), max(rows, key=crosses.__getitem__)):
            form = *self._form, crosses[row]
            if self._trials.of((*form, len(answers[row]) > 1), lengths[row]) is None:
                self._try(prompts[row], answers[row], steps[row])
                for continued in {False, len(answers[row]) > 1}:
                    self._trials.note((*form, continued), lengths[row])

    def _try(self, prompt: Ids, answer: Ids, steps: Sequence[float]) -> None:
        fed_1S = torch.tensor([[*prompt, *answer[:-1]]], device=self._decoder.device)
        logits_TV = self._decoder.whole(fed_1S, keep=len(answer))[0]
        logprobs_T = chosen_logprobs(logits_TV, answer)
        # where positions depend on the length of the text, this forward has the length of the last step alone
        first = len(answer) - 1 if self._decoder.grows else 0
        allowed = self._tolerance * largest(logits_TV)
        require_agreement(torch.tensor(steps)[first : len(answer)], logprobs_T[first:], allowed, "log-probabilities")


def require_exact_steps(model: Any, ids_1S: torch.Tensor, **options: Any) -> None:
    """Let `generate` write some ids after a text, and compare their log-probabilities with those of a plain forward.

    Args:
        model: of transformers or PEFT, in eval mode.
        ids_1S: the text.
        options: of `generate`, for its cache.

    Raises:
        DisagreementError: they are others.
    """
    written = model.generate(
        input_ids=ids_1S, attention_mask=torch.ones_like(ids_1S), max_new_tokens=_STEPS, min_new_tokens=_STEPS,
        do_sample=False, return_dict_in_generate=True, output_logits=True, **options,
    )  # fmt: skip
    new_T = written.sequences[0, -_STEPS:].tolist()
    with torch.inference_mode():
        plain_TV = plain_logits(model, written.sequences[:, :-1], _STEPS)[0]
    fast_T = chosen_logprobs(torch.stack(written.logits, dim=1)[0], new_T)
    allowed = tolerance(model) * largest(plain_TV)
    require_agreement(fast_T, chosen_logprobs(plain_TV, new_T), allowed, "log-probabilities")
