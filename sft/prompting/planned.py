"""The prompts of a run as values: those trained on and those judged, each with the examples that it shows."""

from __future__ import annotations

from dataclasses import dataclass

from sft.prompting.prompt import LabelledPrompt, Prompt


@dataclass(frozen=True)
class TrainingPrompts:
    """What is trained on.

    Args:
        prompts: with their completions, in the order of `rows`.
        rows: row numbers in the train split.
        held_out: shots that are shown as fixed examples and so not trained on.
        shown: for each prompt the row numbers of the examples that it does show.
        validation: what the training is judged by, of shots that are not trained on; None without.
    """

    prompts: tuple[Prompt, ...]
    rows: tuple[int, ...]
    held_out: int
    shown: tuple[tuple[int, ...], ...] = ()
    validation: TrainingPrompts | None = None

    @property
    def labelled_rows(self) -> frozenset[int]:
        """Rows of the train split that training uses: trained on, judged by, or shown in a prompt of these."""
        more = frozenset[int]() if self.validation is None else self.validation.labelled_rows
        return more.union(self.rows, *self.shown)


@dataclass(frozen=True)
class JudgedPrompts:
    """What a split is judged on.

    Args:
        labelled: prompts with the token ids of all labels (classification), else empty.
        open: prompts to generate from (generation), else empty.
        shown: for each row the row numbers, in the train split, of the examples that its prompt does show.
    """

    labelled: tuple[LabelledPrompt, ...]
    open: tuple[Prompt, ...]
    shown: tuple[tuple[int, ...], ...]

    def part(self, start: int, stop: int) -> JudgedPrompts:
        """The rows from `start` to `stop` (exclusive)."""
        return JudgedPrompts(self.labelled[start:stop], self.open[start:stop], self.shown[start:stop])

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """The prompts of either kind."""
        return self.open or tuple(one.prompt for one in self.labelled)
