"""The least limit counts, and is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sft.config.sections.schema import ExperimentConfig
from sft.prompting.room import Limit, evaluation_limit, training_limit


@pytest.mark.parametrize(
    ("given", "context", "trainer", "judging", "training"),
    [
        (None, None, None, (None, "no limit"), (None, "no limit")),
        (90, None, None, (90, "inference.max_seq_length"), (90, "inference.max_seq_length")),
        (90, 80, 100, (80, "what the model reads at most"), (80, "what the model reads at most")),
        (90, 100, 80, (90, "inference.max_seq_length"), (80, "training.trainer_args.max_length")),
    ],
)
def test_limits(
    given: int | None,
    context: int | None,
    trainer: int | None,
    judging: tuple[int | None, str],
    training: tuple[int | None, str],
    make_config: Callable[..., dict[str, Any]],
) -> None:
    arguments = {} if trainer is None else {"max_length": trainer}
    config = ExperimentConfig.model_validate(
        make_config(inference={"max_seq_length": given}, training={"trainer_args": arguments})
    )
    found = evaluation_limit(config, context)
    assert found == Limit(*judging)
    assert training_limit(config, found) == Limit(*training)
