"""The renderer: columns, the boundary between prompt and answer, limits, the plain form, and errors."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sft.config.sections.prompting import PromptingConfig
from sft.errors import DataError, ModelError
from sft.prompting.render import Example, Renderer

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPOKEN = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def config(**changes: Any) -> PromptingConfig:
    return PromptingConfig(**{"input_columns": ("text",), "output_column": "label", **changes})


def shared_tokenizer(repository: Path, folder: str) -> Any:
    path = repository.parent / "shared" / folder
    if not path.exists():
        pytest.skip(f"no {path.name} beside the repository")
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(path)


@pytest.fixture
def chatml(tokenizer_with: Callable[..., Any]) -> Any:
    return tokenizer_with(CHATML)


def spans(tokenizer: Any, prompt: Any) -> list[tuple[str, str]]:
    return [(kind, tokenizer.decode(prompt.ids[start:end])) for start, end, kind in prompt.spans]


def test_a_single_column_has_no_name_and_several_are_lines(chatml: Any) -> None:
    row = {"premise": "It rains.", "hypothesis": "It is wet.", "label": "yes", "number": "3"}
    alone = Renderer(chatml, config(input_columns=("premise",))).render(row)
    assert "user\nIt rains.<|im_end|>" in alone.text
    several = Renderer(chatml, config(input_columns=("premise", "hypothesis", "number"))).render(row)
    assert "user\npremise: It rains.\nhypothesis: It is wet.\nnumber: 3<|im_end|>" in several.text
    assert spans(chatml, several) == [("input", "It rains."), ("input", "It is wet."), ("input", "3")]


def test_spans_of_data(chatml: Any) -> None:
    renderer = Renderer(chatml, config(instruction="Is it good?"))
    prompt = renderer.render({"text": "so good"}, [Example({"text": "bad"}, "no")], "good")
    assert spans(chatml, prompt) == [
        ("instruction", "Is it good?"), ("example_input", "bad"), ("example_answer", "no"), ("input", "so good"),
    ]  # fmt: skip
    assert prompt.text == chatml.decode(prompt.ids + prompt.completion_ids)


def test_spans_of_a_merged_instruction(tokenizer_with: Callable[..., Any], templates: dict[str, str]) -> None:
    tokenizer = tokenizer_with(templates["gemma"])
    prompt = Renderer(tokenizer, config(instruction=" Say. ")).render({"text": "so good "})
    assert spans(tokenizer, prompt) == [("instruction", "Say. "), ("input", "so good")]
    assert "<start_of_turn>user\nSay. \n\nso good<end_of_turn>" in prompt.text


def test_a_search_for_the_answer_would_mask_the_wrong_tokens(chatml: Any) -> None:
    """The mask is known by construction, since the tokens of the answer and end of turn are in the prompt too."""
    renderer = Renderer(chatml, config(instruction="Answer good or bad."))
    prompt = renderer.render({"text": "good"}, [Example({"text": "fine"}, "good")], "good")
    ids, answer = prompt.ids + prompt.completion_ids, prompt.completion_ids
    matches = [at for at in range(len(ids)) if ids[at : at + len(answer)] == answer]
    assert len(matches) > 1
    assert matches[0] < len(prompt.ids), "the first match is not the answer of this row"
    header = chatml("<|im_start|>assistant\n", add_special_tokens=False)["input_ids"]
    headers = [at + len(header) for at in range(len(ids)) if ids[at : at + len(header)] == header]
    assert headers[0] != len(prompt.ids), "the text after the first header is not the answer either"
    assert headers[-1] == len(prompt.ids)


def test_a_probe_is_a_row_with_other_text(chatml: Any) -> None:
    renderer = Renderer(chatml, config())
    row = {"text": "so good", "label": "good"}
    probe = renderer.render_labels({**row, "text": "N/A"}, [Example(row, "good")], ["good", "bad"])
    expected = renderer.render_labels(row, [Example(row, "good")], ["good", "bad"])
    assert probe.label_ids == expected.label_ids
    assert probe.prompt.text == "N/A".join(expected.prompt.text.rsplit("so good", 1))


def test_labels_share_one_prompt(chatml: Any) -> None:
    renderer = Renderer(chatml, config())
    labels = ["good", "goo", "not good", "漢字", " good"]
    labelled = renderer.render_labels({"text": "so"}, [], labels)
    assert labelled.end_tokens == 1
    assert labelled.lead_tokens == 0
    assert [chatml.decode(ids) for ids in labelled.label_ids] == [f"{label}<|im_end|>" for label in labels]
    for label, ids in zip(labels, labelled.label_ids, strict=True):
        prompt = renderer.render({"text": "so"}, [], label)
        assert (prompt.ids, prompt.completion_ids) == (labelled.prompt.ids, ids)


@pytest.mark.parametrize(
    ("name", "lead"), [("qwen3", "<think>\n\n</think>\n\n"), ("gptoss", "<|channel|>final<|message|>")]
)
def test_the_templates_words_before_the_answer_are_counted(
    tokenizer_with: Callable[..., Any], templates: dict[str, str], name: str, lead: str
) -> None:
    tokenizer = tokenizer_with(templates[name])
    labelled = Renderer(tokenizer, config()).render_labels({"text": "so"}, [], ["good", "bad"])
    for label, ids in zip(["good", "bad"], labelled.label_ids, strict=True):
        assert tokenizer.decode(ids[: labelled.lead_tokens]) == lead
        assert tokenizer.decode(ids[labelled.lead_tokens : -labelled.end_tokens]) == label


def test_variables_reach_the_template(tokenizer_with: Callable[..., Any], templates: dict[str, str]) -> None:
    tokenizer = tokenizer_with(templates["qwen3"])
    quiet = Renderer(tokenizer, config(chat_template_kwargs={"enable_thinking": False}))
    prompt = quiet.render({"text": "so"}, [], "good")
    assert tokenizer.decode(prompt.ids).endswith("assistant\n<think>\n\n</think>\n\n")
    assert tokenizer.decode(prompt.completion_ids) == "good<|im_end|>"


def test_a_template_that_thinks_comes_with_a_warning(
    tokenizer_with: Callable[..., Any], templates: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="sft"):
        Renderer(tokenizer_with(templates["qwen3"]), config())
        assert "enable_thinking" in caplog.text
        caplog.clear()
        Renderer(tokenizer_with(templates["qwen3"]), config(chat_template_kwargs={"enable_thinking": True}))
        Renderer(tokenizer_with(templates["qwen2_5"]), config())
        assert caplog.text == ""


# The boundary between prompt and answer


def test_a_boundary_inside_a_token_moves_back_to_the_last_shared_one(tokenizer_with: Callable[..., Any]) -> None:
    """`assistant: ` + `good` has the token ` good`: the space moves to the completion, for all labels."""
    tokenizer = tokenizer_with(SPOKEN)
    renderer = Renderer(tokenizer, config())
    alone = renderer.render({"text": "so"}).ids
    labelled = renderer.render_labels({"text": "so"}, [], ["good", "bad"])
    assert tokenizer.decode(alone).endswith("assistant: ")
    assert labelled.prompt.ids == alone[:-1]
    assert [tokenizer.decode(ids) for ids in labelled.label_ids] == [" good<|im_end|>", " bad<|im_end|>"]
    assert len(labelled.label_ids[0]) == 2
    assert renderer.render({"text": "so"}, [], "bad").ids == alone, "this label alone does not move the boundary"
    for label, ids in zip(["good", "bad"], labelled.label_ids, strict=True):
        among = renderer.render({"text": "so"}, [], label, among=["good", "bad"])
        assert (among.ids, among.completion_ids) == (labelled.prompt.ids, ids)
        assert among.text == f"user: so\nassistant: {label}<|im_end|>"
        whole = tokenizer(f"user: so\nassistant: {label}<|im_end|>", add_special_tokens=False)["input_ids"]
        assert labelled.prompt.ids + ids == whole


def test_newlines_that_merge_with_each_other_but_not_before_a_word(repository: Path) -> None:
    """GPT-2 has a token for two line feeds, but splits them before a word, as after a Llama 3 header."""
    tokenizer = shared_tokenizer(repository, "tokenizers/gpt2")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|h|>", "<|eot|>"]})
    tokenizer.chat_template = (
        "{% for m in messages %}<|h|>{{ m.role }}\n\n{{ m.content | trim }}<|eot|>{% endfor %}"
        "{% if add_generation_prompt %}<|h|>assistant\n\n{% endif %}"
    )
    renderer = Renderer(tokenizer, config())
    prompt = renderer.render({"text": "so"}, [], "good")
    turns = [{"role": "user", "content": "so"}, {"role": "assistant", "content": "good"}]
    assert prompt.ids + prompt.completion_ids == tokenizer.apply_chat_template(turns)["input_ids"]
    asked = tokenizer.apply_chat_template(turns[:1], add_generation_prompt=True)["input_ids"]
    assert renderer.render({"text": "so"}).ids == asked
    assert prompt.ids == asked[: len(prompt.ids)]


def test_stories260k_labels_are_the_ids_of_the_whole_text(repository: Path) -> None:
    tokenizer = shared_tokenizer(repository, "models/stories260K")
    renderer = Renderer(tokenizer, config(instruction="Is it sad?"))
    shown = [Example({"text": "a dog ran"}, "not sad")]
    labels = ["sad", "not sad", "very very happy", "x</s>y"]
    labelled = renderer.render_labels({"text": "once upon <s> a time"}, shown, labels)
    assert renderer.stop_ids == (tokenizer.eos_token_id,)
    for label, ids in zip(labels[:3], labelled.label_ids, strict=False):
        turns = [
            {"role": "system", "content": "Is it sad?"}, {"role": "user", "content": "a dog ran"},
            {"role": "assistant", "content": "not sad"}, {"role": "user", "content": "once upon a time"},
            {"role": "assistant", "content": label},
        ]  # fmt: skip
        clean = renderer.render_labels({"text": "once upon a time"}, shown, labels)
        whole = tokenizer.apply_chat_template(turns)["input_ids"]
        assert (clean.prompt.ids + ids)[:-1] == whole[: len(clean.prompt.ids + ids) - 1]
        assert ids[-1] == tokenizer.eos_token_id
    ids = labelled.prompt.ids + labelled.label_ids[3]
    assert ids.count(tokenizer.eos_token_id) == 2  # of the example and of the answer
    assert tokenizer.bos_token_id not in ids


# Where answers end


def test_where_generation_stops(tokenizer_with: Callable[..., Any], templates: dict[str, str]) -> None:
    def stops(name: str) -> tuple[list[str], str]:
        tokenizer = tokenizer_with(templates[name])
        renderer = Renderer(tokenizer, config())
        return tokenizer.convert_ids_to_tokens(list(renderer.stop_ids)), renderer.end_of_turn

    assert stops("qwen2_5") == (["<|im_end|>"], "<|im_end|>")
    assert stops("gemma") == (["<end_of_turn>", "<|im_end|>"], "<end_of_turn>")
    assert stops("cohere2")[0] == ["<|END_OF_TURN_TOKEN|>", "<|im_end|>"]
    assert stops("text_end_of_turn") == (["<|im_end|>"], "\n### end")


def test_an_end_of_turn_of_several_tokens(tokenizer_with: Callable[..., Any], templates: dict[str, str]) -> None:
    tokenizer = tokenizer_with(templates["text_end_of_turn"])
    labelled = Renderer(tokenizer, config()).render_labels({"text": "so"}, [], ["good", "bad"])
    assert [tokenizer.decode(ids[-labelled.end_tokens :]) for ids in labelled.label_ids] == ["\n### end"] * 2
    assert [tokenizer.decode(ids[: -labelled.end_tokens]) for ids in labelled.label_ids] == ["good", "bad"]


# Limits


def test_inputs_are_cut_and_counted(chatml: Any) -> None:
    renderer = Renderer(chatml, config(max_input_length=4))
    prompt = renderer.render({"text": "abcdefgh"}, [Example({"text": "ijklmnop"}, "good answer")])
    assert spans(chatml, prompt) == [("example_input", "ijkl"), ("example_answer", "good answer"), ("input", "abcd")]
    assert prompt.cut_tokens == 4


def test_answers_are_cut_in_generation_only(chatml: Any, caplog: pytest.LogCaptureFixture) -> None:
    shown = [Example({"text": "a"}, "abcdef")]
    free = Renderer(chatml, config(max_output_length=3), generation=True).render({"text": "x"}, shown, "uvwxyz")
    assert chatml.decode(free.completion_ids) == "uvw<|im_end|>"
    assert ("example_answer", "abc") in spans(chatml, free)
    with caplog.at_level(logging.WARNING, logger="sft"):
        renderer = Renderer(chatml, config(max_output_length=3))
        label = renderer.render({"text": "x"}, shown, "uvwxyz")
        renderer.render({"text": "x"}, shown, "uvwxyz")
    assert chatml.decode(label.completion_ids) == "uvwxyz<|im_end|>"
    assert caplog.text.count("'uvwxyz' is longer") == 1


def test_rounds_are_dropped_before_the_input_is_cut(chatml: Any) -> None:
    examples = [Example({"text": letter * 10}, "yes" if index % 2 else "no") for index, letter in enumerate("abcdef")]
    row = {"text": "x" * 50}
    sizes = [len(Renderer(chatml, config()).render(row, examples[: 2 * rounds]).ids) for rounds in range(4)]
    for rounds in range(4):
        limit = sizes[rounds] + 4  # the answer takes 4 tokens
        renderer = Renderer(chatml, config(), limit, round_size=2)
        prompt = renderer.render(row, examples, "yes")
        assert (prompt.dropped_examples, prompt.cut_tokens) == (6 - 2 * rounds, 0)
        assert len(prompt.ids) + len(prompt.completion_ids) == limit
        assert [kind for kind, _ in spans(chatml, prompt)].count("example_input") == 2 * rounds
        tighter = Renderer(chatml, config(), limit - 1, round_size=2).render(row, examples, "yes")
        assert tighter.dropped_examples == min(8 - 2 * rounds, 6)
        assert tighter.cut_tokens == (0 if rounds else 1)


def test_only_the_rows_text_is_cut_and_the_longest_first(chatml: Any) -> None:
    instruction = "Which is it? Say good or bad."
    row = {"text": "x" * 60, "more": "y" * 20}
    renderer = Renderer(chatml, config(instruction=instruction, input_columns=("text", "more")))
    full = renderer.render(row, [], "good")
    length = len(full.ids) + len(full.completion_ids)
    for less in (1, 39, 41, 60, 80):
        tight = Renderer(chatml, renderer.prompting, length - less)
        prompt = tight.render(row, [], "good")
        assert len(prompt.ids) + len(prompt.completion_ids) == length - less
        assert prompt.cut_tokens == less
        assert prompt.completion_ids == full.completion_ids
        assert instruction in prompt.text
        assert prompt.ids[-11:] == full.ids[-11:]  # the generation prompt
        xs, ys = prompt.text.count("x" * 2) * 2, prompt.text.count("y" * 2) * 2
        assert ys >= 18 or xs <= 20, "the shorter column is cut only once both have the same length"
    with pytest.raises(DataError, match=r"does not fit.*max_seq_length is"):
        Renderer(chatml, renderer.prompting, length - 81).render(row, [], "good")


def test_tokens_are_reserved_for_labels_and_generated_answers(chatml: Any) -> None:
    row = {"text": "x" * 50}
    labels = Renderer(chatml, config(), 60).render_labels(row, [], ["good", "a much longer label"])
    assert len(labels.prompt.ids) + max(map(len, labels.label_ids)) == 60
    asked = Renderer(chatml, config(), 60, generation=True, reserve=20).render(row)
    assert len(asked.ids) == 40


def test_rounds_that_fit_are_decided_for_all_rows(chatml: Any) -> None:
    examples = [Example({"text": letter * 10}, "good") for letter in "abcd"]
    rows = [{"text": "x" * size} for size in (5, 40, 10)]
    plain = Renderer(chatml, config())
    longest = [len(plain.render(rows[1], examples[: 2 * rounds]).ids) + 2 for rounds in range(3)]  # good<|im_end|>
    for rounds, limit in enumerate(longest):
        renderer = Renderer(chatml, config(), limit, round_size=2)
        assert renderer.rounds_that_fit(rows, examples, [["good"]] * 3) == rounds
        kept = examples[: 2 * rounds]
        assert all(renderer.render(row, kept, "good").dropped_examples == 0 for row in rows)
    assert Renderer(chatml, config(), longest[0] - 1, round_size=2).rounds_that_fit(rows, examples, [["good"]] * 3) == 0
    assert Renderer(chatml, config(), None, round_size=2).rounds_that_fit(rows, examples) == 2


# Errors


def test_a_missing_column_is_named(chatml: Any) -> None:
    with pytest.raises(DataError, match=r'no column "text" in the data \(it has: id, texts\); did you mean "texts"\?'):
        Renderer(chatml, config()).render({"id": 1, "texts": "a"})


@pytest.mark.parametrize("answer", ["", "  ", "\n"])
def test_an_empty_answer_is_an_error(chatml: Any, answer: str) -> None:
    renderer = Renderer(chatml, config())
    with pytest.raises(DataError, match=r"the row \(text: so\) is empty"):
        renderer.render({"text": "so"}, [], answer)
    with pytest.raises(DataError, match="is empty"):
        renderer.render_labels({"text": "so"}, [], ["good", answer])


def test_a_template_that_shows_no_answers_is_refused(tokenizer_with: Callable[..., Any]) -> None:
    with pytest.raises(ModelError, match="does not show user and assistant turns"):
        Renderer(tokenizer_with("{{ messages[0].content }}"), config())
    with pytest.raises(ModelError, match="only tools here"):
        Renderer(tokenizer_with("{{ raise_exception('only tools here') }}"), config())
