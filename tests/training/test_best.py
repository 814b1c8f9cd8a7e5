"""Validation rows: their loss, the best weights, early stopping, and all of that when resuming."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch.nn.functional import cross_entropy

from sft import signals
from sft.config.sections.lora import AdapterSection, LoraSection
from sft.config.sections.training import TrainingConfig
from sft.errors import ConfigError
from sft.model.adapters import create_adapter
from sft.training import TrainingRow, TrainOutcome, TrainRequest, train
from sft.training.best import BestWeights

ROWS = [TrainingRow([9, 8, 7, *range(index, 2 * index + 3)], [30 + index % 2, 4, 258]) for index in range(12)]
OTHERS = [TrainingRow([9, 8, 7, *range(index, 2 * index + 4)], [31 - index % 2, 5, 258]) for index in range(5)]


class Trained(NamedTuple):
    outcome: TrainOutcome
    model: Any


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = signal.getsignal(signal.SIGUSR1)
    signals.install_handlers()
    yield
    signal.signal(signal.SIGUSR1, before)


@pytest.fixture
def fit(make_model: Callable[..., Any], tokenizer: Any) -> Callable[..., Trained]:
    """Train with validation: `fit(folder, patience, at={3: signal}, lora arguments, **trainer arguments)`."""

    def run(
        folder: Path, patience: int | None = None, at: dict[int, Any] | None = None, dropout: float = 0.0, **given: Any
    ) -> Trained:
        def progress(phase: str, done: int, total: int, note: str = "") -> None:
            if done in (at or {}):
                signal.raise_signal(signal.SIGUSR1)

        lora = LoraSection(r=4, target_modules="all-linear", lora_dropout=dropout)
        model = create_adapter(make_model(), lora, None, 3)
        arguments = {"num_train_epochs": 6, "learning_rate": 2e-2, "per_device_train_batch_size": 4, **given}
        config = TrainingConfig(trainer_args=arguments, validation_size=5, early_stopping_patience=patience)
        request = TrainRequest(model, tokenizer, ROWS, config, folder, 1, progress, validation=OTHERS)
        return Trained(train(request), model)

    return run


@torch.no_grad()
def loss_of(model: Any, rows: list[TrainingRow]) -> float:
    """Return the loss of the answer tokens, row by row, as the reference."""
    parts = []
    for row in rows:
        ids = torch.tensor([row.prompt_ids + row.completion_ids])
        start = len(row.prompt_ids)
        parts.append(cross_entropy(model(input_ids=ids).logits[0, start - 1 : -1], ids[0, start:], reduction="none"))
    return float(torch.cat(parts).mean())


def validation(trained: Trained) -> list[float]:
    return [entry["loss"] for entry in trained.outcome.validation_history]


@pytest.mark.parametrize("dropout", [0.0, 0.1], ids=["packed", "padded"])
def test_the_weights_with_the_lowest_loss_are_kept(fit: Callable[..., Trained], tmp_path: Path, dropout: float) -> None:
    trained = fit(tmp_path, dropout=dropout, learning_rate=5e-2)
    history = validation(trained)
    assert len(history) == 6 and trained.outcome.steps == 18
    best = min(range(6), key=lambda epoch: history[epoch])
    assert best < 5  # otherwise the last weights would pass too
    assert trained.outcome.best_step == 3 * (best + 1)
    assert loss_of(trained.model, OTHERS) == pytest.approx(history[best], abs=1e-5)


def test_training_stops_when_patience_is_exhausted(fit: Callable[..., Trained], tmp_path: Path) -> None:
    whole, stopped = fit(tmp_path / "whole"), fit(tmp_path / "stopped", patience=2)
    history = validation(stopped)
    best = min(range(len(history)), key=lambda epoch: history[epoch])
    assert len(history) == best + 3 < 6
    assert history == validation(whole)[: len(history)]
    assert stopped.outcome.steps == 3 * len(history)


@pytest.mark.parametrize(("step", "given"), [(5, {}), (9, {}), (3, {"eval_strategy": "steps", "eval_steps": 2})])
def test_a_resumed_training_knows_the_best_weights(
    fit: Callable[..., Trained], tmp_path: Path, step: int, given: dict[str, Any]
) -> None:
    whole = fit(tmp_path / "whole", patience=3, **given)
    with pytest.raises(SystemExit):
        fit(tmp_path / "left", patience=3, at={step: True}, **given)
    resumed = fit(tmp_path / "left", patience=3, **given)
    expected = replace(whole.outcome, seconds=resumed.outcome.seconds, resumed_from=step)
    assert resumed.outcome == expected
    for name, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name


def test_a_signal_during_the_last_evaluation(
    fit: Callable[..., Trained], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit(tmp_path / "whole")
    on_evaluate = BestWeights.on_evaluate

    def interrupted(self: Any, args: Any, state: Any, control: Any, **context: Any) -> None:
        on_evaluate(self, args, state, control, **context)
        if state.global_step == 18:
            signal.raise_signal(signal.SIGUSR1)

    with monkeypatch.context() as context, pytest.raises(SystemExit):
        context.setattr(BestWeights, "on_evaluate", interrupted)
        fit(tmp_path / "left")
    resumed = fit(tmp_path / "left")
    assert resumed.outcome == replace(whole.outcome, seconds=resumed.outcome.seconds, resumed_from=18)


def test_the_evaluation_at_the_start_is_not_repeated_when_resuming(fit: Callable[..., Trained], tmp_path: Path) -> None:
    given = {"eval_on_start": True, "num_train_epochs": 2}
    whole = fit(tmp_path / "whole", **given)
    with pytest.raises(SystemExit):
        fit(tmp_path / "left", at={4: True}, **given)
    resumed = fit(tmp_path / "left", **given)
    assert resumed.outcome == replace(whole.outcome, seconds=resumed.outcome.seconds, resumed_from=4)
    assert [entry["step"] for entry in whole.outcome.validation_history] == [0, 3, 6]


@pytest.mark.parametrize("family", ["mistral", "gemma3_text"])
def test_validation_rows_may_be_longer_than_training_rows(
    make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path, family: str
) -> None:
    """The validation rows are longer than the model's window, the training rows are not."""
    kinds = {"layer_types": ["sliding_attention", "full_attention"]} if family == "gemma3_text" else {}
    longer = [TrainingRow([9, 8, 7, *range(40 + row, 100 + row)], [31, 5]) for row in range(4)]
    losses = []
    for shared in (True, False):
        model = make_model(family, sliding_window=30, **kinds)
        adapted = create_adapter(model, LoraSection(r=4, target_modules="all-linear"), None, 3)
        config = TrainingConfig(trainer_args={"num_train_epochs": 1}, validation_size=4, shared_prefix=shared)
        request = TrainRequest(adapted, tokenizer, ROWS, config, tmp_path, 1, validation=longer)
        losses.append(train(request).validation_history[0]["loss"])
        assert loss_of(adapted, longer) == pytest.approx(losses[-1], abs=1e-5)
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


@pytest.mark.parametrize("given", [{"label_smoothing_factor": 0.1}, {}], ids=["smoothing", "virtual tokens"])
def test_rows_are_evaluated_with_the_trainers_own_loss_too(
    make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path, given: dict[str, Any]
) -> None:
    section = AdapterSection(peft_type="PROMPT_TUNING", num_virtual_tokens=3)
    lora = LoraSection(r=4, target_modules="all-linear")
    made = [create_adapter(make_model(), *((lora, None) if given else (None, section)), 3) for _ in range(2)]
    losses = []
    for model, batch in zip(made, (5, 2), strict=True):
        arguments = {"num_train_epochs": 1, "per_device_eval_batch_size": batch, **given}
        config = TrainingConfig(trainer_args=arguments, validation_size=5)
        request = TrainRequest(model, tokenizer, ROWS, config, tmp_path, 1, validation=OTHERS)
        losses.append(train(request).validation_history[0]["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)  # a mean over tokens, however they are batched


def test_a_stopped_training_stays_stopped_when_resumed(fit: Callable[..., Trained], tmp_path: Path) -> None:
    """As after a crash between the end of the training and the run's result."""
    first = fit(tmp_path, patience=1, save_strategy="epoch")
    again = fit(tmp_path, patience=1, save_strategy="epoch")
    assert again.outcome.resumed_from == first.outcome.steps
    assert replace(again.outcome, resumed_from=None, seconds=0.0) == replace(first.outcome, seconds=0.0)
    for name, value in first.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], value), name
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize(
    "given",
    [
        {"load_best_model_at_end": True},
        {"metric_for_best_model": "accuracy"},
        {"save_strategy": "best"},
        {"eval_strategy": "no"},
        {"auto_find_batch_size": True},
    ],
)
def test_the_trainers_own_early_stopping_is_rejected(
    fit: Callable[..., Trained], tmp_path: Path, given: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=next(iter(given))):
        fit(tmp_path, **given)
