"""Conversations, and white space that templates strip."""

from __future__ import annotations

import pytest

from sft.prompting.conversation import Conversation, Piece, Trim, text_of


def _content(text: str) -> tuple[Piece, ...]:
    return (Piece(text, "input"),)


def test_contents_are_in_the_order_of_the_turns() -> None:
    conversation = Conversation(_content("s"), ((_content("a"), _content("b")),), _content("c"))
    assert [text_of(content) for content in conversation.contents()] == ["s", "a", "b", "c"]


def test_a_merged_system_text_starts_the_first_user_turn() -> None:
    long = Conversation(_content("s"), ((_content("a"), _content("b")),), _content("c")).merged()
    assert [text_of(content) for content in long.contents()] == ["s\n\na", "b", "c"]
    short = Conversation(_content("s"), (), _content("c")).merged()
    assert [text_of(content) for content in short.contents()] == ["s\n\nc"]
    bare = Conversation((), (), _content("c"))
    assert bare.merged() == bare


@pytest.mark.parametrize(
    ("trim", "kept"),
    [
        (Trim(), "\n \na\n \n"), (Trim("whitespace", "whitespace"), "a"), (Trim("newlines"), " \na\n \n"),
        (Trim("none", "newlines"), "\n \na\n "), (Trim("whitespace"), "a\n \n"),
    ],
)  # fmt: skip
def test_bounds_of_stripped_texts(trim: Trim, kept: str) -> None:
    text = "\n \na\n \n"
    start, end = trim.bounds(text)
    assert text[start:end] == kept
    assert trim.bounds("") == (0, 0)
    start, end = Trim("whitespace", "whitespace").bounds("  ")
    assert start == end
