"""Long texts: cut as if they were encoded whole, without encoding them whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sft.config.sections.prompting import PromptingConfig
from sft.errors import DataError
from sft.prompting.encoding.encode import Encoder
from sft.prompting.encoding.long_text import WHOLE, estimate_tokens, substitute
from sft.prompting.encoding.truncate import Cut, cut_text
from sft.prompting.render import Example, Renderer

CORPUS = [
    "The quick brown fox jumps over the lazy dog, and it's 1,234 times as good as a na\u00efve test.\n\n  def f(x):\n",
    "aaaa aaaaaaaa bbbb abababab    \t\t 漢字かな交じり文 "
    "의견 हिन्दी 🙂🙂👩‍👩‍👧 e\u0301e\u0301 ...... ====== 00000 98765",
]
UNITS = [
    "word ", "a", "ab", " ", "\n", "\r\n", "\t", "7", "1234", "漢", "字か", "한", "\u1112\u1161\u11ab", "🙂", "👩‍👩‍👧",
    "🇩🇪", "e\u0301", "\u0301", "\u0323\u0307", "ﬁ", "\uff26\uff55", "ｶﾞ", "हिन्दी", "'s ", "...", "=", "x=1;\n",
    "<|im_end|>", "<unk>", "É", "\u200d", "\ufffd", "ß", "İ", "the quick brown fox ", "\x00", "\U0010e001",
]  # fmt: skip


def _trained(core: Any, trainer: Any) -> Any:
    from transformers import PreTrainedTokenizerFast

    core.train_from_iterator(CORPUS * 20, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core)


@cache
def _encoder(kind: str) -> Encoder:
    """Return an encoder of a tokenizer family, trained on a few sentences."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    special = ["<unk>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe = trainers.BpeTrainer(vocab_size=500, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    chars = trainers.BpeTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    unigram = trainers.UnigramTrainer(vocab_size=200, special_tokens=special, unk_token="<unk>", show_progress=False)  # noqa: S106
    metaspace = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    if kind == "bytes":
        core = Tokenizer(models.BPE())
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        core.decoder = decoders.ByteLevel()
        return Encoder(_trained(core, bpe))
    if kind == "digits from the right":
        core = Tokenizer(models.BPE())
        digits = pre_tokenizers.Split(Regex(r"\d{1,3}(?=(?:\d{3})*(?:\D|$))"), "isolated")
        core.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
        core.normalizer = normalizers.NFC()
        return Encoder(_trained(core, bpe))
    if kind == "bytes without words":
        core = Tokenizer(models.BPE())
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        return Encoder(_trained(core, bpe))
    if kind == "pieces without words":
        core = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))  # noqa: S106
        core.normalizer = metaspace
        return Encoder(_trained(core, chars))
    if kind == "unigram":
        core = Tokenizer(models.Unigram())
        core.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
        core.pre_tokenizer = pre_tokenizers.Metaspace()
        return Encoder(_trained(core, unigram))
    if kind == "unigram without words":
        core = Tokenizer(models.Unigram())
        core.normalizer = normalizers.Sequence([normalizers.NFKC(), metaspace])
        return Encoder(_trained(core, unigram))
    core = Tokenizer(models.WordPiece(unk_token="<unk>", max_input_chars_per_word=100))  # noqa: S106
    core.normalizer = normalizers.BertNormalizer()
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return Encoder(
        _trained(core, trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False))
    )


KINDS = [
    "bytes", "digits from the right", "bytes without words", "pieces without words", "unigram", "unigram without words",
    "words in pieces",
]  # fmt: skip
RUNS = st.lists(st.tuples(st.sampled_from(UNITS), st.integers(1, 300)), min_size=1, max_size=5)
MIXED = st.lists(st.sampled_from(UNITS), min_size=100, max_size=500)
LONG = st.one_of(
    RUNS.map(lambda runs: "".join(unit * times for unit, times in runs)),
    MIXED.map("".join),
    st.tuples(RUNS, MIXED).map(lambda both: "".join(u * n for u, n in both[0]) + "".join(both[1])),
)


def cut_whole(encoder: Encoder, text: str, limit: int) -> Cut:
    """Return the longest prefix within the limit, by encoding the whole text."""
    safe = encoder.data(text)
    encoded = encoder.encode(safe)
    if len(encoded.ids) <= limit:
        return Cut(text, 0)
    for tokens in range(limit, 0, -1):
        kept = text[: encoded.ends[tokens - 1]]
        size = len(encoder.encode(safe[: len(kept)]).ids)
        if size <= limit:
            return Cut(kept, len(encoded.ids) - size)
    return Cut("", len(encoded.ids))


@pytest.mark.parametrize("kind", KINDS)
@given(text=LONG, limit=st.sampled_from([1, 2, 3, 7, 40, 150]))
@settings(max_examples=8, deadline=None, database=None, derandomize=True)
def test_the_kept_text_is_the_same_as_with_encoding_the_whole_text(kind: str, text: str, limit: int) -> None:
    encoder = _encoder(kind)
    kept, lost = cut_text(encoder, text, limit, whole=400)
    expected = cut_whole(encoder, text, limit)
    assert kept == expected.text
    assert (lost > 0) == (expected.lost > 0)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_very_long_texts_of_one_kind_are_cut_as_if_encoded_whole(kind: str) -> None:
    encoder = _encoder(kind)
    for unit in ("word ", "a", "ab", " ", "7", "漢", "🙂", "e\u0301", "The quick brown fox.\n"):
        text = unit * (40_000 // len(unit))
        assert cut_text(encoder, text, 100).text == cut_whole(encoder, text, 100).text, unit


def test_tokens_of_short_texts_are_counted_and_of_long_ones_estimated() -> None:
    encoder = _encoder("bytes")
    short = CORPUS[0] * 100
    assert estimate_tokens(encoder, short) == len(encoder.encode(short).ids)
    assert cut_text(encoder, short, 50).lost == cut_whole(encoder, short, 50).lost
    long = "".join(CORPUS) * 500
    exact = cut_whole(encoder, long, 50)
    assert abs(cut_text(encoder, long, 50).lost - exact.lost) < 0.05 * exact.lost


def test_a_substitute_is_too_long_too_and_has_the_same_start_and_end() -> None:
    encoder = _encoder("bytes")
    text = "".join(CORPUS) * 500
    short = substitute(encoder, text, 100)
    assert len(short) < 5000
    assert len(encoder.encode(short).ids) > 100
    assert text.startswith(short[:300])
    assert text.endswith(short[-300:])
    assert substitute(encoder, text, 10**6) is text
    assert substitute(encoder, CORPUS[0], 1) is CORPUS[0]


# Whole prompts


TURNS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ TEXT }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _config(**changes: Any) -> PromptingConfig:
    return PromptingConfig(**{"instruction": "Say.", "input_columns": ("text",), "output_column": "label", **changes})


TEMPLATES = {
    "turns": TURNS.replace("TEXT", "m.content"),
    "trims": TURNS.replace("TEXT", "m.content|trim"),
    "none": None,
}
COLUMNS = (("text",), ("text", "more"), ("more", "text"))
LIMITS = (60, 61, 100, 333)


def _whole_prompt_cases() -> Iterator[Any]:
    """All combinations; by default those that hold each pair of values of two parameters once or twice."""
    for position, name in enumerate(TEMPLATES):
        for index, columns in enumerate(COLUMNS):
            for number, limit in enumerate(LIMITS):
                marks = () if (position + index + number) % 3 == 0 else pytest.mark.long
                yield pytest.param(
                    TEMPLATES[name], columns, limit, marks=marks, id=f"{name}-{'+'.join(columns)}-{limit}"
                )


@pytest.mark.parametrize(("template", "columns", "limit"), [*_whole_prompt_cases()])
def test_prompts_of_long_rows_equal_those_of_rows_that_are_encoded_whole(
    tokenizer_with: Callable[..., Any], template: str | None, columns: tuple[str, ...], limit: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Compare with the same row under a much larger limit for encoding texts whole."""
    row = {"text": "so goodish, 漢 " * 4000 + "end", "more": "It is good. " * 9}
    examples = [Example({"text": "a", "more": "b"}, "good"), Example({"text": "c " * 20_000, "more": "d"}, "good")]
    prompts = []
    for whole in (WHOLE, 10**7):
        for module in ("encoding.long_text", "encoding.truncate", "render"):
            monkeypatch.setattr(f"sft.prompting.{module}.WHOLE", whole)
        monkeypatch.setattr("sft.prompting.encoding.truncate.cut_text.__defaults__", (whole,))
        monkeypatch.setattr("sft.prompting.encoding.long_text.substitute.__defaults__", (whole,))
        renderer = Renderer(tokenizer_with(template), _config(input_columns=columns), limit)
        for shown in ([], examples):
            prompts.append(
                (whole, renderer.render(row, shown), renderer.render_labels(row, shown, ["good", "bad one"]))
            )
    half = len(prompts) // 2
    for (_, short, labelled), (_, expected, expected_labels) in zip(prompts[:half], prompts[half:], strict=True):
        assert (short.ids, short.text, short.dropped_examples) == (
            expected.ids, expected.text, expected.dropped_examples,
        )  # fmt: skip
        assert labelled.label_ids == expected_labels.label_ids
        assert labelled.prompt.ids == expected_labels.prompt.ids
        assert abs(short.cut_tokens - expected.cut_tokens) <= 0.02 * expected.cut_tokens


def test_a_long_text_that_the_template_shortens_is_shown_as_the_template_writes_it(
    tokenizer_with: Callable[..., Any],
) -> None:
    tokenizer = tokenizer_with(TURNS.replace("TEXT", "m.content | replace('long ', '')"))
    row = {"text": "long " * 10_000 + "and short " + "long " * 10_000 + "."}
    prompt = Renderer(tokenizer, _config(instruction=""), 200).render(row)
    assert "user\nand short .<|im_end|>" in prompt.text
    assert prompt.cut_tokens == 0


def test_a_long_answer_is_refused_without_being_encoded(tokenizer_with: Callable[..., Any]) -> None:
    renderer = Renderer(tokenizer_with(TURNS.replace("TEXT", "m.content")), _config(), 200, generation=True)
    with pytest.raises(DataError, match=r"its answer alone has more than 200 tokens \(max_seq_length\)"):
        renderer.render({"text": "so"}, [], "long " * 20_000)
    shown = [Example({"text": "a"}, "long " * 20_000)]
    assert renderer.render({"text": "so"}, shown, "good").dropped_examples == 1


def test_only_a_small_part_of_a_long_row_is_encoded(
    tokenizer_with: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    own = Encoder._encode_chunk

    def counting(self: Encoder, text: str) -> Any:
        encoded.append(len(text))
        return own(self, text)

    monkeypatch.setattr(Encoder, "_encode_chunk", counting)
    text = "words of a text " * 62_500  # a million characters
    for limits in ({"max_input_length": 50}, {}):
        renderer = Renderer(tokenizer_with(TURNS.replace("TEXT", "m.content")), _config(**limits), 400)
        renderer.render_labels({"text": text}, [Example({"text": text}, "good")], ["good", "bad"])
    assert sum(encoded) < 400_000
