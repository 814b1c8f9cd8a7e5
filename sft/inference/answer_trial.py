"""Trial of generated answers: the log-probabilities of a row, computed again by one plain forward.

The log-probabilities that the model gave step by step with its cache are compared with those of one forward of prompt
and answer. A trial checks the row with most padding and, if its length is not comparable, the longest one, since a
sliding window or a position limit only matters beyond some length. Later batches, whose answers may be longer, follow
the same rule.

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
from sft.protocols import LanguageModel

Ids = Sequence[int]
_STEPS = 3  # tokens; the first needs no cache


class AnswerTrial:
    """Compares batches of answers with plain forwards.

    Args:
        model: a transformers or PEFT model.
        decoder: the decoder of the run.
        form: key of this way of generating.
    """

    def __init__(self, model: LanguageModel, decoder: Decoder, form: tuple[Any, ...]) -> None:
        self._decoder, self._form = decoder, form
        self._trials, self._tolerance = Trials(model), tolerance(model)

    def known_fault(self, tokens: int) -> str | None:
        """Return the fault that an earlier trial found in rows of up to `tokens` tokens."""
        tried = self._trials.of((*self._form, "any"), tokens)
        return None if tried is None else tried.fault

    def note_fault(self, tokens: int, fault: str) -> None:
        """Record a fault of rows of up to `tokens` tokens."""
        self._trials.note((*self._form, "any"), tokens, fault)

    def fault(self, error: Exception) -> str | None:
        """Return the fault that an error reveals in the way under trial; None if the way is not at fault."""
        return failed(error) if self.is_due() or isinstance(error, DisagreementError) else None

    def is_due(self, tokens: int = 1) -> bool:
        """Whether rows of `tokens` tokens still need a trial."""
        return all(self._trials.of((*self._form, crosses, False), tokens) is None for crosses in (False, True))

    def check(self, prompts: Sequence[Ids], answers: Sequence[Ids], steps: Sequence[Sequence[float]]) -> None:
        """Try one or two rows of a batch, unless earlier trials cover them.

        Args:
            prompts: B lists of ids.
            answers: B lists of ids, none empty, including the end.
            steps: the log-probability of each token of each answer.

        Raises:
            DisagreementError: a plain forward gives other values.
        """
        rows = range(len(prompts))
        lengths = [len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True)]
        # if positions depend on the length of the text, an answer that crosses a limit needs its own trial
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
        # if positions depend on the length of the text, only the last step has the length of this forward
        first = len(answer) - 1 if self._decoder.grows else 0
        allowed = self._tolerance * largest(logits_TV)
        require_agreement(torch.tensor(steps)[first : len(answer)], logprobs_T[first:], allowed, "log-probabilities")


def require_exact_steps(model: LanguageModel, ids_1S: torch.Tensor, **options: Any) -> None:
    """Generate some ids after a text, and compare their log-probabilities with those of a plain forward.

    Args:
        model: a transformers or PEFT model, in eval mode.
        ids_1S: the text.
        options: arguments of `generate` for its cache.

    Raises:
        DisagreementError: they differ.
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
