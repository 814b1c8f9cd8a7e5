"""The plain form, for models without a chat template.

    INSTRUCTION
                                  (a blank line; neither without an instruction)
    Input: TEXT                   (several columns: one line each, `column: text`, without `Input: `)
    Answer: ANSWER
                                  (a blank line after each in-context example)
    Input: TEXT
    Answer:                       <- the prompt ends here, without a space
     ANSWER<eos>                  <- the completion: the space belongs to the answer's first word

In byte-level BPE and in sentencepiece, a word and the space before it are one token, so the boundary between prompt and
answer is a token boundary. The end of turn is the tokenizer's eos, or a line feed if it has none. A begin-of-text token
comes first if the tokenizer adds one. This module uses no rows.
"""

from __future__ import annotations

from collections.abc import Sequence

from sft.prompting.conversation import Content, Conversation, Layout, Slot, Trim
from sft.prompting.encoding.words import Words, clip
from sft.prompting.templates.template import Shape
from sft.protocols import Tokenizer


class PlainTemplate:
    """Writes conversations in the plain form; replaces a `ChatTemplate`."""

    def __init__(self, tokenizer: Tokenizer, single_column: bool) -> None:
        self._end = tokenizer.eos_token or "\n"
        self._opening = "Input: " if single_column else ""
        self.bos_ids = _leading_ids(tokenizer)

    def words(self, shape: Shape, layout: Layout, contents: Sequence[Content], answers: Sequence[str]) -> Words:
        """Return the contents and answers as this form writes them, with stripped answers."""
        del shape
        trims = {part.content: part.trim for part in layout.prompt if isinstance(part, Slot)}
        written = [clip(content, trims[index]) for index, content in enumerate(contents)]
        trimmed = [answer[slice(*layout.answer.bounds(answer))] for answer in answers]
        return Words(written, trimmed, [layout.lead] * len(answers))

    def adapt(self, conversation: Conversation) -> Conversation:
        """Return the conversation unchanged: the plain form shows the instruction separately."""
        return conversation

    def layout(self, shape: Shape) -> Layout:
        """Return the layout of a conversation of a shape."""
        parts: list[str | Slot] = [""]
        if shape.system:
            parts += [Slot(0), "\n\n"]
        first = int(shape.system)
        for round_ in range(shape.rounds):
            user = first + 2 * round_
            parts += [self._opening, Slot(user), "\nAnswer: ", Slot(user + 1, Trim("whitespace", "whitespace")), "\n\n"]
        parts += [self._opening, Slot(shape.size - 1), "\nAnswer:"]
        return Layout(tuple(parts), " ", Trim("whitespace", "whitespace"), self._end, "")


def _leading_ids(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Return the begin-of-text token if the tokenizer adds one, else nothing."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a", add_special_tokens=True)["input_ids"]
    return (full[0],) if full[:1] == [tokenizer.bos_token_id] and full[:1] != bare[:1] else ()
