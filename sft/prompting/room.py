"""The maximum prompt length of a run, the setting behind it, and the examples to drop if prompts are longer."""

from __future__ import annotations

from typing import NamedTuple

from sft.config.checking.arguments import translate_trainer_args
from sft.config.sections.schema import ExperimentConfig


class Limit(NamedTuple):
    """The maximum number of tokens of prompt and answer, and the setting behind it."""

    tokens: int | None
    name: str


class Room(NamedTuple):
    """A limit, the number of examples that are dropped together, and whether the last or the first ones are kept."""

    limit: Limit
    round_size: int
    last_stay: bool


def evaluation_limit(config: ExperimentConfig, context: int | None) -> Limit:
    """Return the limit of the prompts of evaluated rows; `context` is the context length of the model."""
    tokens = None if config.inference is None else config.inference.max_seq_length
    return _least(Limit(tokens, "inference.max_seq_length"), Limit(context, "the context length of the model"))


def training_limit(config: ExperimentConfig, evaluation: Limit) -> Limit:
    """Return the limit of training prompts, which includes the trainer's `max_length`, so that it cuts no answer."""
    training = config.training
    tokens = (
        None
        if training is None
        else translate_trainer_args(training.trainer_args, training.method).args.get("max_length")
    )
    return _least(evaluation, Limit(None if tokens is None else int(tokens), "training.trainer_args.max_length"))


def _least(*limits: Limit) -> Limit:
    known = [limit for limit in limits if limit.tokens is not None]
    return min(known, key=lambda limit: limit.tokens or 0, default=Limit(None, "no limit"))
