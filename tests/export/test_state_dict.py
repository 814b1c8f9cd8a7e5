"""Extracting an adapter from the state dict of a training, with any wrapper."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from sft.config.sections.model import ModelConfig
from sft.errors import UserError
from sft.export.command import ExportRequest, export
from sft.export.source import find_trained
from sft.export.state_dict import adapter_from

State = dict[str, torch.Tensor]
FORMS: dict[str, Callable[[State], Any]] = {
    "as it is": lambda state: state,
    "data parallel": lambda state: {f"module.{name}": value for name, value in state.items()},
    "without PEFT's prefix": lambda state: {name.removeprefix("base_model.model."): v for name, v in state.items()},
    "without the adapter's name": lambda state: {name.replace(".default", ""): v for name, v in state.items()},
    "fully sharded, compiled": lambda state: {
        f"_orig_mod._fsdp_wrapped_module.{name.replace('.layers.0.', '.layers.0._fsdp_wrapped_module.')}": value
        for name, value in state.items()
    },
    "checkpointed": lambda state: {
        name.replace(".layers.1.", ".layers.1._checkpoint_wrapped_module."): value for name, value in state.items()
    },
    "DeepSpeed": lambda state: {"module": state, "global_steps": 7, "dp_world_size": 2},
    "a trainer's": lambda state: {"step": 3, "model_state_dict": state},
}


@pytest.fixture
def trained(save_base: Any, train_adapter: Any) -> tuple[Path, Any]:
    folder: Path
    folder, model = train_adapter(ModelConfig(name=save_base()))
    return folder, model


@pytest.mark.parametrize("form", FORMS)
def test_the_adapter_is_extracted_from_every_format(trained: tuple[Path, Any], tmp_path: Path, form: str) -> None:
    folder, model = trained
    torch.save(FORMS[form](dict(model.state_dict())), tmp_path / "whole.pt")
    made = adapter_from(tmp_path / "whole.pt", find_trained(folder))
    weights = {name: value for name, value in made.state_dict().items() if "lora_" in name}
    assert weights and all(torch.equal(value, model.state_dict()[name]) for name, value in weights.items())


@pytest.mark.parametrize(
    "section",
    [
        {"peft_type": "LORA", "r": 4, "target_modules": "all-linear", "init_lora_weights": "pissa"},
        {"peft_type": "LORA", "r": 4, "target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
        {"peft_type": "VERA", "r": 8, "target_modules": ["q_proj"]},
        {"peft_type": "P_TUNING", "num_virtual_tokens": 3, "encoder_hidden_size": 8},
    ],
    ids=["a start that is not zero", "a trained head", "VERA", "P_TUNING"],
)
def test_the_exported_folder_equals_the_one_saved_by_training(
    save_base: Any, train_adapter: Any, logits: Any, tmp_path: Path, section: dict[str, Any]
) -> None:
    folder, model = train_adapter(ModelConfig(name=save_base()), **section)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    save_file(state, tmp_path / "whole.safetensors")
    config_alone = tmp_path / "config"
    config_alone.mkdir()
    (config_alone / "adapter_config.json").write_bytes((folder / "adapter_config.json").read_bytes())
    request = ExportRequest(
        config_alone, from_state_dict=tmp_path / "whole.safetensors", output_dir=tmp_path / "exported"
    )
    exported = export(request)
    ours, theirs = (load_file(path / "adapter_model.safetensors") for path in (exported.folder, folder))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in theirs)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    assert torch.allclose(logits(PeftModel.from_pretrained(plain, str(exported.folder))), logits(model), atol=1e-5)


def test_the_file_of_a_saved_adapter_is_accepted_too(trained: tuple[Path, Any], tmp_path: Path) -> None:
    folder, model = trained
    made = adapter_from(folder / "adapter_model.safetensors", find_trained(folder))
    name = "base_model.model.model.layers.1.mlp.down_proj.lora_B.default.weight"
    assert torch.equal(made.state_dict()[name], model.state_dict()[name])


class Shell:
    """Code that reading a file must not run."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return eval, ("open('/nowhere/at/all')",)


def test_unusable_files_give_one_line_errors(trained: tuple[Path, Any], tmp_path: Path) -> None:
    folder, model = trained
    file, source = tmp_path / "whole.pt", find_trained(folder)
    state = dict(model.state_dict())
    name = "base_model.model.model.layers.1.mlp.down_proj.lora_B.default.weight"

    def error_of(content: Any) -> str:
        torch.save(content, file)
        with pytest.raises(UserError) as caught:
            adapter_from(file, source)
        assert "\n" not in str(caught.value) and caught.value.exit_code == 2
        return str(caught.value)

    lacking = error_of({key: value for key, value in state.items() if key != name})
    assert f"lacks 1 of the adapter's 28 weights ({name})" in lacking
    assert "lacks 28 of the adapter's 28" in error_of({"model.embed_tokens.weight": torch.ones(3)})
    assert "got [32, 2]" in error_of({**state, name: torch.ones(32, 2)})
    assert "contains no named tensors" in error_of({"epoch": 3})
    assert "cannot be read as plain tensors" in error_of({"state": Shell()})
    file.write_bytes(pickle.dumps(3))
    with pytest.raises(UserError, match=r"cannot be read as plain tensors|expected a dict"):
        adapter_from(file, source)
    with pytest.raises(UserError, match=r"none\.pt not found"):
        adapter_from(tmp_path / "none.pt", source)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"\x00" * 9)
    with pytest.raises(UserError, match=r"broken.safetensors cannot be read"):
        adapter_from(broken, source)


def test_weights_with_nan_are_rejected(trained: tuple[Path, Any], tmp_path: Path) -> None:
    folder, model = trained
    state = {name: torch.full_like(value, torch.nan) for name, value in model.state_dict().items() if "lora_A" in name}
    torch.save({**model.state_dict(), **state}, tmp_path / "whole.pt")
    with pytest.raises(UserError, match="contains NaN or infinite numbers"):
        adapter_from(tmp_path / "whole.pt", find_trained(folder))
