"""Show prompts: in colour for people, as JSON lines for programs, in pieces for storage. The target is highlighted.

Pieces of a prompt are never decoded separately: at the start of a text, a sentencepiece tokenizer drops the space
before a word.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

from rich.text import Text

from sft.prompting.prompt import Prompt
from sft.protocols import Tokenizer
from sft.secrets import redact_text
from sft.sequences import common_prefix

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


LONGEST_KEPT = 6000  # characters of a stored prompt


class Piece(NamedTuple):
    """A part of a prompt: its text and its origin (`template`, `completion`, or a span's kind)."""

    text: str
    kind: str


class ShownRow(NamedTuple):
    """A row's prompt to show.

    Args:
        row: number of the row in its split (for evaluated rows: the row of the score files).
        prompt: prompt of the row; with several questions, their common prefix.
        labels: token ids that are scored after the prompt, by label.
        question: with several questions, the first whole question with the row's own answer; else None.
    """

    row: int
    prompt: Prompt
    labels: dict[str, list[int]]
    question: Prompt | None = None

    @property
    def read(self) -> Prompt:
        """The whole prompt up to the answer."""
        return self.prompt if self.question is None else self.question


def json_lines(rows: Sequence[ShownRow]) -> Iterator[str]:
    """Yield one JSON object for each row: row, text, prompt_ids, completion_ids, labels."""
    for shown in rows:
        yield json.dumps(
            {
                "row": shown.row,
                "text": shown.prompt.text,
                "prompt_ids": shown.prompt.ids,
                "completion_ids": shown.prompt.completion_ids,
                "labels": shown.labels,
            },
            ensure_ascii=False,
        )


def coloured(rows: Sequence[ShownRow], tokenizer: Tokenizer) -> Iterator[Text]:
    """Yield each row's header, its prompt with the loss mask in colour, and its labels' ids."""
    for shown in rows:
        yield Text(_header(shown), style="bold underline")
        yield _prompt(shown.read, tokenizer)
        for label, ids in shown.labels.items():
            pieces = _pieces(
                tokenizer, [*shown.prompt.ids, *ids], range(len(shown.prompt.ids), len(shown.prompt.ids) + len(ids))
            )
            yield Text(_printable(f"  label {label}: {ids} = {' '.join(map(repr, pieces[1:]))}"), style="dim")
        yield Text("")
    yield LEGEND


def _header(shown: ShownRow) -> str:
    prompt = shown.read
    parts = [f"row {shown.row}", f"{len(prompt.ids)} prompt tokens", f"{len(prompt.completion_ids)} answer tokens"]
    if prompt.dropped_examples:
        parts.append(f"{prompt.dropped_examples} examples dropped: too long")
    if prompt.cut_tokens:
        parts.append(f"input cut by {prompt.cut_tokens} tokens")
    return " · ".join(parts)


def in_pieces(prompt: Prompt, tokenizer: Tokenizer) -> list[Piece]:
    """Return the text of the prompt's ids in pieces, exactly as the model reads them; no piece is empty."""
    boundaries, kinds = [], []
    for span in prompt.spans:
        boundaries += [span.start, span.end]
        kinds += ["template", span.kind]
    texts = _pieces(tokenizer, [*prompt.ids, *prompt.completion_ids], [*boundaries, len(prompt.ids)])
    pieces = zip(texts, [*kinds, "template", "completion"], strict=True)
    return [Piece(text, kind) for text, kind in pieces if text]


def kept_row(role: str, shown: ShownRow, tokenizer: Tokenizer) -> dict[str, Any]:
    """Return a row's prompt for storage, as JSON, without secrets and without the middle of a very long prompt.

    Args:
        role: `train`, or the evaluated split, where the completion is the row's own label, which is scored.
        shown: the row.
        tokenizer: tokenizer of the prompt.
    """
    pieces = [piece._replace(text=redact_text(piece.text)) for piece in in_pieces(shown.read, tokenizer)]
    return {
        "role": role,
        "row": shown.row,
        "pieces": [
            {"text": piece.text, "kind": piece.kind, "trained": role == "train" and piece.kind == "completion"}
            for piece in without_middle(pieces, LONGEST_KEPT)
        ],
        "prompt_tokens": len(shown.read.ids),
        "answer_tokens": len(shown.read.completion_ids),
    }


def without_middle(pieces: Sequence[Piece], longest: int) -> list[Piece]:
    """Return pieces without the middle if they have more than `longest` characters; a piece replaces the middle."""
    length = sum(len(piece.text) for piece in pieces)
    if length <= longest:
        return list(pieces)
    half = longest // 2
    missing = Piece(f"\n[… {length - 2 * half:,} characters left out here …]\n", "template")
    return [*_part(pieces, 0, half), missing, *_part(pieces, length - half, length)]


def _part(pieces: Sequence[Piece], start: int, stop: int) -> list[Piece]:
    """Return the pieces with the characters from `start` to `stop` (exclusive)."""
    ends = list(accumulate(len(piece.text) for piece in pieces))
    cut = (
        piece._replace(text=piece.text[max(start - end + len(piece.text), 0) : max(stop - end + len(piece.text), 0)])
        for piece, end in zip(pieces, ends, strict=True)
    )
    return [piece for piece in cut if piece.text]


def _prompt(prompt: Prompt, tokenizer: Tokenizer) -> Text:
    text = Text()
    for piece in in_pieces(prompt, tokenizer):
        text.append(_printable(piece.text), _STYLES[piece.kind])
    return text


def _pieces(tokenizer: Tokenizer, ids: Sequence[int], boundaries: Sequence[int]) -> list[str]:
    """Return the text of all `ids`, split at token `boundaries`.

    A character of several tokens belongs to the piece that completes it.
    """
    whole = _decoded(tokenizer, ids)
    ends = accumulate((common_prefix((_decoded(tokenizer, ids[:boundary]), whole)) for boundary in boundaries), max)
    return [whole[start:end] for start, end in pairwise([0, *ends, len(whole)])]


def _decoded(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=False)) if ids else ""


def _printable(text: str) -> str:
    """Replace control characters, so that none from the data reaches the terminal."""
    return "".join(char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text)
