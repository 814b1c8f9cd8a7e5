"""Where a turn ends: what a template writes after an answer, without the beginning of the next turn.

A template may write the header of the next turn, or its first words, after every answer, whether or not a turn
follows. Its beginning is found by comparing what follows the answer in several renderings: when nothing follows, when
a user turn follows, and when the generation prompt follows. Knows nothing of rows or token ids.
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
        last: after the answer, when nothing follows.
        asked: after the answer, with the generation prompt; None where the template raises.
        followed: between the answer and a user turn after it; None where the template raises.
        header: between the question and the answer.
        prompt: after the question, with the generation prompt.
        opening: before the first content of a conversation without a system turn.
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
        controls: finds control tokens in template text.
        eos: the tokenizer's end-of-sequence token; "" without one.
    """

    def __init__(self, controls: re.Pattern[str], eos: str) -> None:
        self._controls = controls
        self._eos = eos
        self._segment = re.compile(f"{controls.pattern}|{_WORD}")

    def end_of_turn(self, own: str) -> str:
        """The end of turn in `own`, the text after an answer without the next turn; the eos token where it has none.

        That is the text through the first control token, or unbroken run of them; without a control token, the text
        without the white space at its end.
        """
        if control := self._controls.search(own):
            end = control.end()
            while more := self._controls.match(own, end):
                end = more.end()
            return own[:end]
        return own.rstrip() or self._eos or "\n"

    def without_next_turn(self, around: Surroundings) -> str:
        """What follows the answer, without what is there only because another turn could begin."""
        last, asked, followed = around.last, around.asked, around.followed
        if asked is None or followed is None or not asked.startswith(last):
            return last  # its end differs when nothing follows, so it says nothing of a next turn
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
        """Whether text that no user turn has before it is the beginning of the answer's header."""
        first = next(segment for segment in rest if segment.strip())
        if first in self._segments(around.header):
            return True
        # The generation prompt is written always: it ends the prompt and what follows the answer alike.
        shared = _common(self._segments(around.prompt)[::-1], rest[::-1])
        return around.asked == around.last and bool("".join(shared).strip())

    def _opener(self, common: list[str], around: Surroundings) -> int:
        """How many segments at the end of `common` are what a conversation begins with.

        All headers begin alike in many templates, so this part is common to all continuations of an answer. A begin of
        text token, or words, may stand before the first header.
        """
        opening = self._segments(around.opening)
        of_turns = {*self._segments(around.header), *self._segments(around.followed or "")}
        once = takewhile(lambda segment: self._controls.fullmatch(segment) and segment not in of_turns, opening)
        first = (place for place, segment in enumerate(opening) if self._controls.fullmatch(segment))
        for start in (*range(len(list(once)) + 1), next(first, 0)):
            for size in range(min(len(common), len(opening) - start), 0, -1):
                if common[-size:] == opening[start : start + size] and self._may_go(common, size):
                    return size
        return 0

    def _header(self, common: list[str], around: Surroundings) -> int:
        """How many segments at the end of `common` belong to the header of a user turn, which the first one has too."""
        followed = self._segments(around.followed or "")
        header = _common(followed[::-1], self._segments(around.opening)[::-1])
        size = len(common) - (len(followed) - len(header))
        return size if 0 < size <= len(common) and self._may_go(common, size) else 0

    def _may_go(self, common: list[str], size: int) -> bool:
        """Whether the last segments are not the end of turn itself: a control token that alone separates turns is."""
        kept, cut = "".join(common[: len(common) - size]), "".join(common[len(common) - size :])
        return bool(kept.strip()) or not self._controls.search(cut)


def _common(one: list[str], other: list[str]) -> list[str]:
    """What both begin with."""
    return one[: common_prefix((one, other))]
