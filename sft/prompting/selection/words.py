"""Words of a text in any language, to look texts up by: no dictionary, no language asked for.

Letters, digits and the marks on them make words; case and width are folded. Scripts without spaces between words
(Chinese, Japanese, Thai, Lao, Khmer, Burmese, Tibetan) are cut into overlapping pairs of characters with the marks on
them, as search engines do (Lucene's CJK analyser). It knows no stems, and no stop words: ranks go by rarity anyway.
"""

from __future__ import annotations

import re
import unicodedata

_SPACELESS = re.compile(
    "([\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\ua9e0-\ua9ff\uaa60-\uaa7f\uf900-\ufaff\U00020000-\U0003ffff]+)"
)


class _Kept(dict[int, str]):
    """For `str.translate`: characters of words as they are, others a space; each is looked up once."""

    def __missing__(self, code: int) -> str:
        sign = chr(code)
        self[code] = kept = sign if unicodedata.category(sign)[0] in "LMN" else " "
        return kept


_KEPT = _Kept()


def words(text: str) -> list[str]:
    """The words of `text` in order, repeated ones too; pairs of characters where a script has no spaces."""
    found: list[str] = []
    for word in unicodedata.normalize("NFKC", text).casefold().translate(_KEPT).split():
        for part in _SPACELESS.split(word):
            if _SPACELESS.match(part):
                signs = _signs(part)
                found += ["".join(signs[at : at + 2]) for at in range(max(len(signs) - 1, 1))]
            elif part:
                found.append(part)
    return found


def _signs(text: str) -> list[str]:
    """Its characters, each with the vowel signs and tone marks on it."""
    signs: list[str] = []
    for sign in text:
        if signs and unicodedata.category(sign)[0] == "M":
            signs[-1] += sign
        else:
            signs.append(sign)
    return signs
