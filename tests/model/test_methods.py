"""PEFT's methods: trained by the pipeline's trainer, saved, reloaded in plain PEFT, scored; and unsupported ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel

from sft.config.checking.arguments import adapter_problems
from sft.config.sections.lora import REFUSED_TYPES, AdapterSection
from sft.config.sections.training import TrainingConfig
from sft.errors import ModelError
from sft.inference.classification import score_labels
from sft.model.adapters import create_adapter, load_adapter
from sft.model.saving import save_adapter
from sft.training import TrainingRow, TrainRequest, train

LINEAR = {"target_modules": "all-linear"}
METHODS: dict[str, dict[str, Any]] = {
    "LORA": {"r": 4, **LINEAR},
    "dora": {"peft_type": "LORA", "r": 4, "use_dora": True, **LINEAR},
    "rslora": {"peft_type": "LORA", "r": 4, "use_rslora": True, **LINEAR},
    "LOHA": {"r": 4, **LINEAR},
    "LOKR": {"r": 4, **LINEAR},
    "IA3": {},
    "VERA": {"r": 8, "target_modules": ["q_proj", "o_proj"]},
    "OFT": {"oft_block_size": 8, **LINEAR},
    "BOFT": {"boft_block_size": 8, "target_modules": ["q_proj", "up_proj"]},
    "HRA": {"r": 4, **LINEAR},
    "LN_TUNING": {"target_modules": ["input_layernorm", "post_attention_layernorm"]},
    "PROMPT_TUNING": {"num_virtual_tokens": 4},
    "P_TUNING": {"num_virtual_tokens": 4, "encoder_hidden_size": 16},
    "PREFIX_TUNING": {"num_virtual_tokens": 4},
    "ADAPTION_PROMPT": {"adapter_len": 4, "adapter_layers": 1},
}
FURTHER: dict[str, dict[str, Any]] = {
    "pissa": {"peft_type": "LORA", "r": 4, "init_lora_weights": "pissa", **LINEAR},
    "tokens": {"peft_type": "LORA", "r": 4, "target_modules": ["q_proj"], "trainable_token_indices": [3, 4]},
    "BEFT": {},
    "CARTRIDGE": {"num_virtual_tokens": 4, "num_frozen_tokens": 0},
    "FOURIERFT": {"n_frequency": 20, **LINEAR},
    "GLORA": {"target_modules": ["q_proj"]},
    "HIRA": {"target_modules": ["q_proj", "up_proj"]},
    "RANDLORA": {"target_modules": ["q_proj", "up_proj"]},
    "SHIRA": {"r": 4, "target_modules": ["q_proj"]},
    "VBLORA": {"r": 2, "num_vectors": 16, "vector_length": 8, "target_modules": ["q_proj"]},
    "DELORA": {"target_modules": ["q_proj", "up_proj"]},
    "MISS": {"r": 4, "target_modules": ["q_proj", "up_proj"]},
    "TRAINABLE_TOKENS": {"token_indices": [5, 6, 7]},
}
ROWS = [TrainingRow(list(range(index, 2 * index + 5)), [3 + index % 2, 4, 258]) for index in range(4)]
PROMPTS, LABELS = [row.prompt_ids for row in ROWS], [[3, 4, 258], [9, 258]]


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    ids = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8]])
    return model.eval()(input_ids=ids).logits[:, -8:]


@pytest.mark.filterwarnings("ignore::UserWarning:peft")
@pytest.mark.parametrize("name", [*METHODS, *(pytest.param(name, marks=pytest.mark.long) for name in FURTHER)])
def test_a_method_trains_saves_reloads_and_scores(
    make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path, name: str
) -> None:
    section = AdapterSection(**{"peft_type": name, **{**METHODS, **FURTHER}[name]})
    assert adapter_problems({"peft_type": section.peft_type, **section.arguments}) == []
    model = create_adapter(make_model(), None, section, 5)
    before = logits(model)
    config = TrainingConfig(trainer_args={"max_steps": 2, "learning_rate": 2e-2, "per_device_train_batch_size": 2})
    outcome = train(TrainRequest(model, tokenizer, ROWS, config, tmp_path / "work", 1))
    trained, scored = logits(model), score_labels(model, PROMPTS, LABELS).sum_logprob_NL
    assert outcome.steps == 2 and (trained - before).abs().max() > 5e-5
    save_adapter(model, tokenizer, tmp_path / "saved", "some/base")
    assert (tmp_path / "saved" / "chat_template.jinja").read_text() == tokenizer.chat_template
    plain = PeftModel.from_pretrained(make_model(), str(tmp_path / "saved"))
    assert torch.allclose(logits(plain), trained, atol=1e-5)
    ours = score_labels(load_adapter(make_model(), tmp_path / "saved"), PROMPTS, LABELS).sum_logprob_NL
    assert np.abs(ours - scored).max() < 1e-5
    whole = [[_whole(plain, prompt, label) for label in LABELS] for prompt in PROMPTS]
    assert np.abs(ours - np.array(whole)).max() < 1e-4


@torch.no_grad()
def _whole(model: Any, prompt: list[int], label: list[int]) -> float:
    """The score of a label without any of the engine's short cuts."""
    found = model(input_ids=torch.tensor([[*prompt, *label]])).logits[0, -len(label) - 1 : -1].log_softmax(-1)
    return float(found.gather(1, torch.tensor(label)[:, None]).sum())


@pytest.mark.parametrize("kind", REFUSED_TYPES)
def test_what_would_be_wrong_is_refused_before_anything_runs(make_model: Callable[..., Any], kind: str) -> None:
    (problem,) = adapter_problems({"peft_type": kind})
    assert problem.where == "adapter.peft_type" and "is not supported: " in problem.what
    with pytest.raises(ModelError, match=f"adapter.peft_type: {kind} is not supported: "):
        create_adapter(make_model(), None, AdapterSection(peft_type=kind), 5)
