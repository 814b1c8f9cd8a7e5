"""A constraint that cannot be used is one clear line before anything runs."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from sft.config.checking.checks import config_notices
from sft.config.checking.constrain import CONSTRAIN, constrain_problems, grammar
from sft.config.experiment import Experiment
from sft.config.reading.load import parse_config
from sft.config.sections.inference import ConstrainConfig
from sft.errors import ConfigError, MissingPackageError

ONE_OF = "expected exactly one of json_schema, regex, choices"


def problems(constrain: Any, **generation_args: Any) -> list[tuple[str, str]]:
    return [(path.removeprefix("inference."), what) for path, what in constrain_problems(constrain, generation_args)]


@pytest.mark.parametrize(
    "good",
    [
        {
            "json_schema": {
                "type": "object",
                "properties": {"a": {"$ref": "#/$defs/a"}},
                "$defs": {"a": {"type": "null"}},
            }
        },
        {"json_schema": {}},
        {"regex": r"\d{4}-\d\d|(?i)never"},
        {"choices": ["a", "b c", '"', "\\", "/x/", "caf\u00e9", "two\nlines"]},
        {"choices": ["a"], "regex": None},
    ],
)
def test_a_good_one(good: Any) -> None:
    pytest.importorskip("llguidance")
    assert problems(good) == []
    assert grammar(ConstrainConfig.model_validate(good))


def test_exactly_one() -> None:
    assert problems({}) == [("constrain", f"{ONE_OF}, got none")]
    assert problems({"regex": "a", "choices": ["b"]}) == [("constrain", f"{ONE_OF}, got regex and choices")]
    for odd in (None, 3, "a", ["a"]):
        assert problems(odd) == []  # the section reports it, or there is none


def test_choices() -> None:
    assert problems({"choices": []}) == [("constrain.choices", "expected a non-empty list of strings, got []")]
    around = "never matches: answers are stripped; remove the white space"
    many = [str(number) for number in range(20_001)]
    assert problems({"choices": many}) == [("constrain.choices", "expected at most 20,000 choices, got 20,001")]
    assert problems({"choices": ["a", " b"]}) == [("constrain.choices", f'" b" {around}')]
    assert problems({"choices": ["a", ""]}) == [("constrain.choices", f'"" {around}')]
    assert problems({"choices": ["a", "b", "a"]}) == [
        ("constrain.choices", 'duplicate "a"; each choice must be unique')
    ]
    assert problems({"choices": [3]}) == problems({"choices": "a"}) == []  # the section reports it


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"regex": "(a"}, "unclosed group"),
        ({"regex": "a(?=b)"}, "look-around, including look-ahead and look-behind, is not supported"),
        ({"json_schema": {"type": "objekt"}}, "Invalid type: objekt"),
        ({"json_schema": {"not": {"type": "null"}}}, 'Unimplemented keys: ["not"]'),
        ({"json_schema": {"enum": []}}, "Unsatisfiable schema: anyOf is empty"),
    ],
)
def test_a_bad_schema_or_regex(bad: Any, reason: str) -> None:
    pytest.importorskip("llguidance")
    assert problems(bad) == [(f"constrain.{next(iter(bad))}", f"cannot be used: {reason}")]


def test_generation_arguments_that_cannot_be_combined_with_it() -> None:
    refused = "cannot be combined with inference.constrain; remove one"
    assert problems({"choices": ["a"]}, num_beams=3) == [("generation_args.num_beams", refused)]
    assert problems({"choices": ["a"]}, prompt_lookup_num_tokens=2) == [
        ("generation_args.prompt_lookup_num_tokens", refused)
    ]
    assert problems({"choices": ["a"]}, num_beams=1, do_sample=True) == []


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the types are checked; a run names the package to install."""
    monkeypatch.setitem(sys.modules, "llguidance", None)
    assert problems({"regex": "(b"}) == []
    with pytest.raises(MissingPackageError, match=r"inference\.constrain needs .* pip install llguidance"):
        grammar(ConstrainConfig(regex="a"))


def test_in_a_config(data: dict[str, Any], tmp_path: Any) -> None:
    data["dataset"]["task_type"] = "generation"
    data["inference"] = {"constrain": {"regexp": "a", "choices": "b"}, "stop_strings": ["\n", ""],
                         "generation_args": {"stop_strings": ["x"]}}  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        parse_config(data, "c.json", tmp_path)
    problem_of = dict(caught.value.problems)
    assert problem_of["inference.constrain.regexp"] == 'unknown key; did you mean "regex"?'
    assert "a list" in problem_of["inference.constrain.choices"]
    assert problem_of["inference.stop_strings"] == "an empty string would end every answer before it starts"
    assert "set inference.stop_strings" in problem_of["inference.generation_args.stop_strings"]


def test_it_has_no_effect_on_labels(data: dict[str, Any], tmp_path: Any) -> None:
    """It does not change the id of a classification, and its default changes no id."""
    data["dataset"]["task_type"] = "classification"
    data["inference"] = {}

    def run_id() -> str:
        return Experiment("x", parse_config(data, "c.json", tmp_path), 13, "evaluate").id

    plain = run_id()
    data["inference"] = {"constrain": {"choices": ["a"]}, "stop_strings": ["b"]}
    assert run_id() == plain
    assert [notice.split()[0] for notice in config_notices(data)] == ["inference.stop_strings", CONSTRAIN]
    data["dataset"]["task_type"] = "generation"
    held = run_id()
    data["inference"]["stop_strings"] = []
    stopped = run_id()
    data["inference"]["constrain"] = None
    open_ended = run_id()
    data["inference"] = {}
    assert len({plain, held, stopped, open_ended}) == 4
    assert run_id() == open_ended


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ('{"a":1}', True),
        ('{"a": 1}', True),
        (' {"a": 1}', True),
        ('{\n  "a": 1\n}', True),
        ('{\n\t\t"a": 1\n}', True),
        ('{"a":  1}', False),
        ('{\n\n"a": 1}', False),
        ('  {"a": 1}', False),
    ],
)
def test_white_space_in_json(text: str, fits: bool) -> None:
    """Allow none, a space or a new line with its indentation: a weak model would not stop."""
    llguidance = pytest.importorskip("llguidance")
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    held = grammar(ConstrainConfig(json_schema={**schema, "additionalProperties": False}))
    matcher = llguidance.LLMatcher(_letters(llguidance), held, log_level=0)
    assert (matcher.try_consume_tokens(list(text.encode())) == len(text) and matcher.is_accepting()) == fits


def _letters(llguidance: Any) -> Any:
    """A tokenizer of single bytes, and an end."""

    class Bytes:
        eos_token_id, bos_token_id = 256, None
        tokens = (*(bytes([byte]) for byte in range(256)), b"<end>")
        special_token_ids = (256,)

        def __call__(self, text: bytes) -> list[int]:
            return list(text)

    return llguidance.LLTokenizer(llguidance.TokenizerWrapper(Bytes()))
