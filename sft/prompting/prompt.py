"""What goes in and out of the renderer, and the prompts of a run that it makes, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Example:
    """A labelled row shown in the prompt. `answer` is the text shown, so a label already in its own words."""

    row: Mapping[str, str]
    answer: str


class Span(NamedTuple):
    """Prompt tokens `start` to `end` (exclusive) of one origin: instruction, input, example_input, example_answer."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True)
class Prompt:
    """What the model reads, and what it has to write.

    Attributes:
        ids: tokens of the prompt.
        completion_ids: tokens that are trained on, the end of turn last; empty when there is no answer.
        spans: where in `ids` the data stands.
        text: the prompt (and the answer with its end of turn) as the template writes it.
        dropped_examples: in-context examples left out because they did not fit.
        cut_tokens: tokens cut off the row's own texts.
    """

    ids: list[int]
    completion_ids: list[int]
    spans: tuple[Span, ...]
    text: str
    dropped_examples: int = 0
    cut_tokens: int = 0


@dataclass(frozen=True)
class LabelledPrompt:
    """One prompt and the tokens of every possible answer after it.

    Attributes:
        prompt: the prompt, the same for all answers.
        label_ids: tokens of each answer, end of turn included, in the order given.
        end_tokens: how many of the last tokens of each are the end of turn.
        lead_tokens: how many of the first tokens of each are the template's own words before the answer, the same for
            all labels (0 but for a few templates, see `template.py`): what tells labels apart comes after them.
    """

    prompt: Prompt
    label_ids: list[list[int]]
    end_tokens: int
    lead_tokens: int = 0


@dataclass(frozen=True)
class TrainingPrompts:
    """What is trained on.

    Args:
        prompts: with their completions, in the order of `rows`.
        rows: row numbers in the train split.
        held_out: shots that are shown as fixed examples and so not trained on.
        shown: for each prompt the row numbers of the examples that it does show.
        validation: what the training is evaluated by, of shots that are not trained on; None without.
    """

    prompts: tuple[Prompt, ...]
    rows: tuple[int, ...]
    held_out: int
    shown: tuple[tuple[int, ...], ...] = ()
    validation: TrainingPrompts | None = None

    @property
    def labelled_rows(self) -> frozenset[int]:
        """Rows of the train split that training uses: trained on, evaluated by, or shown in a prompt of these."""
        more = frozenset[int]() if self.validation is None else self.validation.labelled_rows
        return more.union(self.rows, *self.shown)


@dataclass(frozen=True)
class EvaluationPrompts:
    """What a split is evaluated on.

    Args:
        labelled: prompts with the token ids of all labels (classification), else empty.
        open: prompts to generate from (generation), else empty.
        shown: for each row the row numbers, in the train split, of the examples that its prompt does show.
    """

    labelled: tuple[LabelledPrompt, ...]
    open: tuple[Prompt, ...]
    shown: tuple[tuple[int, ...], ...]

    def part(self, start: int, stop: int) -> EvaluationPrompts:
        """The rows from `start` to `stop` (exclusive)."""
        return EvaluationPrompts(self.labelled[start:stop], self.open[start:stop], self.shown[start:stop])

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """The prompts of either kind."""
        return self.open or tuple(one.prompt for one in self.labelled)
