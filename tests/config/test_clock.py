"""Chat templates that could read the clock, and their effect on ids."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sft.config.clock import may_read_clock
from sft.config.experiment import Experiment
from sft.config.sections.prompting import DEFAULT_DATE
from sft.config.sections.schema import ExperimentConfig
from sft.errors import ConfigError

DATED = "{{ strftime_now('%d %b %Y') }}{% for m in messages %}{{ m.content }}{% endfor %}"
PLAIN = "{% for m in messages %}{{ m.content }}{% endfor %}"


def _folder(root: Path, name: str, files: dict[str, str]) -> str:
    folder = root / name
    for file, text in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text, encoding="utf-8")
    return str(folder)


def _config(model: dict[str, Any], **changes: Any) -> ExperimentConfig:
    return ExperimentConfig.model_validate(
        {
            "dataset": {"path": "hub/data", "task_type": "classification"},
            "model": model,
            "prompting": {"input_columns": ["text"], "output_column": "label", **changes.pop("prompting", {})},
            "inference": {},
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("files", "reads"),
    [
        ({"chat_template.jinja": DATED, "tokenizer_config.json": "{}"}, True),
        ({"tokenizer_config.json": json.dumps({"chat_template": DATED})}, True),
        ({"chat_template.json": json.dumps({"chat_template": DATED})}, True),
        ({"chat_template.jinja": PLAIN, "additional_chat_templates/tools.jinja": DATED}, True),
        ({"chat_template.jinja": PLAIN, "tokenizer_config.json": "{}"}, False),
        ({"tokenizer_config.json": "{}"}, False),
        ({"config.json": "{}"}, True),
    ],
)
def test_the_clock_in_template_files_is_found(tmp_path: Path, files: dict[str, str], reads: bool) -> None:
    folder = _folder(tmp_path, "model", files)
    assert may_read_clock(_config({"name": folder})) is reads
    dates = [_config({"name": folder}, prompting={"date": date}) for date in (DEFAULT_DATE, "2030-01-02")]
    default, other = (Experiment("x", config, 13, "evaluate").id for config in dates)
    assert (default != other) is reads
    assert Experiment("x", _config({"name": folder}), 13, "evaluate").id == default


def test_the_template_is_that_of_the_tokenizer_in_use(tmp_path: Path) -> None:
    dated = _folder(tmp_path, "dated", {"chat_template.jinja": DATED})
    plain = _folder(tmp_path, "plain", {"chat_template.jinja": PLAIN})
    assert not may_read_clock(_config({"name": dated, "chat_template_from": plain}))
    assert may_read_clock(_config({"name": plain, "chat_template_from": dated}))
    assert may_read_clock(_config({"name": plain}, inference={"tokenizer_name": dated}))
    assert not may_read_clock(_config({"name": dated}, inference={"tokenizer_name": plain}))
    assert may_read_clock(_config({"name": "hub/model"})), "in doubt it may"
    assert may_read_clock(_config({"name": plain, "model_args": {"subfolder": "x"}}))


def test_an_edited_template_is_read_again(tmp_path: Path) -> None:
    folder = _folder(tmp_path, "model", {"chat_template.jinja": PLAIN})
    assert not may_read_clock(_config({"name": folder}))
    _folder(tmp_path, "model", {"chat_template.jinja": DATED})
    assert may_read_clock(_config({"name": folder}))


@pytest.mark.parametrize("date", ["tomorrow", "2024-02-30", "2024-1-1", "20240101", "2024-07-26T00:00", 2024])
def test_an_invalid_date_is_refused(date: Any, make_config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    from sft.config.reading.load import parse_config

    with pytest.raises(ConfigError, match=r'prompting\.date.*such as "2024-07-26"'):
        parse_config(make_config(prompting__date=date), "x.json", tmp_path)
