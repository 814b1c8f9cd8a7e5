"""What there is to export: the adapter or the whole model of a run folder, or one in a folder of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sft.config.experiment import Experiment
from sft.config.reading.load import parse_config
from sft.config.sections.model import ModelConfig
from sft.errors import ConfigError, UserError
from sft.io import parse_json
from sft.model.saving import ADAPTER_CONFIG, MODEL_CONFIG
from sft.results.store import RunFolder

RUN_SECTIONS = ("dataset", "model", "prompting")  # by which a run's config.json is told from a model's


@dataclass(frozen=True)
class Trained:
    """Something that was trained.

    Args:
        name: what its folder is called.
        folder: where the adapter, or the whole model, lies.
        is_adapter: which of the two it is.
        base: the model that it was trained on, or for a whole model it itself, and how it is loaded.
        experiment: the run that trained it; None where only the adapter's folder was given.
    """

    name: str
    folder: Path
    is_adapter: bool
    base: ModelConfig
    experiment: Experiment | None = None


def find_trained(run: Path, base_name: str | None = None) -> Trained:
    """What lies in a run folder, or in the folder of an adapter or a model.

    Args:
        run: the folder.
        base_name: hub id or folder of the base, where it is another than the run or the adapter says.

    Raises:
        UserError: nothing of the kind lies there.
    """
    if not run.is_dir():
        raise UserError(f"RUN: there is no folder {run}")
    experiment, folder = _experiment(run), run.resolve()
    if experiment is None:
        # within a run folder, only that has a name of its own
        name = folder.parent.name if folder.name in ("adapter", "model") else folder.name
        return _of_folder(name, run, base_name, None)
    return _of_folder(folder.name, _trained_folder(run, experiment), base_name, experiment)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        UserError: it cannot be read as one.
    """
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} holds no JSON object")
    return value


def _experiment(run: Path) -> Experiment | None:
    """What a run folder's config says; None where it is no run folder."""
    file = RunFolder(run).config_file
    if (run / ADAPTER_CONFIG).exists() or not file.exists():
        return None
    data = read_json(file)
    if any(name not in data for name in RUN_SECTIONS):
        return None
    try:
        config = parse_config(data, str(file), run)
    except ConfigError as error:
        raise UserError(f"RUN: its config can no longer be used: {error}") from error
    return Experiment(config.name or run.name, config, config.seed or 0)


def _trained_folder(run: Path, experiment: Experiment) -> Path:
    """Where a run has put what it trained."""
    training = experiment.config.training
    given = training.trainer_args.get("output_dir") if training is not None else None
    places = [RunFolder(run).adapter, RunFolder(run).model, *([Path(given)] if given is not None else [])]
    for place in places:
        if (place / ADAPTER_CONFIG).exists() or (place / MODEL_CONFIG).exists():
            return place
    if experiment.config.dataset.shots == 0:
        raise UserError(f"RUN: {run} trained nothing (dataset.shots is 0)")
    raise UserError(f"RUN: {run} has no trained adapter or model (looked in {', '.join(map(str, places))})")


def _of_folder(name: str, folder: Path, base_name: str | None, experiment: Experiment | None) -> Trained:
    if (folder / ADAPTER_CONFIG).exists():
        said = read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
        base = experiment.config.model if experiment is not None else None
        wanted = base_name or (said if base is None else base.name)
        if not isinstance(wanted, str) or not wanted:
            raise UserError(f"RUN: {folder / ADAPTER_CONFIG} names no base model; give --base-model")
        loaded = ModelConfig(name=wanted) if base is None else base.model_copy(update={"name": wanted, "adapter": None})
        return Trained(name, folder, True, loaded, experiment)
    if (folder / MODEL_CONFIG).exists():
        if base_name is not None:
            raise UserError("--base-model: RUN holds a whole model, which has no base")
        kept = {} if experiment is None else experiment.config.model.model_args
        return Trained(name, folder, False, ModelConfig(name=str(folder), model_args=kept), experiment)
    raise UserError(f"RUN: {folder} is neither a run folder nor one with an adapter ({ADAPTER_CONFIG}) or a model")
