"""The layout of a chat template, learned by rendering it: where it writes each text, its own text, what it strips.

The template is rendered with a placeholder in place of every text. Text between the placeholders is the template's own.
Rendering again with white space around the placeholders shows what it strips. A prompt is built from these parts, so
the tokens of the answer are known by construction, not by search. Data is passed to the template only as a variable.
This module uses no tokens, columns or rows.

Rules for templates that differ:
- The prompt is exactly the result of `apply_chat_template(…, add_generation_prompt=True)`. The lead is the text between
  the prompt and the answer in the whole conversation (a space, Qwen3's empty thinking block, the channel header of
  gpt-oss). The model has to write it before the answer, so the completion starts with it.
- The prompt may not be a prefix of the whole conversation (a template that closes an empty thinking block only in its
  generation prompt). Then the prompt wins, since the model sees it; the answer and the end of turn follow it.
- A template without a generation prompt writes the header of the answer only together with the answer. This header then
  is part of the prompt, so that the model need not write it. Trailing spaces belong to the lead, since words start
  there. A template that always writes its generation prompt is a different case.
- The end of turn is the text after the answer through the first control token (or unbroken run of them), without text
  that is there only because another turn could start (see `ending.py`). Without a control token, it is this text
  without trailing white space. If there is no text, it is the tokenizer's eos (else a line feed).
- If a template raises on a system turn or omits it from the prompt, the system text is moved to the start of the first
  user turn. If a template shows it in the prompt but not in the whole conversation, the system turn is kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any

from sft.errors import ModelError
from sft.prompting.conversation import Conversation, Layout, Slot, Trim
from sft.prompting.templates.ending import Endings, Surroundings
from sft.prompting.templates.outside import prints_address
from sft.prompting.templates.rendering import TemplateRenderer
from sft.protocols import Tokenizer

_MARK = re.compile("\ue000(\\d+)\ue001")
_PAD_LEFT, _PAD_RIGHT = "\n\t\n", "\n  \n"
_TRIMS = ("none", "newlines", "whitespace")

Parts = list[str | int]  # template text and indices of contents, alternating; the first and the last are text


@dataclass(frozen=True)
class Shape:
    """The shape of a conversation, which determines its layout: system turn, number of rounds, blank contents.

    Templates treat blank texts differently (omit the turn, strip), so blank texts are rendered unchanged.
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
        variables: further template variables (`enable_thinking`).
        controls: pattern of control tokens in template text.
        day: the date that the template reads from the clock.

    Raises:
        ModelError: a template that does not show user and assistant turns.
    """

    bos_ids: tuple[int, ...] = ()  # the template's own text includes it

    def __init__(
        self, tokenizer: Tokenizer, variables: Mapping[str, Any], controls: re.Pattern[str], day: date
    ) -> None:
        self._renderer = TemplateRenderer(tokenizer, variables, day)
        self._endings = Endings(controls, tokenizer.eos_token or "")
        self.source = self._renderer.source
        self.layout = lru_cache(maxsize=256)(self._learn)
        self.shows_system = lru_cache(maxsize=256)(self._shows_system)
        self.rewritten = lru_cache(maxsize=8192)(self._rewritten)
        self._unwritten = lru_cache(maxsize=256)(self._placeholder_parts)
        self._find_content_form()

    def adapt(self, conversation: Conversation) -> Conversation:
        """Return the conversation, with the system text in the first turn if the template shows no system turn."""
        return conversation if self.shows_system(len(conversation.rounds)) else conversation.merged()

    def render(self, system: bool, texts: list[str], answer: str | None) -> str | None:
        """Render real texts: the prompt, or the whole conversation with the answer; None if the template raises."""
        return self._renderer.render(system, texts, answer, generation_prompt=answer is None).text

    def _find_content_form(self) -> None:
        probe = Shape(system=False, rounds=1)
        for self._renderer.in_parts in (False, True):
            if self._shows_turns(probe):
                self._find_system_form()
                return
        self._renderer.in_parts = False
        reason = self._renderer.render(False, ["a", "b", "c"], "d", False).complaint or "it omits their text"
        raise ModelError(f"the chat template does not show user and assistant turns: {reason}")

    def _find_system_form(self) -> None:
        """Try a system turn as a string first: a template with lists in other turns may print a list literally."""
        for in_parts in (False, self._renderer.in_parts):
            self._renderer.system_in_parts = in_parts
            if self._shows_system(rounds=0):
                return

    def _shows_turns(self, shape: Shape) -> bool:
        """Whether a conversation of a shape shows all contents, with and without the answer."""
        whole = self._parts_of(shape, answered=True, generation_prompt=False)
        asked = self._parts_of(shape, answered=False, generation_prompt=True)
        if whole is None or asked is None or set(asked[1::2]) != set(range(shape.size)):
            return False
        return set(whole[1::2]) == set(range(shape.size + 1)) and whole[-2] == shape.size

    def _shows_system(self, rounds: int) -> bool:
        """Whether a prompt of `rounds` rounds shows the system turn, and the template accepts an answer after it."""
        shape = Shape(system=True, rounds=rounds)
        whole = self._parts_of(shape, answered=True, generation_prompt=False)
        asked = self._parts_of(shape, answered=False, generation_prompt=True)
        if whole is None or asked is None or set(asked[1::2]) != set(range(shape.size)):
            return False
        return set(range(1, shape.size + 1)) <= set(whole[1::2]) and whole[-2] == shape.size

    def _parts_of(self, shape: Shape, answered: bool, generation_prompt: bool, padded: bool = False) -> Parts | None:
        """Return the rendering of a conversation of a shape, split at the placeholders; None if the template raises."""
        left, right = (_PAD_LEFT, _PAD_RIGHT) if padded else ("", "")
        marks = [f"{left}{mark}{right}" for mark in _placeholders(shape)]
        return self._split(shape, marks, answered, generation_prompt)

    def _split(self, shape: Shape, texts: list[str], answered: bool, generation_prompt: bool) -> Parts | None:
        for index, blank in shape.blanks:
            texts[index] = blank
        answer = texts[shape.size] if answered else None
        text = self._renderer.render(shape.system, texts[: shape.size], answer, generation_prompt).text
        if text is None:
            return None
        if prints_address(text):
            raise ModelError(
                "the chat template prints the memory address of an object, which differs in every process; use another "
                "with model.chat_template_from"
            )
        return [int(part) if index % 2 else part for index, part in enumerate(_MARK.split(text))]

    def _learn(self, shape: Shape) -> Layout:
        whole = self._parts_of(shape, answered=True, generation_prompt=False)
        asked = self._parts_of(shape, answered=False, generation_prompt=True)
        plain = self._parts_of(shape, answered=False, generation_prompt=False)
        needed = set(range(shape.size)) - {index for index, _ in shape.blanks}
        system = (
            {0} if shape.system else set[int]()
        )  # may be missing in the whole conversation, see the module docstring
        if (
            whole is None
            or asked is None
            or set(asked[1::2]) != needed
            or not (needed - system | {shape.size} <= set(whole[1::2]) and whole[-2] == shape.size)
        ):
            raise ModelError(
                f"the chat template does not show all turns of {shape.rounds + 1} rounds; use another template with "
                "model.chat_template_from"
            )
        before, tail = whole[:-2], str(whole[-1])
        own = self._endings.without_next_turn(self._surroundings(shape, whole, asked))
        always_asks = asked == plain and bool(tail[len(own) :].strip())
        prompt, lead, fits = _split_lead(asked, before, generation_prompt=asked != plain or always_asks)
        padded = self._parts_of(shape, answered=True, generation_prompt=False, padded=True)
        answer = _trims(whole, padded).get(shape.size, Trim())
        padded = self._parts_of(shape, answered=False, generation_prompt=True, padded=True)
        trims = _trims(asked, padded)
        slots = tuple(Slot(part, trims.get(part, Trim())) if isinstance(part, int) else part for part in prompt)
        end = self._endings.end_of_turn(own)
        rest = tail[len(end) :] if tail.startswith(end) else tail
        return Layout(slots, lead, answer, end, rest, whole=fits and tail == end + rest, asked=prompt == asked)

    def _surroundings(self, shape: Shape, whole: Parts, asked: Parts) -> Surroundings:
        """Return the template's text around the answer, with and without a following turn."""
        answered = self._parts_of(shape, answered=True, generation_prompt=True)
        longer = Shape(shape.system, shape.rounds + 1, shape.blanks)
        followed = self._parts_of(longer, answered=False, generation_prompt=True)
        bare = self._parts_of(Shape(False, shape.rounds), answered=False, generation_prompt=True)
        return Surroundings(
            last=str(whole[-1]),
            asked=_after(answered, shape.size),
            followed=_after(followed, shape.size),
            header=str(whole[-3]),
            prompt=str(asked[-1]),
            opening=str((asked if bare is None else bare)[0]),
        )

    def _rewritten(self, shape: Shape, index: int, text: str) -> str | None:
        """Return `text` as the template writes it as a content of a conversation of a shape.

        None if the text also changes the template's own text around it.

        Args:
            shape: shape of the conversation.
            index: index of the content; the answer is the last.
            text: the content; the other contents are placeholders.
        """
        answered = index == shape.size
        texts = _placeholders(shape)
        parts = self._unwritten(shape, answered)
        if parts is None or index not in parts[1::2]:
            return None
        own, copies = _joined(parts), parts[1::2].count(index)
        mark, texts[index] = texts[index], text
        answer = texts[shape.size] if answered else None
        rendered = self._renderer.render(shape.system, texts[: shape.size], answer, not answered).text
        if rendered is None:
            return None
        start = own.index(mark)
        length = (len(rendered) - len(own)) // copies + len(mark)
        written = rendered[start : start + max(length, 0)]
        return written if rendered == own.replace(mark, written) else None

    def _placeholder_parts(self, shape: Shape, answered: bool) -> Parts | None:
        return self._parts_of(shape, answered, generation_prompt=not answered)

    def continued(self, shape: Shape, answer: str) -> str | None:
        """Return the template's text between the prompt and the end of turn, with an answer.

        None if the whole conversation does not start with the prompt or has another end.
        """
        layout = self.layout(shape)
        texts = _placeholders(shape)
        rendered = self._renderer.render(shape.system, texts[: shape.size], answer, generation_prompt=False).text
        prompt = "".join(texts[part.content] if isinstance(part, Slot) else part for part in layout.prompt)
        ending = layout.end + layout.rest
        if rendered is None or not layout.whole or len(rendered) < len(prompt) + len(ending):
            return None
        if not (rendered.startswith(prompt) and rendered.endswith(ending)):
            return None
        return rendered[len(prompt) : len(rendered) - len(ending)]


def _placeholders(shape: Shape) -> list[str]:
    """Return a unique text for each content that is not blank, and for the answer."""
    blanks = dict(shape.blanks)
    return [blanks.get(index) or _joined([index]) for index in range(shape.size + 1)]


def _joined(parts: Parts) -> str:
    """Return the text that `parts` were split from."""
    return "".join(part if isinstance(part, str) else f"\ue000{part}\ue001" for part in parts)


def _after(parts: Parts | None, index: int) -> str | None:
    """Return the template's text after a content; None if the content is not shown."""
    return str(parts[parts.index(index) + 1]) if parts is not None and index in parts[1::2] else None


def _split_lead(asked: Parts, before: Parts, generation_prompt: bool) -> tuple[Parts, str, bool]:
    """Return the prompt's parts, the lead, and whether both together are a prefix of the whole conversation."""
    last_asked, last_before = str(asked[-1]), str(before[-1])
    continues = last_before.startswith(last_asked)
    lead = last_before[len(last_asked) :] if continues else ""
    is_prefix = continues and asked[:-1] == before[:-1]
    if generation_prompt or not lead.strip():
        return asked, lead, is_prefix
    header = last_before.rstrip(" ")
    return [*asked[:-1], header], last_before[len(header) :], is_prefix


def _trims(parts: Parts, padded: Parts | None) -> dict[int, Trim]:
    """Return what the template strips from each content, from a rendering with white space around placeholders."""
    if padded is None or parts[1::2] != padded[1::2]:
        return {}
    left: dict[int, str] = {}
    right: dict[int, str] = {}
    for index in range(0, len(parts), 2):
        after = parts[index - 1] if index else None
        before = parts[index + 1] if index + 1 < len(parts) else None
        kept = _leftovers(str(parts[index]), str(padded[index]), after is not None, before is not None)
        if isinstance(after, int):
            right[after] = kept[0]
        if isinstance(before, int):
            left[before] = kept[1]
    return {content: Trim(left[content], right[content]) for content in left}


def _leftovers(text: str, padded: str, after: bool, before: bool) -> tuple[str, str]:
    """Return which padding was stripped after the content to the left of `text` and before the content to its right."""
    for right in _TRIMS if after else ("none",):
        for left in _TRIMS if before else ("none",):
            kept_right = _PAD_RIGHT[slice(*Trim("none", right).bounds(_PAD_RIGHT))] if after else ""
            kept_left = _PAD_LEFT[slice(*Trim(left, "none").bounds(_PAD_LEFT))] if before else ""
            if padded == kept_right + text + kept_left:
                return right, left
    return "none", "none"  # other changes of white space are detected when the prompt is checked
