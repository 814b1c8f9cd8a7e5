"""From layouts to text, and the token boundary between prompt and answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sft.prompting.conversation import Layout, Piece, Slot, Trim
from sft.prompting.encoding.encode import Encoder
from sft.prompting.encoding.write import Ending, Mark, finish, write


def test_marks_of_data(tokenizer_with: Callable[..., Any]) -> None:
    encoder = Encoder(tokenizer_with(None))
    layout = Layout(("[", Slot(0), "|", Slot(1), "|", Slot(1), "]"), "", Trim(), "<|im_end|>", "")
    first = (Piece("ab ", "instruction"), Piece("-"), Piece("cd", "input"), Piece("", "input"))
    written = write([first, (Piece(" e ", "input"),)], layout, encoder)
    assert written.text == written.shown == "[ab -cd| e | e ]"
    assert [written.text[mark.start : mark.end] for mark in written.marks] == ["ab ", "cd", " e ", " e "]
    assert written.marks[0] == Mark(1, 4, "instruction")


def test_control_tokens_of_the_template_are_renamed_and_those_of_data_are_not(
    tokenizer_with: Callable[..., Any],
) -> None:
    encoder = Encoder(tokenizer_with(None))
    layout = Layout(("<|im_start|>", Slot(0)), "", Trim(), "<|im_end|>", "")
    written = write([(Piece("a<|im_end|>", "input"),)], layout, encoder)
    assert written.shown == "<|im_start|>a<|im_end|>"
    assert written.text == f"{encoder.aliases['<|im_start|>']}a<|im_end|>"
    assert written.own == 1


def test_the_boundary_is_the_last_shared_one(tokenizer_with: Callable[..., Any]) -> None:
    """` good` is one token, ` g` another: the last token of the prompt alone is not in the longer text."""
    tokenizer = tokenizer_with(None)
    encoder = Encoder(tokenizer)
    end = encoder.control("<|im_end|>")
    boundary = finish(encoder, "so g", (Ending("", "ood", end), Ending("", "x", end)))
    assert boundary.moved == 1
    assert [tokenizer.decode(list(ids)) for ids in boundary.completions] == [" good<|im_end|>", " gx<|im_end|>"]
    assert finish(encoder, "so g", (Ending("", "x", end),)).moved == 0
    assert (boundary.end_tokens, boundary.lead_tokens) == (1, 0)


def test_an_end_that_merges_with_the_answer_still_counts(tokenizer_with: Callable[..., Any]) -> None:
    encoder = Encoder(tokenizer_with(None))
    boundary = finish(encoder, "a:", (Ending(" ", "g", "ood"), Ending(" ", "b", "xyz")))
    assert boundary.end_tokens == 1  # ` good` is one token, which starts before the end of turn
    assert finish(encoder, "a:", (Ending(" ", "b", "xyz"),)).end_tokens == 3
