"""Adapters: the base's function at step 0, and a saved adapter that plain PEFT reloads as it was trained."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from sft.config.sections.lora import AdapterSection, LoraSection
from sft.config.sections.model import ModelConfig, QuantizationConfig
from sft.errors import ModelError
from sft.model.adapters import create_adapter, load_adapter
from sft.model.load import load_model
from sft.model.saving import save_adapter
from sft.model.sealed import read_record
from sft.prompting.prompt import Prompt

IDS = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8]])
EXAMPLES = [Prompt([7 * row % 250 + index for index in range(40)], [row + 1, 258], (), "") for row in range(8)]
QUANTISED = {
    "int8": {"load_in_8bit": True, "llm_int8_threshold": 0.0},
    "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
}


def lora(init: bool | str = True, **arguments: Any) -> LoraSection:
    return LoraSection(**{"r": 4, "target_modules": "all-linear", "init_lora_weights": init, **arguments})


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    return model.eval()(input_ids=IDS).logits.float()


def few_steps(model: Any) -> None:
    """Move every trainable weight a little, with weight decay, as a trainer would."""
    model.train()
    trainable = [value for value in model.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=2e-2, weight_decay=0.1)
    for _ in range(4):
        optimizer.zero_grad()
        model(input_ids=IDS, labels=IDS).loss.backward()
        optimizer.step()
    model.eval()


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_start.py").write_text(
        "import torch\n"
        "def drawn(layer, rank, dtype):\n"
        "    weight = layer.weight.T if type(layer).__name__ == 'Conv1D' else layer.weight\n"
        "    out, size = weight.shape\n"
        "    return {'lora_A': torch.randn(rank, size, dtype=dtype), 'lora_B': torch.randn(out, rank, dtype=dtype)}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return "own_start:drawn"


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2"])
@pytest.mark.parametrize(
    "init",
    [
        True, False, "gaussian", "orthogonal", "mica", "pca", "pissa", "pissa_niter_4", "olora", "eva", "corda",
        "lora_ga", "own",
    ],
)  # fmt: skip
@pytest.mark.parametrize("varied", [False, True])
def test_step_zero_and_reload(  # noqa: PLR0913 - fixtures and parameters
    make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path, own: str, family: str, init: Any, varied: bool
) -> None:
    some = "c_fc" if family == "gpt2" else "down_proj"
    extra = {"use_rslora": True, "lora_alpha": 6, "rank_pattern": {some: 2}, "alpha_pattern": {some: 5}}
    base = logits(make_model(family))
    model = create_adapter(
        make_model(family), lora(own if init == "own" else init, **(extra if varied else {})), None, 5, EXAMPLES
    )
    assert torch.allclose(logits(model), base, atol=1e-5)
    few_steps(model)
    trained = logits(model)
    assert (trained - base).abs().max() > 0.05
    save_adapter(model, tokenizer, tmp_path / "saved", "some/base")
    reloaded = PeftModel.from_pretrained(make_model(family), str(tmp_path / "saved"))
    assert torch.allclose(logits(reloaded), trained, atol=1e-5)
    config = json.loads((tmp_path / "saved" / "adapter_config.json").read_text())
    assert config["init_lora_weights"] is True
    assert config["base_model_name_or_path"] == "some/base"


@pytest.mark.parametrize("kind", list(QUANTISED))
@pytest.mark.parametrize(
    "init",
    [
        True, "pca", "pissa", "olora", "eva", "corda",
        *(pytest.param(name, marks=pytest.mark.long) for name in ("gaussian", "orthogonal", "pissa_niter_4")),
    ],
)  # fmt: skip
def test_quantised_bases(save_quantisable: str, tokenizer: Any, tmp_path: Path, kind: str, init: Any) -> None:
    pytest.importorskip("bitsandbytes")
    section = QuantizationConfig(config_class="BitsAndBytesConfig", args=QUANTISED[kind])
    config = ModelConfig(name=save_quantisable, quantization=section, model_args={"device_map": "cpu"})
    base = logits(load_model(config))
    model = create_adapter(load_model(config), lora(init), None, 5, EXAMPLES)
    assert (logits(model) - base).abs().max() < (1e-5 if init in (True, "pca", "gaussian", "eva") else 2e-2)
    few_steps(model)
    trained = logits(model)
    with model.disable_adapter():
        assert torch.equal(logits(model), base)  # the base is untouched
    assert (trained - base).abs().max() > 0.05
    save_adapter(model, tokenizer, tmp_path / "saved", save_quantisable)
    reloaded = logits(PeftModel.from_pretrained(load_model(config), str(tmp_path / "saved")))
    # Kernels that round activations amplify the last bit of float32: far below what training moved.
    assert (reloaded - trained).abs().max() < 1e-2 * (trained - base).abs().max()


@pytest.fixture
def save_quantisable(save_model: Callable[..., str]) -> str:
    """A model whose layers are large enough for the 4-bit kernels."""
    return save_model(hidden_size=128, intermediate_size=256, head_dim=32)


@pytest.mark.parametrize("kind", list(QUANTISED))
def test_dora_on_a_quantised_base_on_the_cpu_is_refused(save_quantisable: str, kind: str) -> None:
    pytest.importorskip("bitsandbytes")
    section = QuantizationConfig(config_class="BitsAndBytesConfig", args=QUANTISED[kind])
    config = ModelConfig(name=save_quantisable, quantization=section, model_args={"device_map": "cpu"})
    with pytest.raises(ModelError, match="DoRA does not work on a bitsandbytes base on the CPU"):
        create_adapter(load_model(config), lora(use_dora=True), None, 5)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("PROMPT_TUNING", {"num_virtual_tokens": 4}),
        ("PREFIX_TUNING", {"num_virtual_tokens": 4}),
        ("IA3", {}),
        ("LORA", {"r": 4, "use_dora": True, "target_modules": "all-linear"}),
        ("LORA", {"r": 4, "init_lora_weights": "pissa", "target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}),
    ],
)
def test_the_adapter_section(
    make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path, kind: str, arguments: dict[str, Any]
) -> None:
    model = create_adapter(make_model(), None, AdapterSection(peft_type=kind, **arguments), 5)
    before = logits(model)
    few_steps(model)
    trained = logits(model)
    assert (trained - before).abs().max() > 1e-3
    save_adapter(model, tokenizer, tmp_path / "saved", "some/base")
    assert torch.allclose(logits(load_adapter(make_model(), tmp_path / "saved")), trained, atol=1e-5)


def test_the_seed_decides_whatever_ran_before(make_model: Callable[..., Any]) -> None:
    def matrix(seed: int) -> torch.Tensor:
        model = create_adapter(make_model(), lora(), None, seed)
        return next(value for name, value in model.named_parameters() if "lora_A" in name).detach()

    first = matrix(5)
    torch.rand(7)
    assert torch.equal(first, matrix(5))
    assert not torch.equal(first, matrix(6))


def test_saving_replaces_its_own_files_and_leaves_others(
    make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    model = create_adapter(make_model(), lora(), None, 5)
    save_adapter(model, tokenizer, folder, "some/base")
    first = {file.name: file.read_bytes() for file in folder.iterdir()}
    save_adapter(model, tokenizer, folder, "some/base")
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == first
    assert first["notes.txt"] == b"mine"
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} < set(first)
    assert not any(name.startswith(".") for name in first)


def test_a_record_lies_beside_its_own_adapter_only(
    make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path
) -> None:
    model = create_adapter(make_model(), lora(), None, 5)
    save_adapter(model, tokenizer, tmp_path / "saved", "some/base", {"run": "first"})
    assert read_record(tmp_path / "saved") == {"run": "first"}
    save_adapter(model, tokenizer, tmp_path / "saved", "some/base")
    assert read_record(tmp_path / "saved") is None


def test_the_hash_of_every_file_is_written_last(
    make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[str] = []
    replace = Path.replace

    def noted(path: Path, target: Path) -> Path:
        moved.append(Path(target).name)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", noted)
    save_adapter(create_adapter(make_model(), lora(), None, 5), tokenizer, tmp_path, "some/base", {"run": "first"})
    assert moved[0] == moved[-1] == "sft.json" and moved[-2] == "adapter_config.json"
    marker = json.loads((tmp_path / "sft.json").read_text())
    assert marker["run"] == "first"
    written = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in tmp_path.iterdir()}
    written.pop("sft.json")
    assert marker["files"] == written and {"adapter_model.safetensors", "tokenizer.json"} < set(written)


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
def test_a_damaged_adapter_of_ours_is_refused(
    make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path, name: str
) -> None:
    save_adapter(create_adapter(make_model(), lora(), None, 5), tokenizer, tmp_path, "some/base")
    whole = (tmp_path / name).read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    for damaged in (flipped, whole[:-1], whole + b" "):
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(
            ModelError, match=f"is incomplete or corrupt: {name} differs from its recorded hash"
        ) as message:
            load_adapter(make_model(), tmp_path)
        assert "\n" not in str(message.value)
    (tmp_path / "sft.json").unlink()  # without hashes, changes by the user are accepted
    (tmp_path / name).write_bytes(whole)
    load_adapter(make_model(), tmp_path)


def test_a_save_that_was_cut_short_is_no_adapter(
    make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After every file move, a mix of old and new files is refused."""
    made = create_adapter(make_model(), lora(), None, 5), create_adapter(make_model(), lora(), None, 6)
    save_adapter(made[0], tokenizer, tmp_path / "old", "some/base", {"run": "old"})
    replace = Path.replace
    moves = len(list((tmp_path / "old").iterdir())) + 1  # the marker is written twice
    for last in range(moves):
        shutil.copytree(tmp_path / "old", tmp_path / str(last))
        left = [last]

        def cut_short(path: Path, target: Path, left: list[int] = left) -> Path:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            return replace(path, target)

        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(Path, "replace", cut_short)
            save_adapter(made[1], tokenizer, tmp_path / str(last), "some/base", {"run": "new"})
        if last == 0:  # nothing has changed yet
            assert read_record(tmp_path / "0") == {"run": "old"}
            load_adapter(make_model(), tmp_path / "0")
            continue
        assert read_record(tmp_path / str(last)) is None
        with pytest.raises(ModelError, match="is incomplete or corrupt"):
            load_adapter(make_model(), tmp_path / str(last))


def test_templates_in_a_folder_of_their_own_are_saved_too(
    make_model: Callable[..., Any], make_tokenizer: Callable[..., Any], tmp_path: Path
) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = {"default": tokenizer.chat_template, "tool_use": tokenizer.chat_template}
    model = create_adapter(make_model(), lora(), None, 5)
    for _ in range(2):
        save_adapter(model, tokenizer, tmp_path, "some/base")
    saved = json.loads((tmp_path / "sft.json").read_text())["files"]
    assert any("/" in name for name in saved)
    assert all((tmp_path / name).is_file() for name in saved)
    load_adapter(make_model(), tmp_path)


def test_saved_files_hold_the_adapter_only(make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    save_adapter(create_adapter(make_model(), lora("pissa"), None, 5), tokenizer, tmp_path / "saved", "some/base")
    tensors = load_file(tmp_path / "saved" / "adapter_model.safetensors")
    assert len(tensors) == 28 and all("lora_" in name for name in tensors)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (lora("pisa"), 'lora.init_lora_weights: unknown initialiser "pisa"; did you mean "pissa"'),
        (lora("eva"), 'initialiser "eva" needs training rows, but there are none'),
        (lora("pissa_niter_x"), 'lora.init_lora_weights: expected an integer after "pissa_niter_"'),
        (lora(rank=4), "lora: PEFT says: .*rank"),
        (
            lora(target_modules=["nothing"]),
            r'lora.target_modules: the model has no layer named "nothing" \(it has: embed_tokens, q_proj, .*',
        ),
        (lora("pissa", use_dora=True), "use_dora cannot start from a B that is not zero"),
    ],
)
def test_impossible_sections_are_one_line(make_model: Callable[..., Any], section: LoraSection, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        create_adapter(make_model(), section, None, 5)
    assert "\n" not in str(caught.value)


def test_the_settings_of_an_initialiser_are_its_own(
    make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ModelError, match="`tau` must be"):
        create_adapter(make_model(), lora("eva", eva_config={"tau": 2}), None, 5, EXAMPLES)
    model = create_adapter(make_model(), lora("eva", eva_config={"tau": 0.5}), None, 5, EXAMPLES)
    assert "has no effect" not in caplog.text
    save_adapter(model, tokenizer, tmp_path, "some/base")
    assert json.loads((tmp_path / "adapter_config.json").read_text())["eva_config"] is None
    create_adapter(make_model(), lora("pca", eva_config={"tau": 0.5}), None, 5)
    assert 'lora.eva_config has no effect: init_lora_weights is not "eva"' in caplog.text


def test_one_section_and_a_known_type(make_model: Callable[..., Any]) -> None:
    for given in ((None, None), (lora(), AdapterSection(peft_type="IA3"))):
        with pytest.raises(ModelError, match="set exactly one of the sections"):
            create_adapter(make_model(), *given, 5)
    with pytest.raises(ModelError, match=r'adapter.peft_type: PEFT has no "PROMT_TUNING"; did you mean "PROMPT'):
        create_adapter(make_model(), None, AdapterSection(peft_type="PROMT_TUNING"), 5)


def test_a_pattern_that_names_no_layer_is_logged(
    make_model: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    create_adapter(make_model(), lora(rank_pattern={"dwon_proj": 2}), None, 5)
    assert "dwon_proj" in caplog.text


def test_adapters_that_do_not_fit(make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model.adapter: folder .* not found"):
        load_adapter(make_model(), tmp_path / "none")
    save_adapter(create_adapter(make_model(), lora(), None, 5), tokenizer, tmp_path / "saved", "some/base")
    for other in (make_model("gpt2"), make_model(hidden_size=16, head_dim=4), make_model(num_hidden_layers=1)):
        with pytest.raises(ModelError, match="does not fit the model") as caught:
            load_adapter(other, tmp_path / "saved")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("what", ["noise in the index of weights", "unknown kind"])
def test_adapters_that_cannot_be_read(
    make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path, what: str
) -> None:
    saved = tmp_path / "saved"
    PeftModel.save_pretrained(create_adapter(make_model(), lora(), None, 5), str(saved))
    if what == "unknown kind":
        config = json.loads((saved / "adapter_config.json").read_text())
        (saved / "adapter_config.json").write_text(json.dumps({**config, "peft_type": "TELEPATHY"}))
    else:
        (saved / "adapter_model.safetensors").unlink()
        (saved / "adapter_model.bin").write_bytes(b"\x80\x04noise" * 50)
    with pytest.raises(ModelError, match=r"^model\.adapter.*(pickled weights|TELEPATHY)") as caught:
        load_adapter(make_model(), saved)
    assert "\n" not in str(caught.value)
