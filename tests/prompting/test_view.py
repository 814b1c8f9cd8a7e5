"""Prompts shown to people and programs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sft.config.sections.prompting import PromptingConfig
from sft.prompting.render import Example, Prompt, Renderer, Span
from sft.prompting.view import LONGEST_KEPT, Piece, ShownRow, coloured, json_lines, kept_row, without_middle

WORDS = ("<s>", "<unk>", "▁not", "▁so", "▁good", "▁bad", "s", "▁")


@pytest.fixture(scope="module")
def sentencepiece() -> Any:
    """Return a tokenizer like sentencepiece: a space is part of the next word; the text's first space is dropped."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    specials = {"bos_token": "<s>", "unk_token": "<unk>"}
    core = Tokenizer(
        models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token=specials["unk_token"])
    )
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.decoder = decoders.Metaspace()
    core.add_special_tokens(list(specials.values()))
    return PreTrainedTokenizerFast(tokenizer_object=core, **specials)


def shown(prompt: Prompt, tokenizer: Any, labels: dict[str, list[int]] | None = None) -> list[Any]:
    return list(coloured([ShownRow(7, prompt, labels or {})], tokenizer))


def pieces(text: Any) -> list[tuple[str, str]]:
    """Return each span of one style with its text."""
    return [(str(span.style), text.plain[span.start : span.end]) for span in text.spans]


def test_spaces_before_words_stay(sentencepiece: Any) -> None:
    ids = [WORDS.index(word) for word in ("▁not", "▁so", "▁good")]
    prompt = Prompt(ids, [WORDS.index("▁bad")], (Span(1, 2, "input"),), "")
    text = shown(prompt, sentencepiece)[1]
    assert text.plain == "not so good bad"
    assert [piece for _, piece in pieces(text)] == ["not", " so", " good", " bad"]


def test_spaces_of_label_tokens_stay(sentencepiece: Any) -> None:
    prompt = Prompt([WORDS.index("▁not")], [], (), "")
    label = [WORDS.index("▁good"), WORDS.index("s")]
    line = shown(prompt, sentencepiece, {"fine": label})[2]
    assert line.plain == f"  label fine: {label} = ' good' 's'"


def test_each_origin_has_its_colour_and_the_text_is_whole(tokenizer: Any) -> None:
    config = PromptingConfig(instruction="Räte:", input_columns=["text"], output_column="label")
    examples = [Example({"text": "größer"}, "gut")]
    prompt = Renderer(tokenizer, config).render({"text": "日本"}, examples, "schön")
    text = shown(prompt, tokenizer)[1]
    assert text.plain == prompt.text
    by_style = dict(pieces(text))
    assert (by_style["magenta"], by_style["cyan"], by_style["cyan italic"]) == ("Räte:", "größer", "gut")
    assert (by_style["bold"], by_style["black on green"]) == ("日本", "schön<|im_end|>")


def test_a_character_of_several_tokens_is_shown_once(tokenizer: Any) -> None:
    ids = tokenizer.encode("aß", add_special_tokens=False)
    assert len(ids) == 3
    text = shown(Prompt(ids, [], (Span(1, 2, "input"),), ""), tokenizer)[1]
    assert text.plain == "aß"


def test_control_characters_do_not_reach_the_terminal(tokenizer: Any) -> None:
    ids = tokenizer.encode("a\x1b[31m\nb", add_special_tokens=False)
    assert shown(Prompt(ids, [], (), ""), tokenizer)[1].plain == "a\N{REPLACEMENT CHARACTER}[31m\nb"


def test_the_header_lists_dropped_and_cut_parts(tokenizer: Any) -> None:
    header = shown(Prompt([1, 2, 3], [4], (), "", dropped_examples=6, cut_tokens=5), tokenizer)[0].plain
    assert header == "row 7 · 3 prompt tokens · 1 answer tokens · 6 examples dropped: too long · input cut by 5 tokens"


def test_a_json_line_has_the_row_and_the_ids(tokenizer: Any) -> None:
    (line,) = json_lines([ShownRow(3, Prompt([1, 2], [4], (), "an ü"), {"a": [4, 5]})])
    assert json.loads(line) == {
        "row": 3, "text": "an ü", "prompt_ids": [1, 2], "completion_ids": [4], "labels": {"a": [4, 5]},
    }  # fmt: skip
    assert "ü" in line


def test_a_kept_prompt_has_the_pieces_of_the_coloured_one(tokenizer: Any) -> None:
    config = PromptingConfig(instruction="Räte:", input_columns=["text"], output_column="label")
    examples = [Example({"text": "größer"}, "gut")]
    prompt = Renderer(tokenizer, config).render({"text": "日本\x1b"}, examples, "schön")
    kept = kept_row("train", ShownRow(7, prompt, {}), tokenizer)
    assert "".join(piece["text"] for piece in kept["pieces"]) == prompt.text
    by_kind = {piece["kind"]: piece["text"] for piece in kept["pieces"]}
    assert (by_kind["instruction"], by_kind["example_input"], by_kind["example_answer"]) == ("Räte:", "größer", "gut")
    assert (by_kind["input"], by_kind["completion"]) == ("日本\x1b", "schön<|im_end|>")
    assert [piece["kind"] for piece in kept["pieces"] if piece["trained"]] == ["completion"]
    assert (kept["role"], kept["row"], kept["prompt_tokens"]) == ("train", 7, len(prompt.ids))
    assert kept["answer_tokens"] == len(prompt.completion_ids) > 0
    evaluated = kept_row("test", ShownRow(7, prompt, {}), tokenizer)
    assert not any(piece["trained"] for piece in evaluated["pieces"])


def test_secrets_are_removed_before_the_middle(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "hf_" + "Qz7" * 12
    monkeypatch.setenv("HF_TOKEN", secret)
    text = "a" * (LONGEST_KEPT // 2 - 10) + secret + "b" * LONGEST_KEPT
    prompt = Prompt(tokenizer.encode(text, add_special_tokens=False), [], (), text)
    kept = kept_row("test", ShownRow(0, prompt, {}), tokenizer)
    stored = "".join(piece["text"] for piece in kept["pieces"])
    assert secret[:9] not in stored and "characters left out here" in stored
    assert len(stored) < LONGEST_KEPT + 60


def test_the_middle_is_removed_and_the_ends_stay_whole() -> None:
    pieces = [Piece("0123", "template"), Piece("4567", "input"), Piece("89", "completion")]
    assert without_middle(pieces, 10) == pieces
    missing = Piece("\n[… 4 characters left out here …]\n", "template")
    assert without_middle(pieces, 6) == [Piece("012", "template"), missing, Piece("7", "input"), pieces[2]]
