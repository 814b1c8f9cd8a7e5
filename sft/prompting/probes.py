"""Artificial rows for calibration probes. The renderer makes prompts of them as of any other row.

- Content-free inputs: "N/A", "[MASK]" and the empty string in every column, as in Zhao et al. 2021 (arXiv 2102.09690).
- Domain inputs: for each column, random words of the task's own texts, as many as a text has on average, as in Fei et
  al. 2023 (arXiv 2305.19148). Labels are not used.

Words are separated by spaces. For Japanese, Chinese and Thai, written without spaces, budoux finds the words. This
module uses no prompts or models.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from sft.prompting.encoding.truncate import Row

CONTENT_FREE = ("N/A", "[MASK]", "")

# budoux's parser of each language; the first match is used.
_PARSERS: Mapping[str, str] = {
    "ja": "load_default_japanese_parser",
    "zh-hant": "load_default_traditional_chinese_parser",
    "zh-tw": "load_default_traditional_chinese_parser",
    "zh-hk": "load_default_traditional_chinese_parser",
    "zh-mo": "load_default_traditional_chinese_parser",
    "zh": "load_default_simplified_chinese_parser",
    "th": "load_default_thai_parser",
    "jpn": "load_default_japanese_parser",
    "zho": "load_default_simplified_chinese_parser",
    "tha": "load_default_thai_parser",
}


def content_free_rows(columns: Sequence[str]) -> list[Row]:
    """Return one row for each content-free text."""
    return [dict.fromkeys(columns, text) for text in CONTENT_FREE]


def domain_rows(inputs: Sequence[Row], count: int, seed: int, language: str = "en") -> list[Row]:
    """Return rows of random words. Fewer rows with the same seed are a prefix of more rows.

    Args:
        inputs: texts to draw words from, by column.
        count: number of rows.
        seed: seed of the draw.
        language: language code of the texts (`en`, `ja`, `zh-Hant`).
    """
    columns = list(inputs[0]) if inputs else []
    texts = {name: _random_texts([row[name] for row in inputs], count, f"{seed} {name}", language) for name in columns}
    return [{name: texts[name][number] for name in columns} for number in range(count)]


def _random_texts(values: Sequence[str], count: int, seed: str, language: str) -> list[str]:
    split, space = segmenter(language)
    words_by_text = list(map(split, values))
    bag = [word for words in words_by_text for word in words]
    if not bag:
        return [""] * count
    length = max(round(len(bag) / len(words_by_text)), 1)
    source = random.Random(seed)  # noqa: S311 (nothing secret)
    return [space.join(source.choices(bag, k=length)) for _ in range(count)]


@lru_cache(maxsize=8)
def segmenter(language: str) -> tuple[Callable[[str], list[str]], str]:
    """Return a function that splits a text of a language into words, and the separator between words."""
    code = language.lower().replace("_", "-")
    name = next((name for prefix, name in _PARSERS.items() if f"{code}-".startswith(f"{prefix}-")), None)
    if name is None:
        return str.split, " "
    import budoux

    parser = getattr(budoux, name)()
    return lambda text: [word for line in text.split() for word in parser.parse(line)], ""
