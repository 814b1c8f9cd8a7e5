"""The model that is judged: the base, the base with a trained adapter, or the base trained on the shots."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sft.config.training import TrainingConfig
from sft.log import Progress, get_logger
from sft.model.adapters import create_adapter, load_adapter, save_adapter
from sft.model.load import load_model
from sft.prompting.plan import TrainingPrompts
from sft.steps.setup import Setup
from sft.training.base import TrainingRow, TrainOutcome, TrainRequest, train

log = get_logger(__name__)


@dataclass(frozen=True)
class Adapted:
    """The model, and what came of training it.

    Args:
        model: in eval mode.
        outcome: loss history and steps; None when nothing was trained.
        prompts: what was trained on.
        adapter: where the trained adapter lies.
    """

    model: Any
    outcome: TrainOutcome | None = None
    prompts: TrainingPrompts = TrainingPrompts((), (), 0)  # noqa: RUF009 - frozen
    adapter: Path | None = None


def adapt(setup: Setup, work: Path, place: Path, progress: Progress) -> Adapted:
    """Load the model, and train and save an adapter when the experiment trains.

    Args:
        setup: the experiment.
        work: folder for the trainer's intermediate checkpoints; removed afterwards.
        place: folder that receives the final adapter.
        progress: told of training steps.
    """
    config = setup.config
    if not setup.experiment.trains:
        return Adapted(_base(setup))
    prompts = setup.plan.training()  # before the model: bad rows fail early
    with setup.clock("load"):
        base = load_model(config.model)
    with setup.clock("adapter"):
        if config.model.adapter is not None:
            log.warning("model.adapter is not used: with shots, a new adapter is trained on the base")
        model = create_adapter(base, config.lora, config.adapter, setup.experiment.seed_of("init"))
    rows = [TrainingRow(list(one.ids), list(one.completion_ids)) for one in prompts.prompts]
    training, seed = config.training or TrainingConfig(), setup.experiment.seed_of("training")
    with setup.clock("train"):
        outcome = train(TrainRequest(model, setup.tokenizer, rows, training, work, seed, progress))
    with setup.clock("save"):
        save_adapter(model, setup.tokenizer, place, config.model.name)
        if work.is_dir():
            shutil.rmtree(work)
    return Adapted(model, outcome, prompts, place)


def _base(setup: Setup) -> Any:
    """The base model, with the adapter that the config names."""
    with setup.clock("load"):
        model = load_model(setup.config.model)
        if setup.config.model.adapter is not None:
            return load_adapter(model, setup.config.model.adapter)
        return model
