"""The kept base: unchanged after a run, and dropped after any change."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sft import pipeline
from sft.config.sections.model import ModelConfig
from sft.model.resident import Fingerprint, Memory, ResidentModel, is_own_code, without_adapter
from sft.results.store import ResultStore
from sft.sweep.single import load_experiment


def double(model: Any) -> None:
    model.model.layers[0].mlp.up_proj.weight.data[3, 5] *= 2


def hook(model: Any) -> None:
    model.model.layers[1].register_forward_hook(lambda *_: None)


def own_forward(model: Any) -> None:
    model.model.norm.forward = lambda hidden: hidden


def other_module(model: Any) -> None:
    model.model.norm = torch.nn.Identity()


def other_dtype(model: Any) -> None:
    model.model.norm.to(torch.bfloat16)


def other_config(model: Any) -> None:
    model.config.rms_norm_eps = 0.5


def other_generation(model: Any) -> None:
    model.generation_config.do_sample = True


def attribute(model: Any) -> None:
    model.left_behind = 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (double, 'weight "model.layers.0.mlp.up_proj.weight"'),
        (hook, 'module "model.layers.1"'),
        (own_forward, 'module "model.norm"'),
        (other_module, 'module "model.norm"'),
        (other_dtype, 'weight "model.norm.weight"'),
        (other_config, "config"),
        (other_generation, "generation config"),
        (attribute, "left_behind"),
    ],
)
def test_a_changed_model_is_detected(make_model: Callable[..., Any], change: Callable[[Any], None], words: str) -> None:
    model = make_model("llama")
    before = Fingerprint.of(model)
    assert before.differs_from(Fingerprint.of(model)) == ""
    change(model)
    assert words in before.differs_from(Fingerprint.of(model))


@pytest.mark.parametrize(
    "config",
    [
        {"peft_type": "LORA", "r": 2, "target_modules": "all-linear"},
        {"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"], "use_dora": True},
        {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 3},
        {"peft_type": "IA3", "target_modules": ["k_proj", "down_proj"], "feedforward_modules": ["down_proj"]},
    ],
)
def test_an_adapter_comes_off_and_leaves_nothing(make_model: Callable[..., Any], config: dict[str, Any]) -> None:
    import peft

    model = make_model("llama")
    before, ids = Fingerprint.of(model), torch.tensor([[5, 6, 7, 8]])
    expected = model(input_ids=ids).logits
    adapted = peft.get_peft_model(model, peft.get_peft_config({**config, "task_type": "CAUSAL_LM"}))
    adapted(input_ids=ids)
    base = without_adapter(adapted)
    assert base is model
    assert before.differs_from(Fingerprint.of(base)) == ""
    assert torch.equal(base(input_ids=ids).logits, expected)


def test_memory_that_is_not_released_is_detected() -> None:
    assert Memory(0, 10).grown(Memory(2**20, 2**20)) == ""
    assert "100 MiB of the device" in Memory(0, 0).grown(Memory(100 * 2**20, 0))
    assert "2048 MiB of memory" in Memory(0, 0).grown(Memory(0, 2**31))


def test_the_same_base_is_lent_again_and_another_is_loaded(model_folder: Path) -> None:
    models = ResidentModel()
    first = models.load(ModelConfig(name=str(model_folder)))
    models.give_back(first)
    assert models.is_fit()
    assert models.load(ModelConfig(name=str(model_folder), adapter="anywhere")) is first
    assert models.load(ModelConfig(name=str(model_folder), model_args={"dtype": "bfloat16"})) is not first


def test_a_folder_that_was_edited_is_another_base(model_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "model")
    models = ResidentModel()
    first = models.load(ModelConfig(name=str(folder)))
    models.give_back(first)
    assert models.is_fit()
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"rms_norm_eps": 0.25}))
    second = models.load(ModelConfig(name=str(folder)))
    assert second is not first
    assert second.config.rms_norm_eps == 0.25


def test_code_of_ones_own_ends_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be edited before the next run, and Python would not import it again."""
    models = ResidentModel()
    importlib.import_module("this")
    assert models.is_fit()
    (tmp_path / "plug_of_ones_own.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("plug_of_ones_own")
    assert not models.is_fit()
    del sys.modules["plug_of_ones_own"]


def test_libraries_and_code_kept_by_its_content_are_nobodys_own() -> None:
    import peft

    for module in (peft, torch, json, pipeline):
        assert not is_own_code(module.__name__, Path(str(module.__file__)))
    cached = Path("/somewhere/modules/transformers_modules/0f3a/model.py")
    assert not is_own_code("transformers_modules.0f3a.model", cached)
    assert is_own_code("model", cached)


def test_a_base_that_was_changed_ends_the_process(model_folder: Path) -> None:
    models = ResidentModel()
    model = models.load(ModelConfig(name=str(model_folder)))
    double(model)
    models.give_back(model)
    assert not models.is_fit()


@pytest.mark.slow
def test_runs_on_a_kept_base_equal_runs_on_a_fresh_one(
    tmp_path: Path, make_config: Callable[..., dict[str, Any]]
) -> None:
    shapes: list[dict[str, Any]] = [
        {},
        {"lora": {"r": 2, "target_modules": "all-linear", "init_lora_weights": "pissa"}},
        {"lora": None, "adapter": {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 3}},
        {"dataset__shots": 0, "lora": None, "training": None},
        {},
    ]
    models, kept, fresh = ResidentModel(), ResultStore(tmp_path / "kept"), ResultStore(tmp_path / "fresh")
    for number, shape in enumerate(shapes):
        adapter = shape.pop("adapter", None)
        config = make_config(**shape) | ({"adapter": adapter} if adapter else {}) | {"seed": number}
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps(config), encoding="utf-8")
        experiment = load_experiment(path, "run-experiment", None)
        folders = [store.folder(experiment.id, experiment.slug) for store in (kept, fresh)]
        results = [
            pipeline.run(experiment, folder, source) for folder, source in zip(folders, (models, None), strict=True)
        ]
        assert models.is_fit()
        assert results[0].results == results[1].results
        assert results[0].training.get("loss_history") == results[1].training.get("loss_history")
        for name in ("label_scores.safetensors", "predictions.tsv", "adapter/adapter_model.safetensors"):
            files = [folder.path / name for folder in folders]
            assert files[0].exists() == files[1].exists()
            assert not files[0].exists() or files[0].read_bytes() == files[1].read_bytes(), (number, name)
