"""How long the prompts of a run may be, what says so, and what becomes of examples when that is too short."""

from __future__ import annotations

from typing import NamedTuple

from sft.config.checking.arguments import translate_trainer_args
from sft.config.sections.schema import ExperimentConfig


class Limit(NamedTuple):
    """The most tokens of prompt and answer, and what sets them."""

    tokens: int | None
    name: str


class Room(NamedTuple):
    """The limit; how many examples go together when it is too short, and whether the last of them stay or the first."""

    limit: Limit
    round_size: int
    last_stay: bool


def evaluation_limit(config: ExperimentConfig, context: int | None) -> Limit:
    """Of the prompts of evaluated rows; `context` is what the model reads at most."""
    given = None if config.inference is None else config.inference.max_seq_length
    return _least(Limit(given, "inference.max_seq_length"), Limit(context, "what the model reads at most"))


def training_limit(config: ExperimentConfig, judging: Limit) -> Limit:
    """Of the prompts that are trained on: the trainer's `max_length` too, so that no answer is cut off there."""
    training = config.training
    given = (
        None
        if training is None
        else translate_trainer_args(training.trainer_args, training.method).args.get("max_length")
    )
    return _least(judging, Limit(None if given is None else int(given), "training.trainer_args.max_length"))


def _least(*limits: Limit) -> Limit:
    known = [limit for limit in limits if limit.tokens is not None]
    return min(known, key=lambda limit: limit.tokens or 0, default=Limit(None, "no limit"))
