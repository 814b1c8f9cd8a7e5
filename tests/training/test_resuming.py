"""A training that was stopped or killed resumes with bit-identical results."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from sft import signals
from sft.config.sections.lora import AdapterSection, LoraSection
from sft.config.sections.model import ModelConfig, QuantizationConfig
from sft.config.sections.training import TrainingConfig
from sft.memory import halved
from sft.model.adapters import create_adapter
from sft.model.load import load_model
from sft.training import TrainingRow, TrainOutcome, TrainRequest, train
from sft.training.checkpoints import newest_complete, read_marker

ROWS = [TrainingRow(list(range(index, 2 * index + 5)), [3 + index % 2, 4, 258][: 1 + index % 3]) for index in range(13)]
STEPS = 8  # two epochs of four batches, the last one smaller


class Killed(BaseException):
    """Simulated crash."""


class Trained(NamedTuple):
    outcome: TrainOutcome
    weights: dict[str, torch.Tensor]


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
    before = {number: signal.getsignal(number) for number in numbers}
    signals.install_handlers()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def fit(make_model: Callable[..., Any], tokenizer: Any) -> Callable[..., Trained]:
    """Train from the base model: `fit(folder, adapter, at={3: event after step 3}, …, trainer arguments)`."""

    def run(
        folder: Path, made: Callable[[Any], Any] | None = None, at: dict[int, Any] | None = None, **arguments: Any
    ) -> Trained:
        changes = {key: arguments.pop(key) for key in ("identity", "rows", "seed") if key in arguments}
        times = arguments.pop("halvings", 0)
        batch = {} if "per_gpu_train_batch_size" in arguments else {"per_device_train_batch_size": 4}
        given = {"num_train_epochs": 2, "learning_rate": 1e-2, **batch, **arguments}

        def progress(phase: str, done: int, total: int, note: str = "") -> None:
            happens = (at or {}).get(done)
            if isinstance(happens, signal.Signals):
                signal.raise_signal(happens)
            elif happens is not None:
                raise happens

        torch.rand(3)  # stands for code that ran before
        model = (made or lora())(make_model())
        request = TrainRequest(model, tokenizer, ROWS, TrainingConfig(trainer_args=given), folder, 1, progress)
        with halved(times):
            outcome = train(replace(request, **changes))
        return Trained(outcome, {name: value.detach().clone() for name, value in model.named_parameters()})

    return run


def lora(**arguments: Any) -> Callable[[Any], Any]:
    section = LoraSection(**{"r": 4, "target_modules": "all-linear", "lora_dropout": 0.1, **arguments})
    return lambda base: create_adapter(base, section, None, 3)


def assert_same(actual: Trained, expected: Trained, resumed_from: int | None) -> None:
    outcome = replace(actual.outcome, seconds=expected.outcome.seconds, resumed_from=None)
    assert outcome == expected.outcome  # includes the whole loss history, bit by bit
    assert actual.outcome.resumed_from == resumed_from
    assert actual.weights.keys() == expected.weights.keys()
    assert all(torch.equal(value, expected.weights[name]) for name, value in actual.weights.items())


def stop_at(fit: Callable[..., Trained], folder: Path, step: int, *given: Any, **arguments: Any) -> None:
    with pytest.raises(SystemExit) as caught:
        fit(folder, *given, at={step: signal.SIGUSR1}, **arguments)
    assert caught.value.code == 128 + signal.SIGUSR1


ACCUMULATED = {"logging_steps": 3, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}


@pytest.mark.parametrize(
    ("step", "arguments"),
    [
        (1, {}),
        (7, ACCUMULATED),
        (STEPS, {}),
        pytest.param(3, {}, marks=pytest.mark.long),
        pytest.param(4, ACCUMULATED, marks=pytest.mark.long),
        pytest.param(STEPS, ACCUMULATED, marks=pytest.mark.long),
    ],
)
def test_a_training_that_a_signal_stopped_resumes(
    fit: Callable[..., Trained],
    tmp_path: Path,
    step: int,
    arguments: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole = fit(tmp_path / "whole", **arguments)
    stop_at(fit, tmp_path / "left", step, **arguments)
    caplog.set_level("INFO", logger="sft")
    assert_same(fit(tmp_path / "left", **arguments), whole, step)
    assert f"Resuming from step {step} of {STEPS}" in caplog.text
    assert not (tmp_path / "whole").exists() or not any((tmp_path / "whole").iterdir())


@pytest.mark.long
@pytest.mark.parametrize(
    "arguments",
    [
        {"logging_strategy": "epoch"},
        {"logging_strategy": "epoch", "save_strategy": "epoch"},
        {"logging_strategy": "no"},
        {"group_by_length": True},
        {"train_sampling_strategy": "batch_rebalance"},
        {"max_steps": 6, "gradient_checkpointing": True},
        {"lr_scheduler_type": "cosine", "warmup_steps": 3, "neftune_noise_alpha": 5},
    ],
    ids="-".join,
)
def test_with_other_arguments_too(fit: Callable[..., Trained], tmp_path: Path, arguments: dict[str, Any]) -> None:
    whole = fit(tmp_path / "whole", **arguments)
    for step in (3, 4, 5):
        stop_at(fit, tmp_path / str(step), step, **arguments)
        assert_same(fit(tmp_path / str(step), **arguments), whole, step)


@pytest.mark.long
def test_resuming_several_times(fit: Callable[..., Trained], tmp_path: Path) -> None:
    arguments = {"group_by_length": True}  # the order of an epoch's rows is drawn from the global generator
    whole = fit(tmp_path / "whole", **arguments)
    for step in (1, 4, 6, STEPS):
        stop_at(fit, tmp_path / "left", step, **arguments)
    again = fit(tmp_path / "left", **arguments)
    assert_same(again, whole, STEPS)
    assert again.outcome.seconds > 0


def any_adapter(peft_type: str, **arguments: Any) -> Callable[[Any], Any]:
    return lambda base: create_adapter(base, None, AdapterSection(peft_type=peft_type, **arguments), 3)


KINDS = {
    "modules_to_save": lora(
        init_lora_weights="gaussian", use_rslora=True, modules_to_save=["lm_head"], target_modules=["q_proj"]
    ),
    "dora": lora(use_dora=True),
    "ia3": any_adapter("IA3"),
    "prompt": any_adapter("PROMPT_TUNING", num_virtual_tokens=3),
    "prefix": any_adapter("PREFIX_TUNING", num_virtual_tokens=3),
    "projected prefix": any_adapter("PREFIX_TUNING", num_virtual_tokens=3, prefix_projection=True),
}


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(lora(init_lora_weights="pissa"), id="pissa"),
        pytest.param(any_adapter("P_TUNING", num_virtual_tokens=3), id="p-tuning"),
        *(pytest.param(made, id=name, marks=pytest.mark.long) for name, made in KINDS.items()),
    ],
)
def test_every_kind_of_adapter(fit: Callable[..., Trained], tmp_path: Path, made: Any) -> None:
    whole = fit(tmp_path / "whole", made)
    stop_at(fit, tmp_path / "left", 3, made)
    assert_same(fit(tmp_path / "left", made), whole, 3)


def test_a_training_that_ended_in_mid_epoch_takes_no_further_step(fit: Callable[..., Trained], tmp_path: Path) -> None:
    """Thirteen rows in fours: four steps an epoch."""
    given = {"max_steps": 5, "lr_scheduler_type": "constant"}
    whole = fit(tmp_path / "whole", **given)
    stop_at(fit, tmp_path / "left", 5, **given)
    assert_same(fit(tmp_path / "left", **given), whole, 5)


def test_a_held_start_comes_from_the_checkpoint_not_from_the_initialiser(
    fit: Callable[..., Trained], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "never_the_same.py").write_text(
        "import torch\n"
        "def drawn(layer, rank, dtype):\n"
        "    generator = torch.Generator()\n"
        "    generator.seed()\n"
        "    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=dtype)\n"
        "    return {'lora_A': draw(rank, layer.in_features), 'lora_B': draw(layer.out_features, rank)}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    made = lora(init_lora_weights="never_the_same:drawn")
    starts: list[dict[str, torch.Tensor]] = []

    def noted(base: Any) -> Any:
        model = made(base)
        starts.append({name: value.detach().clone() for name, value in model.named_parameters() if "held" in name})
        return model

    stop_at(fit, tmp_path / "left", 3, noted)
    end = fit(tmp_path / "left", noted)
    assert end.outcome.resumed_from == 3
    for name, value in starts[0].items():
        assert torch.equal(end.weights[name], value) and not torch.equal(starts[1][name], value)


@pytest.mark.long
@pytest.mark.parametrize("args", [{"load_in_8bit": True, "llm_int8_threshold": 0.0}, {"load_in_4bit": True}])
def test_quantised_bases(
    fit: Callable[..., Trained], make_model: Callable[..., Any], tmp_path: Path, args: Any
) -> None:
    pytest.importorskip("bitsandbytes")
    make_model(hidden_size=128, intermediate_size=256, head_dim=32).save_pretrained(tmp_path / "base")
    section = QuantizationConfig(config_class="BitsAndBytesConfig", args=args)
    config = ModelConfig(name=str(tmp_path / "base"), quantization=section, model_args={"device_map": "cpu"})
    pissa = lora(init_lora_weights="pissa")

    def made(_: Any) -> Any:
        return pissa(load_model(config))

    whole = fit(tmp_path / "whole", made)
    stop_at(fit, tmp_path / "left", 3, made)
    again = fit(tmp_path / "left", made)
    assert_same(again, whole, 3)
    trained = [value for name, value in again.weights.items() if ".default." in name]
    assert all(value.dtype == torch.float32 for value in trained)
    assert any(bool((value != value.bfloat16().float()).any()) for value in trained)


def test_after_a_crash_the_newest_intact_checkpoint_is_used(
    fit: Callable[..., Trained], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    saving = {"save_strategy": "steps", "save_steps": 2}
    whole = fit(tmp_path / "whole", **saving)
    with pytest.raises(Killed):
        fit(tmp_path / "cut", at={7: Killed()}, **saving)
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == [f"checkpoint-{step}" for step in (2, 4, 6)]
    cases: list[tuple[int, str, Callable[[Path], Any]]] = [
        (6, "", lambda newest: None),
        (4, "checkpoint-6 (optimizer.pt differs", lambda newest: (newest / "optimizer.pt").write_bytes(b"short")),
    ]
    for step, message, damage in cases:
        shutil.rmtree(tmp_path / "again", ignore_errors=True)
        shutil.copytree(tmp_path / "cut", tmp_path / "again")
        damage(tmp_path / "again" / "checkpoint-6")
        caplog.clear()
        assert_same(fit(tmp_path / "again", **saving), whole, step)
        assert message in caplog.text


def test_the_checkpoint_of_another_training_is_not_used(
    fit: Callable[..., Trained], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stop_at(fit, tmp_path / "left", 3)
    changes: list[dict[str, Any]] = [
        {"rows": ROWS[1:]},
        {"identity": "another"},
        {"learning_rate": 2e-2},
        {"made": lora(r=2)},
    ]
    for index, change in enumerate(changes):
        shutil.copytree(tmp_path / "left", tmp_path / str(index))
        caplog.clear()
        assert fit(tmp_path / str(index), **change).outcome.resumed_from is None
        assert "checkpoint-3 (from another training)" in caplog.text


def test_arguments_for_logging_and_saving_do_not_change_the_training(
    fit: Callable[..., Trained], tmp_path: Path
) -> None:
    stop_at(fit, tmp_path / "left", 3)
    again = fit(tmp_path / "left", save_strategy="epoch", logging_steps=1, run_name="another", save_total_limit=1)
    assert_same(again, fit(tmp_path / "whole"), 3)


def test_halved_batches_give_the_same_steps_and_use_the_checkpoints_of_full_ones(
    fit: Callable[..., Trained], tmp_path: Path
) -> None:
    made = lora(lora_dropout=0.0)
    whole = fit(tmp_path / "whole", made, per_device_train_batch_size=8)
    stop_at(fit, tmp_path / "left", 3, made, per_device_train_batch_size=8)
    attempts = [("new", None, 9, (1, 8)), ("left", 3, 1, (4, 2))]
    for folder, step, halvings, split in attempts:
        given = fit(tmp_path / folder, made, per_gpu_train_batch_size=8, halvings=halvings)
        assert (given.outcome.per_device_batch, given.outcome.accumulation) == split
        assert (given.outcome.steps, given.outcome.resumed_from) == (4, step)
        for name in ("step", "loss", "learning_rate", "grad_norm"):  # 13 rows: the last batch of an epoch is smaller
            found, expected = ([entry[name] for entry in one.outcome.loss_history] for one in (given, whole))
            assert found == pytest.approx(expected, rel=1e-5)
        for name, value in given.weights.items():
            assert torch.allclose(value, whole.weights[name], rtol=1e-4, atol=1e-6)


def test_parts_are_weighted_by_tokens_in_models_that_accept_no_loss_arguments(
    fit: Callable[..., Trained], make_model: Callable[..., Any], tmp_path: Path
) -> None:
    def made(base: Any) -> Any:
        base.accepts_loss_kwargs = False  # as Gemma 4 and others declare
        return lora(lora_dropout=0.0)(base)

    whole = fit(tmp_path, made, per_device_train_batch_size=8)
    halved = fit(tmp_path, made, per_device_train_batch_size=8, halvings=2)
    assert [entry["loss"] for entry in halved.outcome.loss_history] == pytest.approx(
        [entry["loss"] for entry in whole.outcome.loss_history], rel=1e-5
    )


def test_old_checkpoints_are_removed_only_after_the_next_is_complete(
    fit: Callable[..., Trained], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import Trainer

    seen: list[list[str]] = []
    save = Trainer._save_rng_state

    def watched(trainer: Any, folder: str) -> None:
        seen.append(sorted(path.parent.name for path in tmp_path.glob("checkpoint-*/complete.json")))
        save(trainer, folder)

    monkeypatch.setattr(Trainer, "_save_rng_state", watched)
    fit(tmp_path, save_strategy="steps", save_steps=2, save_total_limit=1, save_only_model=True)
    assert seen == [[], ["checkpoint-2"], ["checkpoint-4"], ["checkpoint-6"]]
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-8"]
    assert not (tmp_path / "checkpoint-8" / "training_args.bin").exists()  # a pickle, with the user's tokens in it


def test_losses_not_yet_logged_are_kept(fit: Callable[..., Trained], tmp_path: Path) -> None:
    stop_at(fit, tmp_path, 3, logging_steps=2)
    folder = sorted(tmp_path.glob("checkpoint-*"))[0]
    marker = read_marker(folder)
    assert marker is not None
    assert newest_complete(tmp_path, marker.work) == folder
    assert marker.state["loss"]["logged_step"] == 2
    assert float.fromhex(marker.state["loss"]["since_log"]) > 0


def test_a_folder_that_is_not_ours_is_not_touched(fit: Callable[..., Trained], tmp_path: Path) -> None:
    from sft.errors import UserError

    (tmp_path / "checkpoint-2").mkdir()
    (tmp_path / "checkpoint-2" / "mine").write_text("mine")
    with pytest.raises(UserError, match="expected a free path for a checkpoint"):
        fit(tmp_path, save_strategy="steps", save_steps=2)
    assert (tmp_path / "checkpoint-2" / "mine").read_text() == "mine"
