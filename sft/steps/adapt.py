"""Train on the shots where the experiment does, and save what was trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sft.config.sections.training import TrainingConfig
from sft.dataset.task import train_key
from sft.errors import ModelError
from sft.io import check_writable
from sft.log import Progress, get_logger
from sft.model.adapters import create_adapter
from sft.model.full import open_to_training
from sft.model.saving import ADAPTER_CONFIG, MODEL_CONFIG, can_merge, check_place, save_adapter, save_model
from sft.prompting.prompt import TrainingPrompts
from sft.steps.provenance import TrainingRecord, of_base
from sft.steps.setup import Setup
from sft.training.base import TrainingRow, TrainOutcome, TrainRequest, train

log = get_logger(__name__)


@dataclass(frozen=True)
class Adapted:
    """What training left; the model itself is loaded by the backend where nothing was trained.

    Args:
        trained: the torch model, in evaluation mode; None when nothing was trained.
        outcome: loss history and steps; None when nothing was trained.
        prompts: what was trained on.
        place: folder of what was trained, the adapter or the whole model; None when nothing was.
        earlier: how what was loaded (a base trained whole, the adapter of `model.adapter`) had been trained before.
        is_earlier_known: whether that is all; not so where nothing lies beside the adapter.
    """

    trained: Any | None = None
    outcome: TrainOutcome | None = None
    prompts: TrainingPrompts = TrainingPrompts((), (), 0)  # noqa: RUF009 - frozen
    place: Path | None = None
    earlier: tuple[TrainingRecord, ...] = ()
    is_earlier_known: bool = True

    @property
    def labelled_rows(self) -> frozenset[int]:
        """Rows of the train split that training used: trained on, or shown in a prompt that was trained on."""
        return self.prompts.labelled_rows


def adapt(setup: Setup, work: Path, place: Path, progress: Progress) -> Adapted:
    """Train an adapter or all weights and save them, when the experiment trains; else read what is known of the model.

    Args:
        setup: the experiment.
        work: folder for the trainer's intermediate checkpoints, which are resumed from. They stay.
        place: folder that receives the final adapter or model.
        progress: told of training steps.
    """
    config = setup.config
    if not setup.experiment.trains:
        return _untrained(setup)
    training, seed = config.training or TrainingConfig(), setup.experiment.seed_of("training")
    check_writable(place, "choose another training.trainer_args.output_dir")
    _check_place(setup, place)
    prompts = setup.plan.training()  # before the model: bad rows fail early
    with setup.clock("load"):
        base = setup.models.load(config.model)
    with setup.clock("adapter"):
        model = _trainable(setup, base, prompts)
    with setup.clock("train"):
        request = TrainRequest(
            model,
            setup.tokenizer,
            _rows(prompts),
            training,
            work,
            seed,
            progress,
            setup.experiment.id,
            _rows(prompts.validation),
        )
        outcome = train(request)
    adapted = Adapted(model, outcome, prompts, place, of_base(config.model))
    with setup.clock("save"):
        _save(setup, adapted, place)
    return adapted


def _check_place(setup: Setup, place: Path) -> None:
    base = Path(setup.config.model.name)
    if setup.experiment.trains_whole and base.exists() and base.samefile(place):
        raise ModelError(f"{place} holds the base itself; choose another training.trainer_args.output_dir")
    check_place(place, MODEL_CONFIG if setup.experiment.trains_whole else ADAPTER_CONFIG)


def _trainable(setup: Setup, base: Any, prompts: TrainingPrompts) -> Any:
    """The base with all its weights open to training, or with a new adapter on it."""
    config = setup.config
    if config.model.adapter is not None:
        log.warning("model.adapter is not used: with shots, a new adapter is trained on the base")
    if setup.experiment.trains_whole:
        return open_to_training(base)
    return create_adapter(base, config.lora, config.adapter, setup.experiment.seed_of("init"), prompts.prompts)


def _rows(prompts: TrainingPrompts | None) -> list[TrainingRow]:
    some = () if prompts is None else prompts.prompts
    return [TrainingRow(list(one.ids), list(one.completion_ids)) for one in some]


def _save(setup: Setup, adapted: Adapted, place: Path) -> None:
    config, record = setup.config, _record(setup, adapted)
    if setup.experiment.trains_whole:
        whole = replace(record, earlier=adapted.earlier)  # an adapter's base says that itself
        save_model(adapted.trained, setup.tokenizer, place, whole.as_dict())
    elif obstacle := save_adapter(adapted.trained, setup.tokenizer, place, config.model.name, record.as_dict()):
        way_out = "; `export --merge` makes a whole model of it" if can_merge(adapted.trained) else ""
        log.info("vLLM does not load this adapter as a LoRA: %s%s", obstacle, way_out)


def _record(setup: Setup, adapted: Adapted) -> TrainingRecord:
    rows = adapted.labelled_rows
    trained_on = len(set(adapted.prompts.rows))
    return TrainingRecord(setup.experiment.id, len(rows), trained_on, train_key(setup.config), tuple(sorted(rows)))


def _untrained(setup: Setup) -> Adapted:
    """The model as it is, with the adapter that the config names."""
    path, earlier = setup.config.model.adapter, of_base(setup.config.model)
    if path is None:
        return Adapted(earlier=earlier)
    record = TrainingRecord.beside(path)
    if record is None:
        log.warning(
            "How many labelled examples model.adapter was trained on is unknown (no sft.json lies beside it): "
            "labelled_examples counts only those that this run uses itself"
        )
    known = () if record is None else record.all()
    return Adapted(earlier=(*known, *earlier), is_earlier_known=record is not None)
