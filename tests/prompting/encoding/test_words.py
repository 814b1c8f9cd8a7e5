"""Templates that change texts: prompts hold exactly the changed texts, or the template is refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sft.config.sections.prompting import PromptingConfig
from sft.errors import ModelError
from sft.prompting.conversation import Piece, Trim, text_of
from sft.prompting.encoding.words import clip
from sft.prompting.render import Example, Renderer

TURNS = (
    "{% for m in messages %}<|start|>{{ m.role }}<|sep|>{{ TEXT }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant<|sep|>{% endif %}"
)
CHANGES = [
    "m.content | upper", "m.content | lower", "m.content | title", "m.content | capitalize", "m.content.swapcase()",
    "m.content | replace('  ', ' ')", "m.content.replace('\\n\\n', '\\n')", "m.content | replace('good', 'bad')",
    "m.content.replace('\\r\\n', '\\n') | trim", "m.content.split('\\n') | map('trim') | join('\\n')",
    "m.content.split() | join(' ')", "m.content | escape", "m.content | indent(2)", "m.content | indent(2, true)",
    "m.content | truncate(30)", "m.content | wordwrap(20)", "m.content | striptags", "m.content | tojson",
    "m.content[:40]", "m.content.strip('. ')", "m.content.split('|')[-1]", "m.content.removeprefix('so ')",
    "m.content + '!' if m.content.endswith('good') else m.content",
    "(m.content if m.role == 'user' else m.content | upper) | trim",
    "m.content.split('</thought>')[-1]", "m.content.expandtabs()",
    "'NO' if 'bad' in m.content else m.content", "'Yes.' if m.content == 'so good' else m.content",
    "'No.' if m.content.split() | first == 'very' else m.content",
]  # fmt: skip
TEXTS = (
    "so good", "two  spaces", "a\n\nb\r\n\r\nc", "  x \n  y  \n", "<b>bold</b> & 'q'", "It's. A Title.", "a|b|c",
    "bad|", "very long, and longer than forty characters, and good", "thought</thought>good", "tab\tgood",
    "über Straße",
)  # fmt: skip


def _config(instruction: str = "", columns: tuple[str, ...] = ("text",)) -> PromptingConfig:
    return PromptingConfig(instruction=instruction, input_columns=columns, output_column="label")


def _asked(tokenizer: Any, texts: list[str], asked: bool = True) -> list[int]:
    roles = [("user", "assistant")[index % 2] for index in range(len(texts))]
    messages = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]
    ids: list[int] = tokenizer.apply_chat_template(messages, add_generation_prompt=asked)["input_ids"]
    return ids


@pytest.mark.parametrize("change", CHANGES)
def test_texts_are_shown_as_the_template_writes_them(tokenizer_with: Callable[..., Any], change: str) -> None:
    tokenizer = tokenizer_with(TURNS.replace("TEXT", change))
    renderer = Renderer(tokenizer, _config())
    for text in TEXTS:
        for shown in ([], [(f"{text} 1", text), ("so  good 2", "not Good")]):
            examples = [Example({"text": example}, answer) for example, answer in shown]
            turns = [turn for pair in shown for turn in pair]
            assert renderer.render({"text": text}, examples).ids == _asked(tokenizer, [*turns, text])
            for answer in (text, "Good  one"):
                prompt = renderer.render({"text": text}, examples, answer)
                whole = _asked(tokenizer, [*turns, text, answer], asked=False)
                assert prompt.ids + prompt.completion_ids == whole


def test_rows_after_the_first_are_checked_too(tokenizer_with: Callable[..., Any]) -> None:
    """A rule for one word has an effect only on texts with this word."""
    tokenizer = tokenizer_with(TURNS.replace("TEXT", "m.content | replace('needle', 'pin')"))
    renderer = Renderer(tokenizer, _config())
    for text in ("one", "two", "three", "a needle in it"):
        assert renderer.render({"text": text}).ids == _asked(tokenizer, [text])


@given(
    text=st.text(st.sampled_from("aB \n\t<>&|.'é漢🙂\u0301\r"), max_size=30),
    answer=st.text(st.sampled_from("aB \n|.é"), max_size=10).filter(str.strip),
    change=st.sampled_from(CHANGES),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text(tokenizer_with: Callable[..., Any], text: str, answer: str, change: str) -> None:
    tokenizer = tokenizer_with(TURNS.replace("TEXT", change))
    renderer = Renderer(tokenizer, _config())
    example = Example({"text": f"{text}x"}, answer)
    assert renderer.render({"text": text}, [example]).ids == _asked(tokenizer, [f"{text}x", answer, text])


def test_the_prompt_wins_if_it_is_stripped_differently(tokenizer_with: Callable[..., Any]) -> None:
    tokenizer = tokenizer_with(TURNS.replace("TEXT", "m.content | trim if loop.last else m.content"))
    renderer = Renderer(tokenizer, _config())
    for text in TEXTS:
        prompt = renderer.render({"text": text}, [], " good ")
        assert prompt.ids == _asked(tokenizer, [text])
        assert tokenizer.decode(prompt.completion_ids) == "good<|end|>"


def test_control_tokens_in_rewritten_texts_stay_text(tokenizer_with: Callable[..., Any]) -> None:
    tokenizer = tokenizer_with(TURNS.replace("TEXT", "m.content.split('<|end|>')[0] | upper"))
    prompt = Renderer(tokenizer, _config()).render({"text": "a<|end|>b"}, [Example({"text": "c<|end|>"}, "d<|sep|>e")])
    assert tokenizer.decode(prompt.ids).count("A<|end|>B<|end|>") == 1
    end = tokenizer.convert_tokens_to_ids("<|end|>")
    assert prompt.ids.count(end) == 3  # one for each turn


def test_pieces_of_a_rewritten_content_keep_their_kinds(tokenizer_with: Callable[..., Any]) -> None:
    tokenizer = tokenizer_with(TURNS.replace("TEXT", "m.content | upper"))
    prompt = Renderer(tokenizer, _config("Do it.", ("one", "two"))).render({"one": "abc", "two": "def"})
    shown = [(span.kind, tokenizer.decode(prompt.ids[span.start : span.end])) for span in prompt.spans]
    assert shown == [("instruction", "DO IT."), ("input", "ABC"), ("input", "DEF")]


@pytest.mark.parametrize(
    "change",
    [
        "m.content if 'bad' not in m.content else raise_exception('a rude word')",
        "m.content ~ ('<|start|>system<|sep|>rude' if 'bad' in m.content else '')",
        "m.content ~ ' (' ~ (m.content | upper) ~ ')'",
        "m.content.zfill(30)",
        "m.content ~ (' (again)' if m == messages[0] and not loop.first else '')",
    ],
)
def test_unsupported_changes_are_refused_in_one_line(tokenizer_with: Callable[..., Any], change: str) -> None:
    tokenizer = tokenizer_with(TURNS.replace("TEXT", change))
    renderer = Renderer(tokenizer, _config())
    if "upper" in change or "zfill" in change:
        with pytest.raises(ModelError, match="the chat template"):
            renderer.render({"text": "a longer text than its placeholder, in lower case"})
        return
    fine = [Example({"text": "one"}, "x"), Example({"text": "two"}, "y")]
    for number in range(3):
        renderer.render({"text": f"fine {number}"}, fine)
    twice = [Example({"text": "bad"}, "x"), Example({"text": "bad"}, "y")]
    try:
        prompt = renderer.render({"text": "a bad one"}, twice)
    except ModelError as error:
        assert "the chat template" in str(error)
        assert "\n" not in str(error)
    else:
        assert prompt.ids == _asked(tokenizer, ["bad", "x", "bad", "y", "a bad one"])


def test_a_chain_of_thought_in_an_answer_is_written_as_the_template_does(tokenizer_with: Callable[..., Any]) -> None:
    """The marks are not control tokens of the tokenizer, and the template writes them before every answer."""
    thought = "'[thought]' ~ (m.content.split('[/thought]')[0].strip() if '[/thought]' in m.content else '')"
    text = f"({thought} ~ '[/thought]' ~ m.content.split('[/thought]')[-1]) if m.role == 'assistant' else m.content"
    tokenizer = tokenizer_with(TURNS.replace("TEXT", text))
    renderer = Renderer(tokenizer, _config())
    for answer in ("good", "because [/thought]good"):
        prompt = renderer.render({"text": "so"}, [], answer)
        assert prompt.ids == _asked(tokenizer, ["so"])
        assert prompt.ids + prompt.completion_ids == _asked(tokenizer, ["so", answer], asked=False)


def test_clipped_pieces() -> None:
    content = (Piece("  "), Piece(" ab ", "instruction"), Piece("-"), Piece("cd  ", "input"), Piece(" ", "input"))
    assert clip(content, Trim("whitespace", "whitespace")) == (
        Piece("ab ", "instruction"), Piece("-"), Piece("cd", "input"),
    )  # fmt: skip
    assert text_of(clip(content, Trim())) == text_of(content)
    assert clip((Piece(" "),), Trim("whitespace", "whitespace")) == ()
