"""Full fine-tuning: supported models, saving, and the evaluation of a saved run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from sft import pipeline
from sft.config.experiment import Experiment
from sft.config.reading.load import parse_config
from sft.config.sections.model import ModelConfig, QuantizationConfig
from sft.config.sections.schema import Endpoint
from sft.errors import ModelError
from sft.model.full import open_to_training
from sft.model.load import load_model
from sft.model.resident import ResidentModel
from sft.results.schema import RunResult
from sft.results.store import ResultStore, RunFolder
from sft.steps.provenance import TrainingRecord

MakeConfig = Callable[..., dict[str, Any]]
WHOLE = {"full_finetuning": True, "trainer_args": {"max_steps": 2, "learning_rate": 1e-3}}


def experiment_of(data: dict[str, Any], endpoint: Endpoint = "run-experiment") -> Experiment:
    return Experiment("mine", parse_config(data, "mine.json", Path()), 13, endpoint)


def run(experiment: Experiment, root: Path, models: Any = None) -> tuple[RunFolder, RunResult]:
    folder = ResultStore(root).folder(experiment.id, experiment.slug)
    folder.path.mkdir(parents=True)
    return folder, pipeline.run(experiment, folder, models)


def evaluation_of(model: Path, make_config: MakeConfig, **changes: Any) -> dict[str, Any]:
    return make_config(**{"dataset__shots": 0, "lora": None, "training": None, "model__name": str(model), **changes})


def test_all_weights_are_trained_and_nothing_else(make_model: Callable[..., Any]) -> None:
    model = make_model()
    next(model.parameters()).requires_grad_(False)
    opened = open_to_training(model)
    assert opened is model and all(value.requires_grad for value in model.parameters()) and not model.training
    assert not hasattr(opened, "peft_config")


def test_models_that_cannot_be_fully_fine_tuned(
    make_model: Callable[..., Any], save_model: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    small = {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2, "vocab_size": 20}
    with pytest.raises(ModelError, match="is an encoder-decoder model; only decoder-only models can be trained"):
        open_to_training(T5ForConditionalGeneration(T5Config(**small)))
    pytest.importorskip("bitsandbytes")
    section = QuantizationConfig(config_class="BitsAndBytesConfig", args={"load_in_8bit": True})
    config = ModelConfig(name=save_model(), quantization=section, model_args={"device_map": "cpu"})
    with pytest.raises(ModelError, match=r"a quantised base \(bitsandbytes\) cannot be fully fine-tuned"):
        open_to_training(load_model(config))
    assert "rounds small updates to zero" not in caplog.text
    open_to_training(make_model().to(torch.bfloat16))
    assert "the weights are in bfloat16, which rounds small updates to zero" in caplog.text


def test_a_run_saves_the_whole_model_whose_evaluation_is_the_same(make_config: MakeConfig, tmp_path: Path) -> None:
    experiment = experiment_of(make_config(lora=None, training=WHOLE))
    folder, result = run(experiment, tmp_path / "trained")
    assert not folder.adapter.exists() and result.training["adapter"] == str(folder.model)
    base = load_model(experiment.config.model).state_dict()
    trained = AutoModelForCausalLM.from_pretrained(folder.model).state_dict()
    assert all(not torch.equal(trained[name], base[name]) for name in base)
    evaluated, again = run(experiment_of(evaluation_of(folder.model, make_config), "evaluate"), tmp_path / "evaluated")
    scores = [one.read_scores()["sum_logprob"] for one in (folder, evaluated)]
    assert np.abs(scores[0] - scores[1]).max() < 1e-5
    assert result.labelled_examples == again.labelled_examples == 6
    assert (again.shots["trained_on"], again.shots["adapter_labelled_examples"]) == (0, 6)
    assert again.results["accuracy"] == result.results["accuracy"]


def test_each_labelled_row_counts_once_through_a_chain_of_trainings(make_config: MakeConfig, tmp_path: Path) -> None:
    folder, _ = run(experiment_of(make_config(lora=None, training=WHOLE)), tmp_path / "first")
    more = make_config(dataset__shots=3, lora=None, training=WHOLE, model__name=str(folder.model))
    second, result = run(experiment_of(more), tmp_path / "second")
    record = TrainingRecord.in_folder(second.model)
    assert record is not None and record.trained_on == 9
    assert [one.labelled_examples for one in record.all()] == [9, 6]
    assert result.labelled_examples == len({*record.rows, *record.earlier[0].rows}) == 9  # nested shots
    _, evaluated = run(experiment_of(evaluation_of(second.model, make_config), "evaluate"), tmp_path / "third")
    assert evaluated.labelled_examples == 9


def test_a_lent_base_that_was_trained_is_not_lent_again(make_config: MakeConfig, tmp_path: Path) -> None:
    models = ResidentModel()
    experiment = experiment_of(make_config(lora=None, training=WHOLE))
    lent = models.load(experiment.config.model)
    run(experiment, tmp_path, models)
    assert not models.is_fit()
    again, fresh = models.load(experiment.config.model), load_model(experiment.config.model)
    assert again is not lent
    assert all(torch.equal(value, fresh.state_dict()[name]) for name, value in again.state_dict().items())


def test_training_again_continues_from_no_model_of_others(make_config: MakeConfig, tmp_path: Path) -> None:
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "config.json").write_text(json.dumps({"model_type": "llama"}))
    arguments = {**WHOLE["trainer_args"], "output_dir": str(tmp_path / "output")}
    config = make_config(lora=None, training={**WHOLE, "trainer_args": arguments})
    with pytest.raises(ModelError, match="contains a model that was not written by this tool"):
        pipeline.train(experiment_of(config, "train"))
    (tmp_path / "output" / "config.json").unlink()
    assert pipeline.train(experiment_of(config, "train")) == tmp_path / "output"
    assert not list((tmp_path / "output").glob(".*"))
    pipeline.train(experiment_of(config, "train"))  # over its own
    config["model"] = {"name": str(tmp_path / "output")}
    with pytest.raises(ModelError, match="contains the base itself"):
        pipeline.train(experiment_of(config, "train"))
