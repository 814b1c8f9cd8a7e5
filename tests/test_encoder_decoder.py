"""An encoder-decoder model from the command line: it classifies as it is, and one line says what it cannot do here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

from sft.cli.main import app
from sft.errors import UserError


@pytest.fixture
def t5_folder(tmp_path: Path, make_tokenizer: Callable[..., Any]) -> Path:
    """A tiny random T5 with a byte-level tokenizer, which has no chat template."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    config = T5Config(
        vocab_size=300, d_model=32, d_ff=64, num_layers=2, num_heads=4, d_kv=8, decoder_start_token_id=0,
        pad_token_id=0, eos_token_id=258,
    )  # fmt: skip
    folder = tmp_path / "t5"
    T5ForConditionalGeneration(config).save_pretrained(folder)
    make_tokenizer(chat_template=None).save_pretrained(folder)
    return folder


def invoke(command: str, config: dict[str, Any], folder: Path) -> Any:
    path = folder / "config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return CliRunner().invoke(app, [command, str(path), "--results-path", str(folder / "results")])


def test_it_classifies_zero_shot(t5_folder: Path, make_config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    answer = invoke("evaluate", make_config(model__name=str(t5_folder), dataset__shots=0), tmp_path)
    assert answer.exit_code == 0, answer.output
    (run,) = (tmp_path / "results" / "runs").iterdir()
    results = json.loads((run / "result.json").read_text(encoding="utf-8"))["results"]
    assert "row of its own" in results["scoring_engine"]
    scores = load_file(run / "label_scores.safetensors")["sum_logprob"]
    assert scores.shape == (9, 3)
    assert np.isfinite(scores).all()
    assert len(np.unique(scores[:, 0])) > 1, "the prompt means nothing"


@pytest.mark.parametrize(
    ("command", "changes", "message"),
    [
        ("run-experiment", {}, "only decoder-only models can be trained"),
        (
            "evaluate",
            {"dataset__task_type": "generation", "dataset__shots": 0, "prompting__max_output_length": 8},
            "encoder-decoder model",
        ),
    ],
    ids=["training", "generation"],
)
def test_an_unsupported_use_is_one_line(
    command: str, changes: dict[str, Any], message: str, t5_folder: Path, make_config: Any, tmp_path: Path
) -> None:
    error = invoke(command, make_config(model__name=str(t5_folder), **changes), tmp_path).exception
    assert isinstance(error, UserError)
    assert message in str(error)
    assert "\n" not in str(error)
