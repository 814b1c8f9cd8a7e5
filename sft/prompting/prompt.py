"""Inputs and outputs of the renderer, and the prompts of a run, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Example:
    """A labelled row shown in the prompt. `answer` is the text shown: for a label, its verbalizer."""

    row: Mapping[str, str]
    answer: str


class Span(NamedTuple):
    """Prompt tokens `start` to `end` (exclusive) of one origin: instruction, input, example_input, example_answer."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True)
class Prompt:
    """The tokens that the model reads, and the tokens that it has to write.

    Attributes:
        ids: tokens of the prompt.
        completion_ids: tokens to train on, ending with the end of turn; empty without an answer.
        spans: spans of `ids` that come from data.
        text: the prompt (and the answer with its end of turn) as the template writes it.
        dropped_examples: number of in-context examples left out because they did not fit.
        cut_tokens: number of tokens cut from the row's own texts.
    """

    ids: list[int]
    completion_ids: list[int]
    spans: tuple[Span, ...]
    text: str
    dropped_examples: int = 0
    cut_tokens: int = 0


@dataclass(frozen=True)
class LabelledPrompt:
    """One prompt and the tokens of each possible answer after it.

    Attributes:
        prompt: the prompt, the same for all answers.
        label_ids: tokens of each answer, end of turn included, in the order of the answers.
        end_tokens: number of tokens at the end of each answer that are the end of turn.
        lead_tokens: number of tokens at the start of each answer that are the template's own words. They are the same
            for all labels (and 0 for most templates, see `template.py`), so labels differ only after them.
    """

    prompt: Prompt
    label_ids: list[list[int]]
    end_tokens: int
    lead_tokens: int = 0


@dataclass(frozen=True)
class TrainingPrompts:
    """The prompts to train on.

    Args:
        prompts: prompts with completions, in the order of `rows`.
        rows: row numbers in the train split.
        held_out: number of shots that are fixed examples and so not trained on.
        shown: row numbers of the examples in each prompt.
        validation: prompts of the validation shots, which are not trained on; None without validation.
    """

    prompts: tuple[Prompt, ...]
    rows: tuple[int, ...]
    held_out: int
    shown: tuple[tuple[int, ...], ...] = ()
    validation: TrainingPrompts | None = None

    @property
    def labelled_rows(self) -> frozenset[int]:
        """Rows of the train split that training uses: trained on, validated on, or shown as examples."""
        validation = frozenset[int]() if self.validation is None else self.validation.labelled_rows
        return validation.union(self.rows, *self.shown)


@dataclass(frozen=True)
class EvaluationPrompts:
    """The prompts to evaluate a split on.

    Args:
        labelled: prompts with the token ids of all labels (classification), else empty.
        open: prompts to generate from (generation), else empty.
        shown: row numbers, in the train split, of the examples in each prompt.
    """

    labelled: tuple[LabelledPrompt, ...]
    open: tuple[Prompt, ...]
    shown: tuple[tuple[int, ...], ...]

    def part(self, start: int, stop: int) -> EvaluationPrompts:
        """Return the prompts from `start` to `stop` (exclusive)."""
        return EvaluationPrompts(self.labelled[start:stop], self.open[start:stop], self.shown[start:stop])

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """The prompts of either kind."""
        return self.open or tuple(labelled.prompt for labelled in self.labelled)
