"""Fine-tuning on the answers: the mask, the arithmetic, reproducibility, and a model restored afterwards."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from sft.config.sections.lora import LoraSection
from sft.config.sections.model import ModelConfig, QuantizationConfig
from sft.config.sections.training import TrainingConfig
from sft.errors import UserError
from sft.model.adapters import create_adapter
from sft.model.load import load_model
from sft.training import TrainingRow, TrainOutcome, TrainRequest, train
from sft.training.collators import CompletionCollator
from sft.training.methods import sft

ROWS = [TrainingRow(list(range(index, 2 * index + 5)), [3 + index % 2, 4, 258]) for index in range(12)]


def adapted(model: Any, seed: int = 3, **lora: Any) -> Any:
    return create_adapter(model, LoraSection(r=4, target_modules="all-linear", **lora), None, seed)


def fit(model: Any, tokenizer: Any, folder: Path, seed: int = 1, rows: Any = ROWS, **arguments: Any) -> TrainOutcome:
    given = {"num_train_epochs": 2, "learning_rate": 1e-2, "per_device_train_batch_size": 4, **arguments}
    return train(TrainRequest(model, tokenizer, rows, TrainingConfig(trainer_args=given), folder, seed))


def losses(outcome: TrainOutcome) -> list[float]:
    return [entry["loss"] for entry in outcome.loss_history]


def mean_answer_loss(model: Any, rows: list[TrainingRow]) -> float:
    """Return the cross-entropy of the answer tokens, row by row and without padding, as the reference."""
    parts = []
    for row in rows:
        ids = torch.tensor([row.prompt_ids + row.completion_ids])
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0]
        start = len(row.prompt_ids)
        parts.append(cross_entropy(logits[start - 1 : -1], ids[0, start:], reduction="none"))
    return float(torch.cat(parts).mean())


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_first_loss_is_the_cross_entropy_of_the_answers_alone(
    make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path, family: str
) -> None:
    overrides = {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0} if family == "gpt2" else {}
    model = adapted(make_model(family, **overrides))
    expected = mean_answer_loss(model, ROWS)
    outcome = fit(model, tokenizer, tmp_path, per_device_train_batch_size=len(ROWS))
    assert losses(outcome)[0] == pytest.approx(expected, abs=1e-5)
    prompts = [TrainingRow(row.prompt_ids[:1], row.prompt_ids[1:] + row.completion_ids) for row in ROWS]
    unmasked = mean_answer_loss(adapted(make_model(family, **overrides)), prompts)
    assert abs(unmasked - expected) > 1e-3  # so a missing mask would be detected


def test_the_loss_falls_and_progress_is_reported(
    make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path
) -> None:
    reported: list[tuple[str, int, int, str]] = []
    model = adapted(make_model())
    before = mean_answer_loss(model, ROWS)

    def progress(phase: str, done: int, total: int, note: str = "") -> None:
        reported.append((phase, done, total, note))

    config = TrainingConfig(
        trainer_args={"num_train_epochs": 4, "learning_rate": 1e-2, "per_device_train_batch_size": 4}
    )
    outcome = train(TrainRequest(model, tokenizer, ROWS, config, tmp_path, 1, progress))
    assert mean_answer_loss(model, ROWS) < before - 0.3
    assert (outcome.steps, outcome.epochs, outcome.trained_tokens) == (12, 4.0, 36)
    assert [entry["step"] for entry in outcome.loss_history] == list(range(1, 13))
    assert set(outcome.loss_history[0]) == {"step", "epoch", "loss", "learning_rate", "grad_norm"}
    assert outcome.loss_history[0]["learning_rate"] == pytest.approx(1e-2)  # no warm-up step is wasted
    assert outcome.train_loss == pytest.approx(sum(losses(outcome)) / 12, rel=1e-4)
    assert reported[-1] == ("train", 12, 12, f"loss {losses(outcome)[-1]:.2f}")
    assert not model.training


def test_a_seed_gives_the_same_curve_bit_by_bit(make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path) -> None:
    curves = [
        losses(fit(adapted(make_model(), init, lora_dropout=0.1), tokenizer, tmp_path, order))
        for init, order in ((3, 1), (3, 1), (4, 1), (3, 2))
    ]
    assert curves[0] == curves[1]
    assert curves[0][1:] != curves[2][1:]  # another initialisation
    assert curves[0] != curves[3]  # another order of the rows


def test_the_padding_id_does_not_matter(
    make_model: Callable[..., Any], make_tokenizer: Callable[..., Any], tmp_path: Path
) -> None:
    without = make_tokenizer(specials=())
    assert without.pad_token is None and without.eos_token is None
    curve = losses(fit(adapted(make_model()), without, tmp_path))
    assert curve == losses(fit(adapted(make_model()), make_tokenizer(), tmp_path))


def test_tokenizer_and_model_are_restored(
    make_model: Callable[..., Any], make_tokenizer: Callable[..., Any], tmp_path: Path
) -> None:
    tokenizer = make_tokenizer(specials=("<|im_end|>",))
    base = make_model(eos_token_id=7)
    model = adapted(base)
    config, generation = copy.deepcopy(base.config.to_dict()), copy.deepcopy(base.generation_config.to_dict())
    frozen = {name: value.clone() for name, value in model.named_parameters() if not value.requires_grad}
    fit(model, tokenizer, tmp_path, gradient_checkpointing=True)
    assert tokenizer.pad_token is None and len(tokenizer) == 257
    assert base.config.to_dict() == config
    assert base.generation_config.to_dict() == generation
    assert "forward" not in vars(base) and "forward" not in vars(model)
    assert not base.is_activation_checkpointing
    named = dict(model.named_parameters())
    assert all(torch.equal(named[name], value) for name, value in frozen.items())


def test_the_users_arguments_override_defaults_and_old_names_are_accepted(
    make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path
) -> None:
    outcome = fit(adapted(make_model()), tokenizer, tmp_path, max_steps=4, warmup_ratio=0.5, logging_steps=2)
    assert outcome.steps == 4
    assert [entry["step"] for entry in outcome.loss_history] == [2, 4]
    assert outcome.loss_history[0]["learning_rate"] == pytest.approx(5e-3)  # half way up


def test_checkpoints_go_to_the_work_folder_only(make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path) -> None:
    mine = tmp_path / "out" / "checkpoint-1"
    mine.mkdir(parents=True)
    (mine / "kept").touch()
    fit(
        adapted(make_model()), tokenizer, tmp_path / "work", save_strategy="steps", save_steps=2, save_total_limit=1,
        output_dir=str(tmp_path / "out"),
    )  # fmt: skip
    assert [path.name for path in (tmp_path / "work").glob("checkpoint-*")] == ["checkpoint-6"]
    assert [path.name for path in (tmp_path / "out").rglob("*")] == ["checkpoint-1", "kept"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_length": 8}, "max_length 8 would truncate answers"),
        ({"packing": True}, "remove packing"),
        ({"padding_free": True}, "remove packing"),
        ({"learning_rat": 1}, "learning_rat"),
        ({"overwrite_output_dir": True}, "no longer an argument"),
        ({"assistant_only_loss": True}, "assistant_only_loss"),
        ({"eval_strategy": "steps"}, "eval_strategy"),
    ],
)
def test_arguments_that_cannot_work_are_rejected(
    make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        fit(adapted(make_model()), tokenizer, tmp_path, **arguments)
    assert str(caught.value).startswith("training.trainer_args")
    assert "\n" not in str(caught.value)


def test_on_a_quantised_base_the_adapter_stays_in_float32(
    make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path
) -> None:
    pytest.importorskip("bitsandbytes")
    folder = str(tmp_path / "base")
    make_model(hidden_size=64, head_dim=16).save_pretrained(folder)
    section = QuantizationConfig(config_class="BitsAndBytesConfig", args={"load_in_8bit": True})
    model = adapted(load_model(ModelConfig(name=folder, quantization=section)), init_lora_weights="pissa")
    start = {name: value.clone() for name, value in model.named_parameters() if "lora_" in name}
    fit(model, tokenizer, tmp_path / "work")
    for name, value in model.named_parameters():
        if ".default." in name:
            assert value.dtype == torch.float32
            assert bool((value != value.bfloat16().float()).any()) and not torch.equal(value, start[name])
        elif ".held." in name:
            assert torch.equal(value, start[name])


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2", "gemma", "mistral"])
@pytest.mark.parametrize("shared", [None, False], ids=["packed", "padded"])
def test_the_head_computes_only_the_logits_for_answers(
    make_model: Callable[..., Any],
    tokenizer: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    family: str,
    shared: bool | None,
) -> None:
    still = {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0} if family == "gpt2" else {}
    rows = [TrainingRow([7, 8, 9, *range(n, 2 * n + 5)], list(range(40, 41 + n % 4))) for n in range(7)]
    curves, sizes = [], []
    for ours in (True, False):
        if not ours:
            monkeypatch.setattr(sft, "choose_collator", lambda *_: CompletionCollator(0))
        model = adapted(make_model(family, **still))
        seen: list[int] = []
        arguments = {"gradient_accumulation_steps": 2, "max_steps": 4, "num_train_epochs": 2, "learning_rate": 1e-2}
        given = TrainingConfig(trainer_args={**arguments, "per_device_train_batch_size": 4}, shared_prefix=shared)
        head = model.get_output_embeddings()
        hook = lambda _, args, __, seen=seen: seen.append(args[0].flatten(0, -2).shape[0])  # noqa: E731
        request = TrainRequest(model, tokenizer, rows, given, tmp_path / str(ours), 1)
        with monkeypatch.context() as context:
            context.setattr(sft.AnswerTrainer, "train", hooked(sft.AnswerTrainer.train, head, hook))
            curves.append(train(request).loss_history)
        sizes.append(seen)
    assert sum(sizes[0]) == 4 * sum(len(row.completion_ids) for row in rows)  # four epochs
    assert not sizes[1]  # TRL multiplies by the head's weights itself
    for point, expected in zip(*curves, strict=True):
        assert point["loss"] == pytest.approx(expected["loss"], rel=1e-5)
        assert point["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-4)


def hooked(method: Callable[..., Any], module: torch.nn.Module, hook: Any) -> Callable[..., Any]:
    """Return the method with a forward hook on a module while it runs."""

    def run(*args: Any, **options: Any) -> Any:
        handle = module.register_forward_hook(hook)
        try:
            return method(*args, **options)
        finally:
            handle.remove()

    return run
