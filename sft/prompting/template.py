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
  A template that writes its generation prompt whether asked to or not is no such template.
- The end of turn is what follows the answer through the first control token (or unbroken run of them), without what is
  there only because another turn could begin (see `ending.py`); without a control token, its text without the white
  space at the end; if there is none at all, the tokenizer's eos (else a line feed).
- A template that raises on a system turn or leaves it out of the prompt gets its text at the head of the first user
  turn. One that shows it in the prompt, and not in the whole conversation, keeps its system turn.
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
from sft.prompting.ending import Endings, Surroundings
from sft.prompting.outside import prints_address
from sft.prompting.rendering import TemplateRenderer

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
        day: the date that the template reads from the clock.

    Raises:
        ModelError: a template that does not show user and assistant turns.
    """

    bos_ids: tuple[int, ...] = ()  # it stands in the template's own text

    def __init__(self, tokenizer: Any, variables: Mapping[str, Any], controls: re.Pattern[str], day: date) -> None:
        self._renderer = TemplateRenderer(tokenizer, variables, day)
        self._endings = Endings(controls, tokenizer.eos_token or "")
        self.source = self._renderer.source
        self.layout = lru_cache(maxsize=256)(self._learn)
        self.shows_system = lru_cache(maxsize=256)(self._shows_system)
        self.rewritten = lru_cache(maxsize=8192)(self._rewritten)
        self._unwritten = lru_cache(maxsize=256)(self._placeholder_parts)
        self._find_content_form()

    def place(self, conversation: Conversation) -> Conversation:
        """The conversation as this template can show it: the system turn merged where it has none."""
        return conversation if self.shows_system(len(conversation.rounds)) else conversation.merged()

    def render(self, system: bool, texts: list[str], answer: str | None) -> str | None:
        """Render real texts: the prompt, or the whole conversation with the answer; None where the template raises."""
        return self._renderer.render(system, texts, answer, generation_prompt=answer is None).text

    def _find_content_form(self) -> None:
        probe = Shape(system=False, rounds=1)
        for self._renderer.in_parts in (False, True):
            if self._shows_turns(probe):
                self._find_system_form()
                return
        self._renderer.in_parts = False
        reason = self._renderer.render(False, ["a", "b", "c"], "d", False).complaint or "it leaves out their text"
        raise ModelError(f"the chat template does not show user and assistant turns: {reason}")

    def _find_system_form(self) -> None:
        """A system turn is tried as a string first: where the other turns are lists, a list may be printed as it is."""
        for in_parts in (False, self._renderer.in_parts):
            self._renderer.system_in_parts = in_parts
            if self._shows_system(rounds=0):
                return

    def _shows_turns(self, shape: Shape) -> bool:
        """Whether a conversation of that shape shows all contents, with and without the answer."""
        whole = self._parts_of(shape, answered=True, generation_prompt=False)
        asked = self._parts_of(shape, answered=False, generation_prompt=True)
        if whole is None or asked is None or set(asked[1::2]) != set(range(shape.size)):
            return False
        return set(whole[1::2]) == set(range(shape.size + 1)) and whole[-2] == shape.size

    def _shows_system(self, rounds: int) -> bool:
        """Whether a prompt of so many rounds shows the system turn, and the template takes an answer after it."""
        shape = Shape(system=True, rounds=rounds)
        whole = self._parts_of(shape, answered=True, generation_prompt=False)
        asked = self._parts_of(shape, answered=False, generation_prompt=True)
        if whole is None or asked is None or set(asked[1::2]) != set(range(shape.size)):
            return False
        return set(range(1, shape.size + 1)) <= set(whole[1::2]) and whole[-2] == shape.size

    def _parts_of(self, shape: Shape, answered: bool, generation_prompt: bool, padded: bool = False) -> Parts | None:
        """The template's text of a conversation of that shape, split at the placeholders; None where it raises."""
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
        return [int(part) if place % 2 else part for place, part in enumerate(_MARK.split(text))]

    def _learn(self, shape: Shape) -> Layout:
        whole = self._parts_of(shape, answered=True, generation_prompt=False)
        asked = self._parts_of(shape, answered=False, generation_prompt=True)
        plain = self._parts_of(shape, answered=False, generation_prompt=False)
        needed = set(range(shape.size)) - {index for index, _ in shape.blanks}
        system = {0} if shape.system else set[int]()  # may be missing in the whole conversation, see the module
        if (
            whole is None
            or asked is None
            or set(asked[1::2]) != needed
            or not (needed - system | {shape.size} <= set(whole[1::2]) and whole[-2] == shape.size)
        ):
            raise ModelError(f"the chat template does not show a conversation of {shape.rounds + 1} rounds")
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
        """The template's text around the answer, when nothing and when something follows it."""
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
        """What the template makes of `text` as a content of a conversation of that shape.

        None where the text changes more than its own places: the template's text around them is another then.

        Args:
            shape: of the conversation.
            index: which content; the answer is the last.
            text: what stands there; the other contents are placeholders.
        """
        answered = index == shape.size
        texts = _placeholders(shape)
        parts = self._unwritten(shape, answered)
        if parts is None or index not in parts[1::2]:
            return None
        own, places = _joined(parts), parts[1::2].count(index)
        mark, texts[index] = texts[index], text
        answer = texts[shape.size] if answered else None
        rendered = self._renderer.render(shape.system, texts[: shape.size], answer, not answered).text
        if rendered is None:
            return None
        start = own.index(mark)
        length = (len(rendered) - len(own)) // places + len(mark)
        written = rendered[start : start + max(length, 0)]
        return written if rendered == own.replace(mark, written) else None

    def _placeholder_parts(self, shape: Shape, answered: bool) -> Parts | None:
        return self._parts_of(shape, answered, generation_prompt=not answered)

    def continued(self, shape: Shape, answer: str) -> str | None:
        """What the template writes between the prompt and the end of turn of a conversation with that answer.

        None where the whole conversation does not begin with the prompt, or ends in another way.
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
    """A text of its own for each content that is not blank, and for the answer."""
    blanks = dict(shape.blanks)
    return [blanks.get(index) or _joined([index]) for index in range(shape.size + 1)]


def _joined(parts: Parts) -> str:
    """The text that `parts` were split from."""
    return "".join(part if isinstance(part, str) else f"\ue000{part}\ue001" for part in parts)


def _after(parts: Parts | None, index: int) -> str | None:
    """The template's text after a content; None where it is not shown."""
    return str(parts[parts.index(index) + 1]) if parts is not None and index in parts[1::2] else None


def _split_lead(asked: Parts, before: Parts, generation_prompt: bool) -> tuple[Parts, str, bool]:
    """The prompt's parts, the lead, and whether both together are what the whole conversation begins with."""
    last_asked, last_before = str(asked[-1]), str(before[-1])
    continues = last_before.startswith(last_asked)
    lead = last_before[len(last_asked) :] if continues else ""
    is_prefix = continues and asked[:-1] == before[:-1]
    if generation_prompt or not lead.strip():
        return asked, lead, is_prefix
    header = last_before.rstrip(" ")
    return [*asked[:-1], header], last_before[len(header) :], is_prefix


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
