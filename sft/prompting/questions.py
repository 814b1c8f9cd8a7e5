"""Rows with any number of labels: a yes-or-no question for each label, after the row's own text.

The question is an additional input column, the last. So all questions of a row share a prefix up to the label's name,
and the text after the label's name is the same for all rows. The engine gets one prompt per row, followed by a tree of
questions with two answers each.

Training uses each of the L questions of a row as a prompt of its own, so a step with the same batch size covers fewer
rows. With many labels, most answers are no, and yes becomes less likely than it should be. The threshold, chosen on the
shots, corrects this as far as the effect is the same for all labels, since there is one threshold for all of them. The
model is more confident about shots that it was trained on than about other rows. Each label has its own question, so
only the model itself knows which labels rarely occur together.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from sft.config.sections.prompting import PromptingConfig
from sft.prompting.encoding.truncate import Row
from sft.prompting.prompt import LabelledPrompt, Prompt
from sft.prompting.render import Renderer
from sft.sequences import common_prefix


class Questions:
    """The questions of a task.

    Args:
        prompting: the config section.
        labels: the L labels.
        texts: text of each label in its question.
    """

    def __init__(self, prompting: PromptingConfig, labels: Sequence[str], texts: Sequence[str]) -> None:
        taken = prompting.input_columns
        self.column = next(name for name in ("question", "yes or no", "asked") if name not in taken)
        self._labels, self._yes_no = tuple(labels), prompting.yes_no
        self._texts = tuple(prompting.question.replace("{label}", text) for text in texts)
        self.prompting = prompting.model_copy(update={"input_columns": (*taken, self.column)})

    def ask(self, renderer: Renderer, row: Row) -> LabelledPrompt:
        """Return a row's questions: their shared prefix as the prompt, the rest with yes and with no as labels.

        Args:
            renderer: renderer of this `prompting`, with `column` in its `whole`.
            row: the input columns.

        Raises:
            DataError: as in the renderer.
        """
        asked = [renderer.render_labels(self._asked(row, text), (), self._yes_no) for text in self._texts]
        whole = [[*question.prompt.ids, *ids] for question in asked for ids in question.label_ids]
        shared = common_prefix(whole)
        first = asked[0].prompt
        spans = tuple(span._replace(end=min(span.end, shared)) for span in first.spans if span.start < shared)
        cut = max(question.prompt.cut_tokens for question in asked)
        prompt = replace(first, ids=whole[0][:shared], spans=spans, cut_tokens=cut)
        return LabelledPrompt(prompt, [ids[shared:] for ids in whole], asked[0].end_tokens)

    def answered(self, renderer: Renderer, row: Row, applying: Collection[str]) -> list[Prompt]:
        """Return the L questions of a row, each with its answer, to train on.

        Args:
            renderer: as in `ask`.
            row: the input columns.
            applying: the row's labels.
        """
        yes, no = self._yes_no
        return [
            renderer.render(self._asked(row, text), (), yes if label in applying else no, self._yes_no)
            for label, text in zip(self._labels, self._texts, strict=True)
        ]

    def _asked(self, row: Row, text: str) -> Row:
        return {**row, self.column: text}
