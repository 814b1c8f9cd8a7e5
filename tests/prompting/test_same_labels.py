"""Labels that the model cannot distinguish are refused before training; similar labels are reported once."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sft.cli.main import app
from sft.config.experiment import Experiment
from sft.config.sections.schema import ExperimentConfig
from sft.dataset.task import open_task
from sft.errors import DataError, UserError
from sft.pipeline import check_data
from sft.prompting.plan import PromptPlan
from sft.prompting.same_labels import refuse_same_tokens, warn_of_similar

STRIPS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LOWERS = STRIPS.replace("trim", "lower")
KEEPS = STRIPS.replace(" | trim", "")


@pytest.fixture
def write_data(tmp_path: Path) -> Callable[[Sequence[str]], str]:
    """Return a function that writes CSV files with labels in turn and returns their folder."""

    def write(labels: Sequence[str]) -> str:
        folder = tmp_path / "labelled"
        folder.mkdir(exist_ok=True)
        for split in ("train", "test"):
            with (folder / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
                rows = csv.writer(file)
                rows.writerow(["text", "label"])
                rows.writerows([f"{split} {number}", labels[number % len(labels)]] for number in range(12))
        return str(folder)

    return write


def word_tokenizer(template: str | None) -> Any:
    """Return a tokenizer of few words, in which all other words are the unknown token."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = [
        "<unk>",
        "<|im_start|>",
        "<|im_end|>",
        "user",
        "assistant",
        "system",
        "good",
        "bad",
        "train",
        "Answer",
        ":",
    ]
    core = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))  # noqa: S106
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", eos_token="<|im_end|>")  # noqa: S106
    tokenizer.chat_template = template
    return tokenizer


def checked(config: dict[str, Any], tokenizer: Any) -> None:
    experiment = Experiment("x", ExperimentConfig.model_validate(config), 13)
    PromptPlan(experiment, open_task(experiment), tokenizer, 1000).check_labels()


@pytest.mark.parametrize(
    ("template", "verbalizers", "same"),
    [
        (STRIPS, {"a": "neg", "b": "neg ", "c": "pos"}, '"a", "b"'),
        (STRIPS, {"a": "neg", "b": "\nneg\t", "c": "neg  "}, '"a", "b", "c"'),
        (LOWERS, {"a": "neg", "b": "Neg", "c": "pos"}, '"a", "b"'),
        (KEEPS, {"a": "neg", "b": "neg ", "c": "pos"}, None),
        (None, {"a": "neg", "b": " neg", "c": "pos"}, '"a", "b"'),
    ],
)
def test_labels_with_the_same_tokens_are_refused(
    write_data: Callable[..., str], make_config: Callable[..., dict[str, Any]], make_tokenizer: Callable[..., Any],
    template: str | None, verbalizers: dict[str, str], same: str | None,
) -> None:  # fmt: skip
    config = make_config(dataset__path=write_data("abc"), prompting__verbalizers=verbalizers)
    if same is None:
        checked(config, make_tokenizer(template))
        return
    with pytest.raises(DataError, match=f"the model writes the same tokens for the labels {same}"):
        checked(config, make_tokenizer(template))


@pytest.mark.parametrize("template", [KEEPS, None])
def test_labels_of_unknown_characters_are_refused(
    write_data: Callable[..., str], make_config: Callable[..., dict[str, Any]], template: str | None
) -> None:
    config = make_config(dataset__path=write_data(["good", "漢", "字"]))
    with pytest.raises(DataError, match='"字", "漢"'):
        checked(config, word_tokenizer(template))
    checked(make_config(dataset__path=write_data(["good", "bad", "字"])), word_tokenizer(template))


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"yes_no": ["yes", "yes "]}, '"a: yes", "a: yes "'),
        ({"yes_no": ["漢", "字"]}, '"a: 漢", "a: 字"'),
        ({"verbalizers": {"a": "漢", "b": "字", "c": "bad"}}, '"a: good", "b: good"'),
    ],
)
def test_questions_or_answers_with_the_same_tokens_are_refused(
    write_data: Callable[..., str], make_config: Callable[..., dict[str, Any]], changes: dict[str, Any], same: str
) -> None:
    prompting = {"prompting__yes_no": ["good", "bad"], **{f"prompting__{key}": value for key, value in changes.items()}}
    config = make_config(
        dataset__path=write_data("abc"), dataset__task_type="multilabel", dataset__label_separator=";", **prompting
    )
    with pytest.raises(DataError, match=same):
        checked(config, word_tokenizer(STRIPS))


def test_all_commands_refuse_labels_with_the_same_tokens(
    write_data: Callable[..., str], make_config: Callable[..., dict[str, Any]], model_folder: Path, tmp_path: Path
) -> None:
    import json
    import shutil

    model = tmp_path / "model"
    shutil.copytree(model_folder, model)
    (model / "chat_template.jinja").write_text(STRIPS, encoding="utf-8")
    config = make_config(dataset__path=write_data(["neg", "neg ", "pos"]), model__name=str(model))
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config), encoding="utf-8")
    (problem,) = check_data({"it": {"config": config, "endpoint": "run-experiment"}})["problems"].values()
    assert 'same tokens for the labels "neg", "neg "' in problem
    for command in ("show-prompt", "train", "evaluate", "run-experiment"):
        results = ["--results-path", str(tmp_path / "r")] if command in ("evaluate", "run-experiment") else []
        done = CliRunner().invoke(app, [command, str(file), *results])
        output = str(done.exception) if isinstance(done.exception, UserError) else done.output
        assert done.exit_code != 0, command
        assert 'same tokens for the labels "neg", "neg "' in " ".join(output.split()), command
    assert not list(tmp_path.rglob("adapter_model*"))


def test_similar_labels_are_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="sft"):
        assert not warn_of_similar(["neg", "pos", "not neg"])
        assert caplog.text == ""
        assert warn_of_similar(["neg", "Neg", "pos", "po s", "STRASSE", "straße", "\ufb01ne", "fine", "other"])
    assert len(caplog.records) == 1
    for pair in ('"neg", "Neg"', '"pos", "po s"', '"STRASSE", "straße"', '"\ufb01ne", "fine"'):
        assert pair in caplog.text
    assert "other" not in caplog.text


def test_every_group_is_named() -> None:
    refuse_same_tokens(["a", "b"], [[1], [1, 2]])
    with pytest.raises(DataError, match='"a", "c"; "b", "d"'):
        refuse_same_tokens(["a", "b", "c", "d", "e"], [[1], [2], [1], [2], [3]])
