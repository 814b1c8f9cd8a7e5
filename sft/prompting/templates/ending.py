"""The end of a turn: the template's text after an answer, without the start of the next turn.

A template may write the header of the next turn, or its first words, after every answer, even if no turn follows. The
start of the next turn is detected by comparing the text after the answer in several renderings: with nothing after it,
with a user turn, and with the generation prompt. This module uses no rows or token ids.
"""

from __future__ import annotations

import re
from itertools import takewhile
from typing import NamedTuple

from sft.sequences import common_prefix

_WORD = r"\s+|\w+|[^\w\s]"


class Surroundings(NamedTuple):
    """Template text around an answer, and around the question before it.

    Attributes:
        last: text after the answer if nothing follows.
        asked: text after the answer, with the generation prompt; None if the template raises.
        followed: text between the answer and a user turn after it; None if the template raises.
        header: text between the question and the answer.
        prompt: text after the question, with the generation prompt.
        opening: text before the first content of a conversation without a system turn.
    """

    last: str
    asked: str | None
    followed: str | None
    header: str
    prompt: str
    opening: str


class Endings:
    """Finds the end of turn.

    Args:
        controls: pattern of control tokens in template text.
        eos: the tokenizer's end-of-sequence token; "" without one.
    """

    def __init__(self, controls: re.Pattern[str], eos: str) -> None:
        self._controls = controls
        self._eos = eos
        self._segment = re.compile(f"{controls.pattern}|{_WORD}")

    def end_of_turn(self, own: str) -> str:
        """Return the end of turn in `own`, the text after an answer without the next turn; eos if there is none.

        It ends with the first control token, or the first unbroken run of them. Without a control token, it is the text
        without trailing white space.
        """
        if control := self._controls.search(own):
            end = control.end()
            while more := self._controls.match(own, end):
                end = more.end()
            return own[:end]
        return own.rstrip() or self._eos or "\n"

    def without_next_turn(self, around: Surroundings) -> str:
        """Return the text after the answer, without text that is there only because another turn could start."""
        last, asked, followed = around.last, around.asked, around.followed
        if asked is None or followed is None or not asked.startswith(last):
            return last  # the end differs if nothing follows, so it holds no part of a next turn
        segments = self._segments(last)
        common = _common(segments, self._segments(followed))
        rest = segments[len(common) :]
        if "".join(rest).strip() in ("", self._eos):
            common, rest = segments, []
        elif not self._opens_a_turn(rest, around):
            return last
        opener = self._opener(common, around) or (self._header(common, around) if rest else 0)
        return "".join(common[: len(common) - opener])

    def _segments(self, text: str) -> list[str]:
        return self._segment.findall(text)

    def _opens_a_turn(self, rest: list[str], around: Surroundings) -> bool:
        """Whether text that does not precede a user turn is the start of the answer's header."""
        first = next(segment for segment in rest if segment.strip())
        if first in self._segments(around.header):
            return True
        # The generation prompt is always written: both the prompt and the text after the answer end with it.
        shared = _common(self._segments(around.prompt)[::-1], rest[::-1])
        return around.asked == around.last and bool("".join(shared).strip())

    def _opener(self, common: list[str], around: Surroundings) -> int:
        """Count the segments at the end of `common` that are the start of a conversation.

        In many templates all headers start in the same way, so this part is common to all continuations of an answer. A
        begin-of-text token, or words, may precede the first header.
        """
        opening = self._segments(around.opening)
        of_turns = {*self._segments(around.header), *self._segments(around.followed or "")}
        once = takewhile(lambda segment: self._controls.fullmatch(segment) and segment not in of_turns, opening)
        first = (index for index, segment in enumerate(opening) if self._controls.fullmatch(segment))
        for start in (*range(len(list(once)) + 1), next(first, 0)):
            for size in range(min(len(common), len(opening) - start), 0, -1):
                if common[-size:] == opening[start : start + size] and self._is_removable(common, size):
                    return size
        return 0

    def _header(self, common: list[str], around: Surroundings) -> int:
        """Count the segments at the end of `common` that belong to the header of a user turn, also of the first one."""
        followed = self._segments(around.followed or "")
        header = _common(followed[::-1], self._segments(around.opening)[::-1])
        size = len(common) - (len(followed) - len(header))
        return size if 0 < size <= len(common) and self._is_removable(common, size) else 0

    def _is_removable(self, common: list[str], size: int) -> bool:
        """Whether the last segments are not the end of turn itself, such as a control token that separates turns."""
        kept, cut = "".join(common[: len(common) - size]), "".join(common[len(common) - size :])
        return bool(kept.strip()) or not self._controls.search(cut)


def _common(first: list[str], second: list[str]) -> list[str]:
    """Return the common prefix of two lists."""
    return first[: common_prefix((first, second))]
