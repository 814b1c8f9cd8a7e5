"""Loading a base: device and dtype, remote code, and one line for every error that a user can fix."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sft.config.sections.model import ModelConfig, QuantizationConfig
from sft.errors import ModelError
from sft.model.load import best_device, best_dtype, load_model

IDS = torch.tensor([[1, 2, 3, 4]])


def one_line(caught: pytest.ExceptionInfo[ModelError]) -> str:
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_gives_its_model_in_eval_mode(save_model: Callable[..., str], make_model: Callable[..., Any]) -> None:
    model = load_model(ModelConfig(name=save_model()))
    assert not model.training
    assert model.device == best_device()
    if model.device.type == "cpu":
        assert torch.equal(model(IDS).logits, make_model()(IDS).logits)


def test_an_encoder_decoder_model_is_loaded_as_what_it_is(tmp_path: Path) -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    T5ForConditionalGeneration(
        T5Config(vocab_size=20, d_model=8, d_ff=8, num_layers=1, num_heads=1, d_kv=8)
    ).save_pretrained(tmp_path)
    assert isinstance(load_model(ModelConfig(name=str(tmp_path))), T5ForConditionalGeneration)


@pytest.mark.parametrize("name", ["dtype", "torch_dtype"])
@pytest.mark.parametrize(("given", "expected"), [("bfloat16", torch.bfloat16), ("torch.float32", torch.float32)])
def test_dtype_by_either_name(save_model: Callable[..., str], name: str, given: str, expected: torch.dtype) -> None:
    assert load_model(ModelConfig(name=save_model(), model_args={name: given})).dtype == expected


def test_dtype_auto_follows_the_device(save_model: Callable[..., str]) -> None:
    assert best_dtype(torch.device("cpu")) == torch.float32
    folder = save_model()
    load_model(ModelConfig(name=folder, model_args={"dtype": "bfloat16"})).save_pretrained(folder)
    expected = best_dtype(best_device())
    assert load_model(ModelConfig(name=folder, model_args={"torch_dtype": "auto"})).dtype == expected


def test_parallelize_spreads_by_accelerate(save_model: Callable[..., str], make_model: Callable[..., Any]) -> None:
    folder = save_model()
    for args in ({"parallelize": True}, {"parallelize": True, "no_split_module_classes": ["LlamaMLP"]}):
        model = load_model(ModelConfig(name=folder, model_args=args))
        if model.device.type == "cpu":  # one device: the arguments are accepted, without effect
            assert torch.equal(model(IDS).logits, make_model()(IDS).logits)
    with pytest.raises(ModelError, match="no_split_module_classes: the model has no Layer"):
        load_model(ModelConfig(name=folder, model_args={"parallelize": True, "no_split_module_classes": ["Layer"]}))


@pytest.mark.parametrize("dtype", ["float33", "int64", "Tensor"])
def test_an_unknown_dtype_is_refused(save_model: Callable[..., str], dtype: str) -> None:
    with pytest.raises(ModelError, match=f'model_args.dtype: expected .*, got "{dtype}"'):
        load_model(ModelConfig(name=save_model(), model_args={"dtype": dtype}))


def test_an_absent_folder_a_file_and_a_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"folder .* not found") as caught:
        load_model(ModelConfig(name=str(tmp_path / "none")))
    assert one_line(caught).startswith("model.name: ")
    (tmp_path / "data.csv").touch()
    with pytest.raises(ModelError, match="got the file"):
        load_model(ModelConfig(name=str(tmp_path / "data.csv")))
    with pytest.raises(ModelError, match=r"has no config.json \(it has: data.csv\)"):
        load_model(ModelConfig(name=str(tmp_path)))
    (tmp_path / "adapter_config.json").touch()
    with pytest.raises(ModelError, match=r"contains an adapter; set model\.adapter"):
        load_model(ModelConfig(name=str(tmp_path)))


def test_a_hub_id_that_is_not_found() -> None:
    with pytest.raises(ModelError, match=r'model.name "nobody/nothing" cannot be loaded') as caught:
        load_model(ModelConfig(name="nobody/nothing"))
    one_line(caught)


def test_a_config_that_is_no_causal_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        load_model(ModelConfig(name=str(tmp_path)))
    one_line(caught)


def test_missing_weights_are_not_filled_at_random(save_model: Callable[..., str]) -> None:
    from safetensors.torch import load_file, save_file

    folder = save_model()
    file = Path(folder) / "model.safetensors"
    weights = load_file(file)
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"1 weights are missing \(model.layers.1.mlp.up_proj.weight\)"):
        load_model(ModelConfig(name=folder))


def test_a_cut_off_file_is_one_line(save_model: Callable[..., str]) -> None:
    folder = save_model()
    file = Path(folder) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(ModelConfig(name=folder))


def test_an_unknown_argument_is_named(save_model: Callable[..., str]) -> None:
    with pytest.raises(ModelError, match=r"model.model_args.colour: .* does not accept this argument"):
        load_model(ModelConfig(name=save_model(), model_args={"colour": "red"}))


def with_own_code(folder: str) -> Path:
    """Turn a saved model into one that needs its repository's code; the file that the code leaves when it runs."""
    mark = Path(folder) / "ran"
    (Path(folder) / "own_code.py").write_text(
        f"from pathlib import Path\nPath({str(mark)!r}).touch()\n"
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        "class OwnConfig(LlamaConfig):\n    model_type = 'own'\n"
        "class OwnModel(LlamaForCausalLM):\n    config_class = OwnConfig\n"
    )
    file = Path(folder) / "config.json"
    config = json.loads(file.read_text())
    config["model_type"] = "own"
    config["auto_map"] = {"AutoConfig": "own_code.OwnConfig", "AutoModelForCausalLM": "own_code.OwnModel"}
    file.write_text(json.dumps(config))
    return mark


@pytest.mark.parametrize("value", [None, False, "true", 1])
def test_code_of_a_repository_does_not_run_unless_exactly_true(save_model: Callable[..., str], value: Any) -> None:
    folder = save_model()
    mark = with_own_code(folder)
    args = {} if value is None else {"trust_remote_code": value}
    with pytest.raises(ModelError, match="trust_remote_code") as caught:
        load_model(ModelConfig(name=folder, model_args=args))
    one_line(caught)
    assert not mark.exists()


def test_code_of_a_repository_runs_when_true(
    save_model: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = save_model()
    mark = with_own_code(folder)
    model = load_model(ModelConfig(name=folder, model_args={"trust_remote_code": True}))
    assert mark.exists() and type(model).__name__ == "OwnModel"


def test_quantised_loading_quantises(save_model: Callable[..., str]) -> None:
    pytest.importorskip("bitsandbytes")
    folder = save_model(hidden_size=64, head_dim=16)
    section = QuantizationConfig(config_class="BitsAndBytesConfig", args={"load_in_8bit": True})
    model = load_model(ModelConfig(name=folder, quantization=section))
    assert type(model.model.layers[0].mlp.up_proj.weight).__name__ == "Int8Params"


class Payload:
    """Code that a pickle would run when it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("content", ["a payload", "a payload beside tensors", "noise"])
def test_pickled_weights_run_nothing_and_are_one_line(model_folder: Path, tmp_path: Path, content: str) -> None:
    copy = Path(shutil.copytree(model_folder, tmp_path / "model"))
    (copy / "model.safetensors").unlink()
    payload = Payload(tmp_path / "executed")
    weights = copy / "pytorch_model.bin"
    if content == "noise":
        weights.write_bytes(b"\x80\x04noise" * 50)
    else:
        torch.save(payload if content == "a payload" else {"a": torch.zeros(1), "b": payload}, weights)
    with pytest.raises(ModelError, match=r"^model\.name.*(pickled weights|cannot be loaded)") as error:
        load_model(ModelConfig(name=str(copy)))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "executed").exists()
