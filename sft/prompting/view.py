"""Prompts to look at: in colour for people, as JSON lines for programs. What is trained on stands out.

Pieces of a prompt are never decoded alone: at the beginning of a text a sentencepiece tokenizer leaves out the space
that stands before a word.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

from rich.text import Text

from sft.prompting.prompt import Prompt

_STYLES = {
    "instruction": "magenta",
    "input": "bold",
    "example_input": "cyan",
    "example_answer": "cyan italic",
    "template": "dim",
    "completion": "black on green",
}
LEGEND = Text.assemble(
    ("template", "dim"), " · ", ("instruction", "magenta"), " · ", ("examples", "cyan"), " · ", ("input", "bold"),
    " · ", ("answer: what is trained on and scored", "black on green"),
)  # fmt: skip


class ShownRow(NamedTuple):
    """A row's prompt. `row` is its number in its split (for judged rows: the row of the score files)."""

    row: int
    prompt: Prompt
    labels: dict[str, list[int]]


def json_lines(rows: Sequence[ShownRow]) -> Iterator[str]:
    """One JSON object for each row: row, text, prompt_ids, completion_ids, labels."""
    for one in rows:
        yield json.dumps(
            {
                "row": one.row,
                "text": one.prompt.text,
                "prompt_ids": one.prompt.ids,
                "completion_ids": one.prompt.completion_ids,
                "labels": one.labels,
            },
            ensure_ascii=False,
        )


def coloured(rows: Sequence[ShownRow], tokenizer: Any) -> Iterator[Text]:
    """Each row's header, its prompt with the loss mask in colour, and its labels' ids."""
    for one in rows:
        yield Text(_header(one), style="bold underline")
        yield _prompt(one.prompt, tokenizer)
        for label, ids in one.labels.items():
            pieces = _pieces(
                tokenizer, [*one.prompt.ids, *ids], range(len(one.prompt.ids), len(one.prompt.ids) + len(ids))
            )
            yield Text(_printable(f"  label {label}: {ids} = {' '.join(map(repr, pieces[1:]))}"), style="dim")
        yield Text("")
    yield LEGEND


def _header(one: ShownRow) -> str:
    prompt = one.prompt
    parts = [f"row {one.row}", f"{len(prompt.ids)} prompt tokens", f"{len(prompt.completion_ids)} answer tokens"]
    if prompt.dropped_examples:
        parts.append(f"{prompt.dropped_examples} examples dropped: too long")
    if prompt.cut_tokens:
        parts.append(f"input cut by {prompt.cut_tokens} tokens")
    return " · ".join(parts)


def _prompt(prompt: Prompt, tokenizer: Any) -> Text:
    """The text of the very ids, so that what is shown is what the model reads."""
    borders, styles = [], []
    for span in prompt.spans:
        borders += [span.start, span.end]
        styles += [_STYLES["template"], _STYLES[span.kind]]
    pieces = _pieces(tokenizer, [*prompt.ids, *prompt.completion_ids], [*borders, len(prompt.ids)])
    text = Text()
    for piece, style in zip(pieces, [*styles, _STYLES["template"], _STYLES["completion"]], strict=True):
        text.append(_printable(piece), style)
    return text


def _pieces(tokenizer: Any, ids: Sequence[int], borders: Sequence[int]) -> list[str]:
    """The text of all `ids`, divided at `borders`: what the tokens up to each border add to those up to the last.

    A character of several tokens belongs to the piece that completes it.
    """
    whole = _decoded(tokenizer, ids)
    ends = accumulate((_shared(_decoded(tokenizer, ids[:border]), whole) for border in borders), max)
    return [whole[start:end] for start, end in pairwise([0, *ends, len(whole)])]


def _shared(first: str, second: str) -> int:
    """How many characters both texts begin with."""
    differ = (place for place, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
    return next(differ, min(len(first), len(second)))


def _decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=False)) if ids else ""


def _printable(text: str) -> str:
    """Control characters from data never reach the terminal."""
    return "".join(char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text)
