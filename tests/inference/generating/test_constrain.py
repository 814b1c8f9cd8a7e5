"""Answers satisfy their constraint, whatever the model, the tokenizer and the batch."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from typing import Any

import pytest

from sft.config.sections.inference import ConstrainConfig
from sft.errors import MissingPackageError, ModelError
from sft.inference.answer import TextAnswers, complete
from sft.inference.generating.constrain import Constraint
from sft.inference.generating.criteria import StopTexts
from sft.inference.generating.engine import GenerationSettings
from sft.prompting.prompt import Prompt

pytest.importorskip("llguidance")

SCHEMA = {
    "type": "object",
    "properties": {"town": {"type": "string", "maxLength": 4}, "rooms": {"type": "integer", "maximum": 99}},
    "required": ["town", "rooms"],
    "additionalProperties": False,
}
CHOICES = ["Paris", "Par", "New York", "caf\u00e9", 'a"b\\c', "x|y"]


def pieces_tokenizer() -> Any:
    """Like those made by sentencepiece: `▁` for a space in front of words, bytes where there is no piece."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    words = ["▁", "▁Par", "is", "▁New", "▁Y", "ork", *'abcdefghijklmnopqrstuvwxyzPNY0123456789{}[]":,.|\\']
    vocabulary = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *words]
    core = Tokenizer(models.BPE(vocab={piece: index for index, piece in enumerate(vocabulary)}, merges=[],
                                byte_fallback=True, fuse_unk=True))  # fmt: skip
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    core.add_special_tokens([AddedToken(piece, special=True) for piece in ("<unk>", "<s>", "</s>")])
    named = {"eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=core, **named)


@pytest.fixture(params=["bytes", "pieces"])
def any_tokenizer(request: pytest.FixtureRequest, make_tokenizer: Callable[..., Any]) -> Any:
    return make_tokenizer() if request.param == "bytes" else pieces_tokenizer()


@pytest.fixture
def answer(any_tokenizer: Any, make_model: Any, draw: Any) -> Callable[..., TextAnswers]:
    """Answers of a random model that knows more tokens than its tokenizer, to prompts with a shared prefix."""
    prefix = draw(12)
    prompts = [Prompt(prefix + draw(length), [], (), "") for length in (1, 9, 30, 4, 9, 17)]

    def write(batch_size: Any = 4, length: int = 80, seed: int = 0, arguments: Any = None, **held: Any) -> TextAnswers:
        model = make_model("llama", vocabulary=400, seed=seed, initializer_range=0.3)
        settings = GenerationSettings(
            length,
            (any_tokenizer.eos_token_id,),
            arguments or {},
            constraint=Constraint(ConstrainConfig(**held), any_tokenizer),
        )
        return complete(model, any_tokenizer, prompts, settings, batch_size)

    return write


@pytest.mark.parametrize("arguments", [{}, {"do_sample": True, "temperature": 5.0, "top_k": 3}, {"min_new_tokens": 30}])
def test_json_always_parses(answer: Callable[..., TextAnswers], arguments: Any) -> None:
    for seed in range(2):
        answers = answer(json_schema=SCHEMA, seed=seed, arguments=arguments)
        assert answers.cut_short == 0
        for text in answers.predictions:
            value = json.loads(text)
            assert value.keys() == SCHEMA["properties"].keys()  # type: ignore[attr-defined]
            assert len(value["town"]) <= 4
            assert isinstance(value["rooms"], int)


def test_regex_and_choices(answer: Callable[..., TextAnswers]) -> None:
    texts = answer(regex=r"[A-Z][a-z]{2,5} \d{1,3}|no\.").predictions
    assert all(re.fullmatch(r"[A-Z][a-z]{2,5} \d{1,3}|no\.", text) for text in texts)
    for seed in range(4):
        answers = answer(choices=CHOICES, seed=seed)
        assert set(answers.predictions) <= set(CHOICES)
        assert answers.cut_short == 0


def test_the_model_still_chooses(answer: Callable[..., TextAnswers]) -> None:
    answers = {text for seed in range(4) for text in answer(choices=["a", "b", "c", "d"], seed=seed).predictions}
    assert len(answers) > 1


def test_batches_do_not_matter(answer: Callable[..., TextAnswers]) -> None:
    alone = answer(batch_size=1, json_schema=SCHEMA)
    for batch_size in (3, "auto"):
        together = answer(batch_size=batch_size, json_schema=SCHEMA)
        assert together.predictions == alone.predictions
        assert together.tokens_N.tolist() == alone.tokens_N.tolist()
        assert together.logprob_N == pytest.approx(alone.logprob_N, abs=1e-3)


def test_answers_that_are_cut_are_counted(answer: Callable[..., TextAnswers]) -> None:
    answers = answer(length=6, json_schema=SCHEMA)
    assert answers.cut_short == len(answers.predictions) == 6
    some = answer(length=5, regex="a{2}|b{8}")
    assert some.cut_short == sum(text != "aa" for text in some.predictions)


def test_a_stop_string_cuts_a_constrained_answer(answer: Any, make_model: Any, make_tokenizer: Any) -> None:
    tokenizer = make_tokenizer()
    settings = GenerationSettings(
        20, (258,), stop_texts=StopTexts(("b",), tokenizer.decode),
        constraint=Constraint(ConstrainConfig(choices=("aba", "ab")), tokenizer),
    )  # fmt: skip
    answers = complete(make_model(), tokenizer, [Prompt([1, 2], [], (), "")], settings, 1)
    assert answers.predictions == ("a",)
    assert answers.cut_short == 1


def test_an_end_that_is_also_ordinary_text(make_model: Any, make_tokenizer: Any) -> None:
    """A line feed may end an answer, but not within the constrained text."""
    tokenizer = make_tokenizer()
    (feed,) = tokenizer.encode("\n", add_special_tokens=False)
    for seed in range(3):
        settings = GenerationSettings(
            60, (feed,), constraint=Constraint(ConstrainConfig(json_schema=SCHEMA), tokenizer)
        )
        model = make_model(seed=seed, initializer_range=0.3)
        answers = complete(model, tokenizer, [Prompt([seed, 2], [], (), "")], settings, 1)
        json.loads(answers.predictions[0])
        assert answers.cut_short == 0


def test_it_is_compiled_once(make_tokenizer: Any, make_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[int] = []
    tokenizer, model = make_tokenizer(), make_model()
    constraint = Constraint(ConstrainConfig(choices=("a", "bc")), tokenizer)
    build = constraint._compile
    monkeypatch.setattr(constraint, "_compile", lambda *given: compiled.append(1) or build(*given))
    settings = GenerationSettings(5, (258,), constraint=constraint)
    for _ in range(2):
        complete(model, tokenizer, [Prompt([n, 2], [], (), "") for n in range(5)], settings, 2)
    assert compiled == [1]


def test_invalid_uses_are_refused(make_tokenizer: Any, make_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = ConstrainConfig(choices=("a",))
    with pytest.raises(ModelError, match="needs a fast tokenizer"):
        Constraint(config, object())
    settings = GenerationSettings(5, (), constraint=Constraint(config, make_tokenizer()))
    with pytest.raises(ModelError, match="needs a token that ends an answer"):
        complete(make_model(), make_tokenizer(), [Prompt([1], [], (), "")], settings, 1)
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(MissingPackageError, match="pip install llguidance"):
        Constraint(config, make_tokenizer())
