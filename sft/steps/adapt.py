"""The model that is judged: the base, the base with a trained adapter, or the base trained on the shots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sft.config.training import TrainingConfig
from sft.dataset.task import train_key
from sft.io import check_writable
from sft.log import Progress, get_logger
from sft.model.adapters import create_adapter, load_adapter, read_record, save_adapter
from sft.prompting.planned import TrainingPrompts
from sft.steps.setup import Setup
from sft.training.base import TrainingRow, TrainOutcome, TrainRequest, train

log = get_logger(__name__)


@dataclass(frozen=True)
class AdapterRecord:
    """What `sft.json` beside an adapter says.

    Args:
        run: id of the run that trained it.
        labelled_examples: labelled rows that its training used, trained on or shown.
        trained_on: how many of them were trained on.
        train_key: of the rows that they were taken from (see `sft.dataset.task.train_key`).
        rows: their numbers there.
    """

    run: str
    labelled_examples: int
    trained_on: int
    train_key: str
    rows: tuple[int, ...]

    @staticmethod
    def of(record: Mapping[str, Any] | None) -> AdapterRecord | None:
        """The record as read from its file; None where it is not one of ours."""
        if record is None:
            return None
        try:
            numbers = tuple(int(row) for row in record["rows"])
            counts = int(record["labelled_examples"]), int(record["trained_on"])
            return AdapterRecord(str(record["run"]), *counts, str(record["train_key"]), numbers)
        except (KeyError, TypeError, ValueError):
            return None


@dataclass(frozen=True)
class Adapted:
    """The model, and what came of training it.

    Args:
        model: in eval mode.
        outcome: loss history and steps; None when nothing was trained.
        prompts: what was trained on.
        adapter: where the trained adapter lies.
        loads_adapter: whether the adapter is one that was trained before (`model.adapter`).
        record: what is known of how that one was trained.
    """

    model: Any
    outcome: TrainOutcome | None = None
    prompts: TrainingPrompts = TrainingPrompts((), (), 0)  # noqa: RUF009 - frozen
    adapter: Path | None = None
    loads_adapter: bool = False
    record: AdapterRecord | None = None

    @property
    def labelled_rows(self) -> frozenset[int]:
        """Rows of the train split that training used: trained on, or shown in a prompt that was trained on."""
        return frozenset(self.prompts.rows).union(*self.prompts.shown)


def adapt(setup: Setup, work: Path, place: Path, progress: Progress) -> Adapted:
    """Load the model, and train and save an adapter when the experiment trains.

    Args:
        setup: the experiment.
        work: folder for the trainer's intermediate checkpoints, which are resumed from. They stay.
        place: folder that receives the final adapter.
        progress: told of training steps.
    """
    config = setup.config
    if not setup.experiment.trains:
        return _base(setup)
    check_writable(place, "choose another training.trainer_args.output_dir")
    prompts = setup.plan.training()  # before the model: bad rows fail early
    with setup.clock("load"):
        base = setup.models.load(config.model)
    with setup.clock("adapter"):
        if config.model.adapter is not None:
            log.warning("model.adapter is not used: with shots, a new adapter is trained on the base")
        model = create_adapter(base, config.lora, config.adapter, setup.experiment.seed_of("init"))
    rows = [TrainingRow(list(one.ids), list(one.completion_ids)) for one in prompts.prompts]
    training, seed = config.training or TrainingConfig(), setup.experiment.seed_of("training")
    with setup.clock("train"):
        request = TrainRequest(
            model, setup.tokenizer, rows, training, work, seed, progress, setup.halvings, setup.experiment.id
        )
        outcome = train(request)
    adapted = Adapted(model, outcome, prompts, place)
    with setup.clock("save"):
        save_adapter(model, setup.tokenizer, place, config.model.name, _record(setup, adapted))
    return adapted


def _record(setup: Setup, adapted: Adapted) -> dict[str, Any]:
    rows = adapted.labelled_rows
    record = AdapterRecord(
        setup.experiment.id, len(rows), len(set(adapted.prompts.rows)), train_key(setup.config), tuple(sorted(rows))
    )
    return asdict(record)


def _base(setup: Setup) -> Adapted:
    """The base model, with the adapter that the config names."""
    path = setup.config.model.adapter
    with setup.clock("load"):
        model = setup.models.load(setup.config.model)
        if path is None:
            return Adapted(model)
        model = load_adapter(model, path)
    record = AdapterRecord.of(read_record(path))
    if record is None:
        log.warning(
            "How many labelled examples model.adapter was trained on is unknown (no sft.json lies beside it): "
            "labelled_examples counts only those that this run uses itself"
        )
    return Adapted(model, loads_adapter=True, record=record)
