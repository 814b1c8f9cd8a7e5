"""Words of a text in any language, for search: without a dictionary or a language setting.

Words consist of letters, digits and their combining marks; case and width are folded. Scripts without spaces between
words (Chinese, Japanese, Thai, Lao, Khmer, Burmese, Tibetan) are split into overlapping pairs of characters with their
marks, as in search engines (Lucene's CJK analyser). There is no stemming and no list of stop words, since ranking
weights words by rarity.
"""

from __future__ import annotations

import re
import unicodedata

_SPACELESS = re.compile(
    "([\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\ua9e0-\ua9ff\uaa60-\uaa7f\uf900-\ufaff\U00020000-\U0003ffff]+)"
)


class _Kept(dict[int, str]):
    """A table for `str.translate`: characters of words are kept, others become a space; each is looked up once."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        self[code] = kept = character if unicodedata.category(character)[0] in "LMN" else " "
        return kept


_KEPT = _Kept()


def words(text: str) -> list[str]:
    """Return the words of `text` in order, with repetitions; pairs of characters for scripts without spaces."""
    result: list[str] = []
    for word in unicodedata.normalize("NFKC", text).casefold().translate(_KEPT).split():
        for part in _SPACELESS.split(word):
            if _SPACELESS.match(part):
                characters = _characters(part)
                result += ["".join(characters[at : at + 2]) for at in range(max(len(characters) - 1, 1))]
            elif part:
                result.append(part)
    return result


def _characters(text: str) -> list[str]:
    """Return the characters of a text, each with its combining vowels and tone marks."""
    characters: list[str] = []
    for character in text:
        if characters and unicodedata.category(character)[0] == "M":
            characters[-1] += character
        else:
            characters.append(character)
    return characters
