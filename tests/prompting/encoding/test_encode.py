"""The private copy of the tokenizer: same ids for ordinary text, control tokens only from the template."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sft.errors import ModelError
from sft.prompting.encoding.encode import Encoder, control_tokens

TEXTS = (
    "a plain text", " leading", "trailing ", "two\nlines", "two\n\nlines\n", "é 漢字 🙂", "", "\n",
    "Say: it's\nA b's\n\nC",
    "tab\tand\r\nmore", "1\nA 2\nb", "x" * 300, "one\n two\n  three\nFour",
)  # fmt: skip


NAMED = {"bos_token": "<s>", "eos_token": "</s>"}
UNKNOWN = {"unk_token": "<unk>"}


def _metaspace(scheme: str) -> Any:
    """Return a sentencepiece-like tokenizer: words start with a mark, which is also added before the text."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = [chr(code) for code in range(32, 127)] + ["\n", "é", "▁", "<unk>"]
    merges = [("▁", "g"), ("▁g", "o"), ("▁go", "o"), ("▁goo", "d"), ("s", "a"), ("sa", "d"), ("▁", "sad")]
    pieces = [*letters, *("".join(pair) for pair in merges)]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys([*pieces, "<s>", "</s>"]))}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, fuse_unk=True, **UNKNOWN))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=scheme != "never")
    core.decoder = decoders.Metaspace()
    core.add_special_tokens([AddedToken(text, normalized=False) for text in ("<s>", "</s>", "<unk>")])
    core.add_special_tokens([AddedToken("<sep>", lstrip=True), AddedToken("<turn>", rstrip=True, normalized=False)])
    return PreTrainedTokenizerFast(tokenizer_object=core, **NAMED, **UNKNOWN)


def _unigram() -> Any:
    """Return a Unigram tokenizer whose vocabulary lists `</s>` as an ordinary piece."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = [("<unk>", 0.0), ("</s>", 0.0), ("▁", -3.0), ("▁good", -2.0), ("\n", -4.0)]
    pieces += [(chr(code), -6.0) for code in range(33, 127)]
    core = Tokenizer(models.Unigram(pieces, unk_id=0))
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.add_special_tokens(["</s>"])
    return PreTrainedTokenizerFast(tokenizer_object=core, **NAMED, **UNKNOWN)


def _real(repository: Path, folder: str) -> Any:
    path = repository.parent / "shared" / folder
    if not path.exists():
        pytest.skip(f"no {path.name} beside the repository")
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(path)


@pytest.fixture(params=["bytes", "always", "first", "never", "unigram", "stories", "gpt2"])
def any_tokenizer(request: pytest.FixtureRequest, repository: Path, tokenizer_with: Callable[..., Any]) -> Any:
    """Return tokenizers of every family."""
    kind = str(request.param)
    if kind == "bytes":
        return tokenizer_with("<|turn|><|end|>")
    if kind == "unigram":
        return _unigram()
    real = {"stories": "models/stories260K", "gpt2": "tokenizers/gpt2"}
    return _real(repository, real[kind]) if kind in real else _metaspace(kind)


def _ids(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def test_ordinary_text_has_the_tokenizers_own_ids(any_tokenizer: Any) -> None:
    encoder = Encoder(any_tokenizer)
    end = any_tokenizer.eos_token
    for text in TEXTS:
        assert encoder.encode(encoder.data(text)).ids == _ids(any_tokenizer, text)
        for other in TEXTS:
            written = encoder.control(end) + encoder.data(text) + encoder.control(f"\n{end}") + encoder.data(other)
            whole = f"{end}{text}\n{end}{other}"
            assert encoder.encode(written).ids == _ids(any_tokenizer, whole), whole
            assert encoder.encode(written, shared=len(text)).ids == _ids(any_tokenizer, whole), whole


def test_control_tokens_that_strip_white_space(any_tokenizer: Any) -> None:
    encoder = Encoder(any_tokenizer)
    names = [name for name in ("<sep>", "<turn>") if name in any_tokenizer.get_added_vocab()]
    for name in names:
        for text in ("good{} sad", "good {} sad", " {}\n\n good{}\nGood", "{}{} {}"):
            template = text.replace("{}", name)
            assert encoder.encode(encoder.control(template)).ids == _ids(any_tokenizer, template)


def test_data_never_becomes_a_control_token(any_tokenizer: Any) -> None:
    encoder = Encoder(any_tokenizer)
    controls = control_tokens(any_tokenizer, "")
    ids = {any_tokenizer.convert_tokens_to_ids(control) for control in controls}
    unknown = any_tokenizer.unk_token_id
    for control in controls:
        for text in (control, f"a {control} b", f"{control}{control}", f"good\n{control}"):
            data_ids = set(encoder.encode(encoder.data(text)).ids) - {unknown}
            assert not data_ids & ids, text
        assert any_tokenizer.convert_tokens_to_ids(control) in encoder.encode(encoder.control(control)).ids


def test_a_control_token_split_between_template_and_data_stays_text(tokenizer_with: Callable[..., Any]) -> None:
    tokenizer = tokenizer_with(None)
    encoder = Encoder(tokenizer)
    ids = encoder.encode(encoder.control("<|im_") + encoder.data("end|>")).ids
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") not in ids
    assert tokenizer.decode(ids) == "<|im_end|>"


def test_merges_that_spell_a_control_token_do_not_apply_to_data() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    merges = [("<", "e"), ("<e", ">")]
    vocabulary = {piece: index for index, piece in enumerate(["<", "e", ">", "a", "<e", "<e>"])}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=True))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.add_special_tokens(["<e>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, **dict.fromkeys(["eos_token"], "<e>"))
    encoder = Encoder(tokenizer)
    assert encoder.encode(encoder.data("<e>")).ids == [vocabulary["<e"], vocabulary[">"]]
    assert encoder.encode(encoder.control("a<e>")).ids == [vocabulary["a"], vocabulary["<e>"]]


def test_added_words_that_are_not_control_tokens_stay_words(tokenizer_with: Callable[..., Any]) -> None:
    tokenizer = tokenizer_with("<|user|>")
    tokenizer.add_tokens(["covid19"])
    encoder = Encoder(tokenizer, "<|user|>")
    assert encoder.encode(encoder.data("a covid19 b")).ids == _ids(tokenizer, "a covid19 b")


def test_an_added_token_in_the_template_is_a_control_token_even_if_not_special(
    tokenizer_with: Callable[..., Any],
) -> None:
    tokenizer = tokenizer_with("<think></think>")
    assert "<think>" in control_tokens(tokenizer, "{{ '<think>' }}")
    assert "<think>" not in control_tokens(tokenizer, "{{ 'no such thing' }}")


def test_the_callers_tokenizer_is_not_changed(tokenizer_with: Callable[..., Any]) -> None:
    tokenizer = tokenizer_with(None)
    before = tokenizer.backend_tokenizer.to_str()
    encoder = Encoder(tokenizer)
    encoder.encode(encoder.data("<|im_end|>") + encoder.control("<|im_end|>"))
    assert tokenizer.backend_tokenizer.to_str() == before
    assert _ids(tokenizer, "<|im_end|>") == [tokenizer.eos_token_id]


def test_aliases_and_half_surrogates_in_data_are_replaced(tokenizer_with: Callable[..., Any]) -> None:
    encoder = Encoder(tokenizer_with(None))
    for alias in encoder.aliases.values():
        assert encoder.data(f"a{alias}b") == "a\ufffdb"
    assert encoder.data("a\ud800b") == "a\ufffdb"
    assert encoder.data("é\ue000\U000f0000") == "é\ue000\U000f0000"


def test_offsets_of_tokens(any_tokenizer: Any) -> None:
    encoder = Encoder(any_tokenizer)
    text = encoder.control(any_tokenizer.eos_token) + encoder.data("good sad\nGood")
    encoded = encoder.encode(text)
    assert encoded.starts[0] == 0
    assert encoded.ends[-1] == len(text)
    assert encoded.starts == sorted(encoded.starts)
    assert encoded.token_at(1) == 1
    assert encoded.token_over(0) == 0


def test_a_tokenizer_without_fast_form_is_refused() -> None:
    class Slow:
        pass

    with pytest.raises(ModelError, match="fast form"):
        Encoder(Slow())
