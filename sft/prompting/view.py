"""Prompts to look at: in colour for people, as JSON lines for programs, in pieces to be kept. What is trained on
stands out.

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
from sft.secrets import redact_text

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


LONGEST_KEPT = 6000  # characters of a prompt that is kept to be looked at


class Piece(NamedTuple):
    """A stretch of a prompt: its text, and where that comes from (`template`, `completion`, or a span's kind)."""

    text: str
    kind: str


class ShownRow(NamedTuple):
    """A row's prompt. `row` is its number in its split (for evaluated rows: the row of the score files).

    Args:
        row: see above.
        prompt: of the row; where it is asked several questions, what they all begin with.
        labels: what is scored after the prompt, by name.
        question: of several questions the first, whole, with the row's own answer; None where there is but one.
    """

    row: int
    prompt: Prompt
    labels: dict[str, list[int]]
    question: Prompt | None = None

    @property
    def read(self) -> Prompt:
        """The prompt that ends where the answer begins."""
        return self.prompt if self.question is None else self.question


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
        yield _prompt(one.read, tokenizer)
        for label, ids in one.labels.items():
            pieces = _pieces(
                tokenizer, [*one.prompt.ids, *ids], range(len(one.prompt.ids), len(one.prompt.ids) + len(ids))
            )
            yield Text(_printable(f"  label {label}: {ids} = {' '.join(map(repr, pieces[1:]))}"), style="dim")
        yield Text("")
    yield LEGEND


def _header(one: ShownRow) -> str:
    prompt = one.read
    parts = [f"row {one.row}", f"{len(prompt.ids)} prompt tokens", f"{len(prompt.completion_ids)} answer tokens"]
    if prompt.dropped_examples:
        parts.append(f"{prompt.dropped_examples} examples dropped: too long")
    if prompt.cut_tokens:
        parts.append(f"input cut by {prompt.cut_tokens} tokens")
    return " · ".join(parts)


def in_pieces(prompt: Prompt, tokenizer: Any) -> list[Piece]:
    """The text of the very ids, so that what is shown is what the model reads; no piece is empty."""
    boundaries, kinds = [], []
    for span in prompt.spans:
        boundaries += [span.start, span.end]
        kinds += ["template", span.kind]
    texts = _pieces(tokenizer, [*prompt.ids, *prompt.completion_ids], [*boundaries, len(prompt.ids)])
    found = zip(texts, [*kinds, "template", "completion"], strict=True)
    return [Piece(text, kind) for text, kind in found if text]


def kept_row(role: str, one: ShownRow, tokenizer: Any) -> dict[str, Any]:
    """A row's prompt to be looked at later, one that is very long without its middle. JSON, without secrets.

    Args:
        role: `train`, or the evaluated split. What stands after a evaluated prompt is the row's own label, which is scored.
        one: the row.
        tokenizer: of the prompt.
    """
    pieces = [piece._replace(text=redact_text(piece.text)) for piece in in_pieces(one.read, tokenizer)]
    return {
        "role": role,
        "row": one.row,
        "pieces": [
            {"text": piece.text, "kind": piece.kind, "trained": role == "train" and piece.kind == "completion"}
            for piece in without_middle(pieces, LONGEST_KEPT)
        ],
        "prompt_tokens": len(one.read.ids),
        "answer_tokens": len(one.read.completion_ids),
    }


def without_middle(pieces: Sequence[Piece], longest: int) -> list[Piece]:
    """The beginning and the end of pieces of more than `longest` characters in all; a piece between says what is
    missing."""
    length = sum(len(piece.text) for piece in pieces)
    if length <= longest:
        return list(pieces)
    half = longest // 2
    missing = Piece(f"\n[… {length - 2 * half:,} characters left out here …]\n", "template")
    return [*_part(pieces, 0, half), missing, *_part(pieces, length - half, length)]


def _part(pieces: Sequence[Piece], start: int, stop: int) -> list[Piece]:
    """The characters from `start` to `stop` (exclusive)."""
    ends = list(accumulate(len(piece.text) for piece in pieces))
    cut = (
        piece._replace(text=piece.text[max(start - end + len(piece.text), 0) : max(stop - end + len(piece.text), 0)])
        for piece, end in zip(pieces, ends, strict=True)
    )
    return [piece for piece in cut if piece.text]


def _prompt(prompt: Prompt, tokenizer: Any) -> Text:
    text = Text()
    for piece in in_pieces(prompt, tokenizer):
        text.append(_printable(piece.text), _STYLES[piece.kind])
    return text


def _pieces(tokenizer: Any, ids: Sequence[int], boundaries: Sequence[int]) -> list[str]:
    """The text of all `ids`, divided at `boundaries`: what the tokens up to each boundary add to those up to the last.

    A character of several tokens belongs to the piece that completes it.
    """
    whole = _decoded(tokenizer, ids)
    ends = accumulate((_shared(_decoded(tokenizer, ids[:boundary]), whole) for boundary in boundaries), max)
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
