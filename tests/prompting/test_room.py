"""The smallest limit applies and is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sft.config.sections.schema import ExperimentConfig
from sft.prompting.room import Limit, evaluation_limit, training_limit


@pytest.mark.parametrize(
    ("max_seq_length", "context", "trainer", "evaluation", "training"),
    [
        (None, None, None, (None, "no limit"), (None, "no limit")),
        (90, None, None, (90, "inference.max_seq_length"), (90, "inference.max_seq_length")),
        (90, 80, 100, (80, "the context length of the model"), (80, "the context length of the model")),
        (90, 100, 80, (90, "inference.max_seq_length"), (80, "training.trainer_args.max_length")),
    ],
)
def test_limits(
    max_seq_length: int | None,
    context: int | None,
    trainer: int | None,
    evaluation: tuple[int | None, str],
    training: tuple[int | None, str],
    make_config: Callable[..., dict[str, Any]],
) -> None:
    arguments = {} if trainer is None else {"max_length": trainer}
    config = ExperimentConfig.model_validate(
        make_config(inference={"max_seq_length": max_seq_length}, training={"trainer_args": arguments})
    )
    limit = evaluation_limit(config, context)
    assert limit == Limit(*evaluation)
    assert training_limit(config, limit) == Limit(*training)
