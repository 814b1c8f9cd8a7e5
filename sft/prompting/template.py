"""What a chat template does, learned by asking it: where it puts each text, what it writes around, what it strips.

The template is rendered with a placeholder in place of every text. What stands between the placeholders is its own
text; rendering once more with white space around the placeholders shows what it strips. A prompt is then put together
from these parts, so it is known, never searched for, which tokens are the answer. Data is only ever passed to the
template as a variable. It knows nothing of tokens, columns or rows.

What is right where templates differ:
- The prompt is what `apply_chat_template(…, add_generation_prompt=True)` gives, to the letter. What the whole
  conversation has between it and the answer is the lead: the model has to write it before the answer (a space, Qwen3's
  empty thinking block, the channel header of gpt-oss), so it opens the completion.
- Where the prompt is not the beginning of the whole conversation (a template that closes an empty thinking block only
  in its generation prompt), the prompt wins, for that is what the model sees; answer and end of turn follow it.
- A template without a generation prompt writes the header of the answer only together with the answer: that header then
  belongs to the prompt, so that the model is not made to write it. Spaces at its end go to the lead: words begin there.
- The end of turn is what follows the answer through the first control token (or unbroken run of them); without one, its
  text without the white space at the end; if there is none at all, the tokenizer's eos (else a line feed).
- A template that raises on a system turn or leaves it out gets its text at the head of the first user turn.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sft.errors import ModelError
from sft.prompting.conversation import Conversation, Layout, Slot, Trim, text_of

_MARK = re.compile("\ue000(\\d+)\ue001")
_PAD_LEFT, _PAD_RIGHT = "\n\t\n", "\n  \n"
_TRIMS = ("none", "newlines", "whitespace")

Parts = list[str | int]  # template text and numbers of contents in turn; the first and the last are text


@dataclass(frozen=True)
class Shape:
    """What a layout depends on: whether there is a system turn, how many rounds, which contents are blank.

    Templates have ways of their own with blank texts (leave out the turn, strip), so these are learned as they are.
    """

    system: bool
    rounds: int
    blanks: frozenset[tuple[int, str]] = frozenset()

    @property
    def size(self) -> int:
        """Number of contents before the answer."""
        return self.system + 2 * self.rounds + 1


class ChatTemplate:
    """The chat template of a tokenizer.

    Args:
        tokenizer: a transformers tokenizer that has a chat template.
        variables: further variables for it (`enable_thinking`).
        controls: finds control tokens in template text.

    Raises:
        ModelError: a template that does not show user and assistant turns.
    """

    bos_ids: tuple[int, ...] = ()  # it stands in the template's own text

    def __init__(self, tokenizer: Any, variables: Mapping[str, Any], controls: re.Pattern[str]) -> None:
        self._tokenizer = tokenizer
        self._variables = dict(variables)
        self._controls = controls
        self._parts = False  # contents as [{"type": "text", …}] instead of a string
        self._find_content_form()
        self.has_system = self._shows(Shape(system=True, rounds=0))
        self.layout = lru_cache(maxsize=256)(self._learn)

    def place(self, conversation: Conversation) -> Conversation:
        """The conversation as this template can show it: the system turn merged where it has none."""
        return conversation if self.has_system else conversation.merged()

    def render(self, conversation: Conversation, answer: str | None) -> str | None:
        """The template's own text of real contents: the prompt, or the whole conversation with the answer.

        None where it raises on them.
        """
        texts = [text_of(content) for content in conversation.contents()]
        turns = self._turns(bool(conversation.system), texts, answer)
        return self._try(turns, generation_prompt=answer is None)[0]

    def _find_content_form(self) -> None:
        probe = Shape(system=False, rounds=1)
        for self._parts in (False, True):
            if self._shows(probe):
                return
        self._parts = False
        reason = self._try(self._turns(False, ["a", "b", "c"], "d"), False)[1] or "it leaves out their text"
        raise ModelError(f"the chat template does not show user and assistant turns: {reason}")

    def _shows(self, shape: Shape) -> bool:
        """Whether the template's text has all contents of a conversation of that shape, with and without answer."""
        whole = self._parts_of(shape, answered=True, generation_prompt=False)
        asked = self._parts_of(shape, answered=False, generation_prompt=True)
        if whole is None or asked is None or set(asked[1::2]) != set(range(shape.size)):
            return False
        return set(whole[1::2]) == set(range(shape.size + 1)) and whole[-2] == shape.size

    def _turns(self, system: bool, texts: Sequence[str], answer: str | None) -> list[dict[str, Any]]:
        roles = ["system"] * system + ["user", "assistant"] * len(texts)
        shown = [*texts, answer] if answer is not None else texts
        return [
            {"role": role, "content": [{"type": "text", "text": text}] if self._parts else text}
            for role, text in zip(roles, shown, strict=False)
        ]

    def _try(self, turns: list[dict[str, Any]], generation_prompt: bool) -> tuple[str | None, str]:
        """The rendered text, or None and the template's complaint."""
        from jinja2 import TemplateError

        try:
            text = self._tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=generation_prompt, **self._variables
            )
        except (TemplateError, TypeError) as error:  # TypeError: the template expects another form of content
            return None, str(error)
        return text, ""

    def _parts_of(self, shape: Shape, answered: bool, generation_prompt: bool, padded: bool = False) -> Parts | None:
        """The template's text of a conversation of that shape, split at the placeholders; None where it raises."""
        left, right = (_PAD_LEFT, _PAD_RIGHT) if padded else ("", "")
        marks = [f"{left}\ue000{index}\ue001{right}" for index in range(shape.size + 1)]
        for index, blank in shape.blanks:
            marks[index] = blank
        turns = self._turns(shape.system, marks[:-1], marks[-1] if answered else None)
        text, _ = self._try(turns, generation_prompt)
        if text is None:
            return None
        parts = _MARK.split(text)
        return [int(part) if place % 2 else part for place, part in enumerate(parts)]

    def _learn(self, shape: Shape) -> Layout:
        whole = self._parts_of(shape, answered=True, generation_prompt=False)
        asked = self._parts_of(shape, answered=False, generation_prompt=True)
        plain = self._parts_of(shape, answered=False, generation_prompt=False)
        needed = set(range(shape.size)) - {index for index, _ in shape.blanks}
        if whole is None or asked is None or set(whole[1::2]) != needed | {shape.size} or set(asked[1::2]) != needed:
            raise ModelError(f"the chat template does not show a conversation of {shape.rounds + 1} rounds")
        before, tail = whole[:-2], str(whole[-1])
        prompt, lead, fits = _split_lead(asked, before, generation_prompt=asked != plain)
        from_asked = prompt is asked
        padded = self._parts_of(shape, answered=True, generation_prompt=False, padded=True)
        trims = _trims(whole, padded)
        if from_asked:
            padded_asked = self._parts_of(shape, answered=False, generation_prompt=True, padded=True)
            trims = {**_trims(asked, padded_asked), shape.size: trims.get(shape.size, Trim())}
        slots = tuple(Slot(part, trims.get(part, Trim())) if isinstance(part, int) else part for part in prompt)
        end, rest = self._end_of_turn(tail)
        return Layout(
            slots, lead, trims.get(shape.size, Trim()), end, rest, whole=fits and tail == end + rest, asked=from_asked
        )

    def _end_of_turn(self, tail: str) -> tuple[str, str]:
        if control := self._controls.search(tail):
            end = control.end()
            while more := self._controls.match(tail, end):
                end = more.end()
            return tail[:end], tail[end:]
        text = tail.rstrip()
        return (text, tail[len(text) :]) if text else (self._tokenizer.eos_token or "\n", "")


def _split_lead(asked: Parts, before: Parts, generation_prompt: bool) -> tuple[Parts, str, bool]:
    """The prompt's parts, the lead, and whether both together are what the whole conversation begins with."""
    last_asked, last_before = str(asked[-1]), str(before[-1])
    lead = last_before[len(last_asked) :]
    is_prefix = asked[:-1] == before[:-1] and last_before.startswith(last_asked)
    if generation_prompt or (is_prefix and not lead.strip()):
        return (asked, lead, True) if is_prefix else (asked, "", False)
    header = last_before.rstrip(" ")
    return [*before[:-1], header], last_before[len(header) :], True


def _trims(parts: Parts, padded: Parts | None) -> dict[int, Trim]:
    """What the template takes off each content, from a rendering with white space around every placeholder."""
    if padded is None or parts[1::2] != padded[1::2]:
        return {}
    left: dict[int, str] = {}
    right: dict[int, str] = {}
    for place in range(0, len(parts), 2):
        after = parts[place - 1] if place else None
        before = parts[place + 1] if place + 1 < len(parts) else None
        found = _leftovers(str(parts[place]), str(padded[place]), after is not None, before is not None)
        if isinstance(after, int):
            right[after] = found[0]
        if isinstance(before, int):
            left[before] = found[1]
    return {index: Trim(left[index], right[index]) for index in left}


def _leftovers(text: str, padded: str, after: bool, before: bool) -> tuple[str, str]:
    """How much of the padding stayed after the content on the left, and before the one on the right of `text`."""
    for right in _TRIMS if after else ("none",):
        for left in _TRIMS if before else ("none",):
            kept_right = _PAD_RIGHT[slice(*Trim("none", right).bounds(_PAD_RIGHT))] if after else ""
            kept_left = _PAD_LEFT[slice(*Trim(left, "none").bounds(_PAD_LEFT))] if before else ""
            if padded == kept_right + text + kept_left:
                return right, left
    return "none", "none"  # it does something else with white space: seen when the prompt is checked
