"""Transformers' and PEFT's classes have what the protocols list, at run time and by their declared types."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sft.protocols import ArchitectureConfig, LanguageModel, Tokenizer

_FITTING = """
from peft import PeftModel
from transformers import LlamaForCausalLM, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from sft.protocols import ArchitectureConfig, LanguageModel, Tokenizer

def tokenizer(own: PreTrainedTokenizerBase) -> Tokenizer: return own
def model(own: PreTrainedModel | LlamaForCausalLM) -> LanguageModel: return own
def adapted(own: PeftModel) -> LanguageModel: return own
def config(own: PreTrainedConfig) -> ArchitectureConfig: return own
def wrong(own: PreTrainedModel) -> Tokenizer: return own
"""


def _members(protocol: type) -> list[str]:
    names = {*vars(protocol), *vars(protocol).get("__annotations__", {})}
    return sorted(name for name in names if not name.startswith("_"))


def test_a_tokenizer_has_every_member(tokenizer: Any) -> None:
    assert [name for name in _members(Tokenizer) if not hasattr(tokenizer, name)] == []


@pytest.mark.parametrize("adapted", [False, True])
def test_a_model_and_its_config_have_every_member(make_model: Callable[..., Any], adapted: bool) -> None:
    model = make_model()
    if adapted:
        import peft

        model = peft.get_peft_model(model, peft.LoraConfig(r=1, target_modules="all-linear", task_type="CAUSAL_LM"))
    assert [name for name in _members(LanguageModel) if not hasattr(model, name)] == []
    assert [name for name in _members(ArchitectureConfig) if not hasattr(model.config, name)] == []


@pytest.mark.long
def test_the_libraries_classes_fit_by_their_declared_types(repository: Path, tmp_path: Path) -> None:
    """A user's type checker reads the libraries, and must accept their classes in `score_labels` and in plugins."""
    (tmp_path / "fitting.py").write_text(_FITTING)
    options = ["--config-file=", "--follow-imports=silent", "--ignore-missing-imports", "--cache-dir", str(tmp_path)]
    command = [sys.executable, "-m", "mypy", *options, str(tmp_path / "fitting.py")]
    output = subprocess.run(command, capture_output=True, text=True, check=False, cwd=repository).stdout
    assert [line.partition(": ")[0].rpartition(":")[2] for line in output.splitlines() if ": error: " in line] == ["11"]
