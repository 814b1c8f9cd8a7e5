"""Rows and losses that `train` rejects, and a user's own method."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sft.config.sections.training import TrainingConfig
from sft.errors import DataError, ModelError, UserError
from sft.training import TrainingRow, TrainOutcome, TrainRequest, train


def request_for(model: Any, rows: list[TrainingRow], method: str = "sft") -> TrainRequest:
    return TrainRequest(model, None, rows, TrainingConfig(method=method), Path("unused"), seed=0)  # type: ignore[arg-type]


def test_no_rows_are_rejected(make_model: Callable[..., Any]) -> None:
    with pytest.raises(DataError, match="expected at least one row"):
        train(request_for(make_model(), []))


def test_a_row_without_a_target_token_is_rejected(make_model: Callable[..., Any]) -> None:
    with pytest.raises(DataError, match=r"row 1 has no target token \(1 such"):
        train(request_for(make_model(), [TrainingRow([1], [2]), TrainingRow([1], [])]))


def test_a_row_without_a_prompt_is_rejected(make_model: Callable[..., Any]) -> None:
    with pytest.raises(DataError, match="row 0 has no prompt"):
        train(request_for(make_model(), [TrainingRow([], [1])]))


def test_ids_beyond_the_vocabulary_are_rejected(make_model: Callable[..., Any]) -> None:
    with pytest.raises(ModelError, match="it has id 300, the model 300 embeddings"):
        train(request_for(make_model(vocabulary=300), [TrainingRow([1], [300])]))


def test_an_unknown_method_is_rejected(make_model: Callable[..., Any]) -> None:
    with pytest.raises(UserError, match='unknown training method "sfft"; did you mean "sft"'):
        train(request_for(make_model(), [TrainingRow([1], [2])], "sfft"))


def test_a_users_method_runs_and_divergence_is_reported(
    make_model: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_method.py").write_text(
        "from sft.training import TrainOutcome\n"
        "def fine(request):\n"
        "    return TrainOutcome(1, 1.0, 0.0, 0.5, len(request.rows), ({'step': 1.0, 'loss': 0.5},))\n"
        "def diverging(request):\n"
        "    return TrainOutcome(2, 1.0, 0.0, 0.5, 1, ({'step': 7.0, 'loss': float('nan')},))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    rows = [TrainingRow([1], [2])]
    outcome = train(request_for(make_model(), rows, "own_method:fine"))
    assert isinstance(outcome, TrainOutcome)
    assert outcome.trained_tokens == 1
    with pytest.raises(
        ModelError, match=r"training diverged: the loss is NaN at step 7; lower training.trainer_args.learning_rate"
    ):
        train(request_for(make_model(), rows, "own_method:diverging"))


def test_a_preference_pair_is_one_row_with_two_completions() -> None:
    row = TrainingRow([1, 2], [3], rejected_ids=[4, 5, 6])
    assert (row.completions, len(row)) == (([3], [4, 5, 6]), 5)
    assert (TrainingRow([1, 2], [3]).completions, len(TrainingRow([1, 2], [3]))) == (([3],), 3)
