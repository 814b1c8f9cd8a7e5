"""From layouts to text, and the boundary between prompt and answers in tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sft.prompting.conversation import Layout, Piece, Slot, Trim
from sft.prompting.encode import Encoder
from sft.prompting.write import Ending, Mark, finish, write


def test_marks_say_where_data_stands(tokenizer_with: Callable[..., Any]) -> None:
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


def test_the_boundary_is_the_last_that_all_share(tokenizer_with: Callable[..., Any]) -> None:
    """` good` is one token, ` g` another: what the prompt alone ends with is no part of the longer text."""
    tokenizer = tokenizer_with(None)
    encoder = Encoder(tokenizer)
    end = encoder.control("<|im_end|>")
    made = finish(encoder, "so g", (Ending("", "ood", end), Ending("", "x", end)))
    assert made.moved == 1
    assert [tokenizer.decode(list(ids)) for ids in made.completions] == [" good<|im_end|>", " gx<|im_end|>"]
    assert finish(encoder, "so g", (Ending("", "x", end),)).moved == 0
    assert (made.end_tokens, made.lead_tokens) == (1, 0)


def test_an_end_that_merges_with_the_answer_still_counts(tokenizer_with: Callable[..., Any]) -> None:
    encoder = Encoder(tokenizer_with(None))
    made = finish(encoder, "a:", (Ending(" ", "g", "ood"), Ending(" ", "b", "xyz")))
    assert made.end_tokens == 1  # ` good` is one token, which starts before the end of turn
    assert finish(encoder, "a:", (Ending(" ", "b", "xyz"),)).end_tokens == 3
