"""Train on the shots, if the experiment trains, and save the adapter or the model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from sft.config.sections.training import TrainingConfig
from sft.dataset.task import train_key
from sft.errors import ModelError
from sft.io import check_writable
from sft.log import Progress, get_logger
from sft.model.adapters import create_adapter
from sft.model.full import open_to_training
from sft.model.saving import ADAPTER_CONFIG, MODEL_CONFIG, can_merge, check_output_folder, save_adapter, save_model
from sft.prompting.prompt import TrainingPrompts
from sft.protocols import LanguageModel
from sft.steps.provenance import TrainingRecord, of_base
from sft.steps.setup import Setup
from sft.training.base import TrainingRow, TrainOutcome, TrainRequest, train

log = get_logger(__name__)


@dataclass(frozen=True)
class Adapted:
    """The result of training. Where nothing was trained, the backend loads the model itself.

    Args:
        trained: the torch model, in evaluation mode; None when nothing was trained.
        outcome: loss history and steps; None when nothing was trained.
        prompts: the training prompts.
        folder: folder of the trained adapter or model; None when nothing was trained.
        earlier: earlier training of the loaded model: a fully fine-tuned base, or the adapter of `model.adapter`.
        is_earlier_known: whether `earlier` is complete; False where the adapter has no record.
    """

    trained: LanguageModel | None = None
    outcome: TrainOutcome | None = None
    prompts: TrainingPrompts = TrainingPrompts((), (), 0)  # noqa: RUF009 - frozen
    folder: Path | None = None
    earlier: tuple[TrainingRecord, ...] = ()
    is_earlier_known: bool = True

    @property
    def labelled_rows(self) -> frozenset[int]:
        """Rows of the train split that training used: targets, and examples shown in a training prompt."""
        return self.prompts.labelled_rows


def adapt(setup: Setup, work: Path, folder: Path, progress: Progress) -> Adapted:
    """Train an adapter or all weights and save them. Without training, read the records of earlier training.

    Args:
        setup: the experiment.
        work: folder of the trainer's intermediate checkpoints. Training resumes from them; they are kept.
        folder: output folder of the final adapter or model.
        progress: called with the training steps.
    """
    config = setup.config
    if not setup.experiment.trains:
        return _untrained(setup)
    training, seed = config.training or TrainingConfig(), setup.experiment.seed_of("training")
    check_writable(folder, "choose another training.trainer_args.output_dir")
    _check_folder(setup, folder)
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
    adapted = Adapted(model, outcome, prompts, folder, of_base(config.model))
    with setup.clock("save"):
        _save(setup, model, adapted, folder)
    return adapted


def _check_folder(setup: Setup, folder: Path) -> None:
    base = Path(setup.config.model.name)
    if setup.experiment.trains_whole and base.exists() and base.samefile(folder):
        raise ModelError(f"{folder} contains the base itself; choose another training.trainer_args.output_dir")
    check_output_folder(folder, MODEL_CONFIG if setup.experiment.trains_whole else ADAPTER_CONFIG)


def _trainable(setup: Setup, base: LanguageModel, prompts: TrainingPrompts) -> LanguageModel:
    """Return the base with all weights trainable, or with a new adapter on it."""
    config = setup.config
    if config.model.adapter is not None:
        log.warning("model.adapter is ignored: with shots, a new adapter is trained on the base")
    if setup.experiment.trains_whole:
        return open_to_training(base)
    return create_adapter(base, config.lora, config.adapter, setup.experiment.seed_of("init"), prompts.prompts)


def _rows(prompts: TrainingPrompts | None) -> list[TrainingRow]:
    if prompts is None:
        return []
    return [TrainingRow(list(prompt.ids), list(prompt.completion_ids)) for prompt in prompts.prompts]


def _save(setup: Setup, model: LanguageModel, adapted: Adapted, folder: Path) -> None:
    config, record = setup.config, _record(setup, adapted)
    if setup.experiment.trains_whole:
        whole = replace(record, earlier=adapted.earlier)  # the base of an adapter has its own record
        save_model(model, setup.tokenizer, folder, whole.as_dict())
    elif obstacle := save_adapter(model, setup.tokenizer, folder, config.model.name, record.as_dict()):
        way_out = "; `export --merge` writes a merged model" if can_merge(model) else ""
        log.info("vLLM cannot load this adapter as a LoRA: %s%s", obstacle, way_out)


def _record(setup: Setup, adapted: Adapted) -> TrainingRecord:
    rows = adapted.labelled_rows
    trained_on = len(set(adapted.prompts.rows))
    return TrainingRecord(setup.experiment.id, len(rows), trained_on, train_key(setup.config), tuple(sorted(rows)))


def _untrained(setup: Setup) -> Adapted:
    """Describe a model that is not trained here: the base with the adapter that the config names."""
    path, earlier = setup.config.model.adapter, of_base(setup.config.model)
    if path is None:
        return Adapted(earlier=earlier)
    record = TrainingRecord.in_folder(path)
    if record is None:
        log.warning(
            "model.adapter has no sft.json: the number of labelled examples it was trained on is unknown. "
            "labelled_examples counts only those of this run"
        )
    known = () if record is None else record.all()
    return Adapted(earlier=(*known, *earlier), is_earlier_known=record is not None)
