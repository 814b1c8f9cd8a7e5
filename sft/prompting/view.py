"""Prompts to look at: in colour for people, as JSON lines for programs. What is trained on stands out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
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
            pieces = " ".join(repr(tokenizer.decode([token])) for token in ids)
            yield Text(f"  label {label}: {ids} = {pieces}", style="dim")
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
    text = Text()
    place = 0
    for span in prompt.spans:
        text.append(_decoded(tokenizer, prompt.ids[place : span.start]), _STYLES["template"])
        text.append(_decoded(tokenizer, prompt.ids[span.start : span.end]), _STYLES[span.kind])
        place = span.end
    text.append(_decoded(tokenizer, prompt.ids[place:]), _STYLES["template"])
    text.append(_decoded(tokenizer, prompt.completion_ids), _STYLES["completion"])
    return text


def _decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    """The ids as text; control characters from data never reach the terminal."""
    text = str(tokenizer.decode(list(ids), skip_special_tokens=False)) if ids else ""
    return "".join(char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text)
