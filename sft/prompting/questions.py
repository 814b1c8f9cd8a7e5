"""Rows with any number of labels: for each label a question after the row's own text, answered with yes or no.

The question is one more input column, the last. So all questions of a row begin alike, with all that stands before the
label's name, and what comes after it is the same for all rows: to the engine, a prompt for each row, and after it a
tree of questions with two answers each.

What training on it means: a row is trained on as its L questions, each a prompt of its own, so a step of the same batch
size sees fewer rows. Where labels are many, most answers are no, and yes gets less likely than it should be: the
threshold, chosen on the shots, makes up for that as far as it is alike for all labels, there being one for all of them.
Of shots that were trained on, the model is surer than of other rows. Labels are asked about apart: that two seldom come
together is known only as far as the model knows it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from sft.config.sections.prompting import PromptingConfig
from sft.prompting.prompt import LabelledPrompt, Prompt
from sft.prompting.render import Renderer
from sft.prompting.truncate import Row
from sft.sequences import common_prefix


class Questions:
    """The questions of a task.

    Args:
        prompting: the config section.
        labels: the L labels.
        texts: what stands for each of them in its question.
    """

    def __init__(self, prompting: PromptingConfig, labels: Sequence[str], texts: Sequence[str]) -> None:
        taken = prompting.input_columns
        self.column = next(name for name in ("question", "yes or no", "asked") if name not in taken)
        self._labels, self._yes_no = tuple(labels), prompting.yes_no
        self._texts = tuple(prompting.question.replace("{label}", text) for text in texts)
        self.prompting = prompting.model_copy(update={"input_columns": (*taken, self.column)})

    def ask(self, renderer: Renderer, row: Row) -> LabelledPrompt:
        """What all questions of the row begin with; as its labels the rest of each with yes and with no, in turn.

        Args:
            renderer: of `prompting` as it is here, with `column` among what it leaves whole.
            row: holds the input columns.

        Raises:
            DataError: as the renderer's.
        """
        asked = [renderer.render_labels(self._asked(row, text), (), self._yes_no) for text in self._texts]
        whole = [[*one.prompt.ids, *ids] for one in asked for ids in one.label_ids]
        shared = common_prefix(whole)
        first = asked[0].prompt
        spans = tuple(span._replace(end=min(span.end, shared)) for span in first.spans if span.start < shared)
        cut = max(one.prompt.cut_tokens for one in asked)
        prompt = replace(first, ids=whole[0][:shared], spans=spans, cut_tokens=cut)
        return LabelledPrompt(prompt, [ids[shared:] for ids in whole], asked[0].end_tokens)

    def answered(self, renderer: Renderer, row: Row, applying: Collection[str]) -> list[Prompt]:
        """The L questions of a row that is trained on, each with its answer.

        Args:
            renderer: as for `ask`.
            row: holds the input columns.
            applying: the row's labels.
        """
        yes, no = self._yes_no
        return [
            renderer.render(self._asked(row, text), (), yes if label in applying else no, self._yes_no)
            for label, text in zip(self._labels, self._texts, strict=True)
        ]

    def _asked(self, row: Row, text: str) -> Row:
        return {**row, self.column: text}
