"""Find the adapter or model to export, in a run folder or in its own folder."""

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

RUN_SECTIONS = ("dataset", "model", "prompting")  # these keys distinguish a run's config.json from a model's


@dataclass(frozen=True)
class Trained:
    """A trained adapter or model.

    Args:
        name: name of its folder.
        folder: folder of the adapter or whole model.
        is_adapter: whether it is an adapter.
        base: config of the base model, or of the whole model itself.
        experiment: the run that trained it; None if only its folder is known.
    """

    name: str
    folder: Path
    is_adapter: bool
    base: ModelConfig
    experiment: Experiment | None = None


def find_trained(run: Path, base_name: str | None = None) -> Trained:
    """Find the adapter or model in a run folder or in its own folder.

    Args:
        run: the folder.
        base_name: Hub id or folder of the base, to override the base of the run or adapter.

    Raises:
        UserError: the folder has neither.
    """
    if not run.is_dir():
        raise UserError(f"RUN: folder {run} not found")
    experiment, folder = _experiment(run), run.resolve()
    if experiment is None:
        # within a run folder, only the run folder has a distinctive name
        name = folder.parent.name if folder.name in ("adapter", "model") else folder.name
        return _of_folder(name, run, base_name, None)
    return _of_folder(folder.name, _trained_folder(run, experiment), base_name, experiment)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        UserError: the file is not a readable JSON object.
    """
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value


def _experiment(run: Path) -> Experiment | None:
    """Return the experiment of a run folder, or None if it is not a run folder."""
    file = RunFolder(run).config_file
    if (run / ADAPTER_CONFIG).exists() or not file.exists():
        return None
    data = read_json(file)
    if any(name not in data for name in RUN_SECTIONS):
        return None
    try:
        config = parse_config(data, str(file), run)
    except ConfigError as error:
        raise UserError(f"RUN: its config is no longer valid: {error}") from error
    return Experiment(config.name or run.name, config, config.seed or 0)


def _trained_folder(run: Path, experiment: Experiment) -> Path:
    """Return the folder of the adapter or model that a run trained."""
    training = experiment.config.training
    output_dir = training.trainer_args.get("output_dir") if training is not None else None
    folders = [RunFolder(run).adapter, RunFolder(run).model, *([Path(output_dir)] if output_dir is not None else [])]
    for folder in folders:
        if (folder / ADAPTER_CONFIG).exists() or (folder / MODEL_CONFIG).exists():
            return folder
    if experiment.config.dataset.shots == 0:
        raise UserError(f"RUN: {run} trained nothing (dataset.shots is 0)")
    raise UserError(f"RUN: {run} has no trained adapter or model (searched {', '.join(map(str, folders))})")


def _of_folder(name: str, folder: Path, base_name: str | None, experiment: Experiment | None) -> Trained:
    if (folder / ADAPTER_CONFIG).exists():
        recorded = read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
        base = experiment.config.model if experiment is not None else None
        model = base_name or (recorded if base is None else base.name)
        if not isinstance(model, str) or not model:
            raise UserError(f"RUN: {folder / ADAPTER_CONFIG} has no base model; add --base-model")
        config = ModelConfig(name=model) if base is None else base.model_copy(update={"name": model, "adapter": None})
        return Trained(name, folder, True, config, experiment)
    if (folder / MODEL_CONFIG).exists():
        if base_name is not None:
            raise UserError("--base-model: RUN is a whole model, which has no base")
        kept = {} if experiment is None else experiment.config.model.model_args
        return Trained(name, folder, False, ModelConfig(name=str(folder), model_args=kept), experiment)
    raise UserError(f"RUN: expected a folder of a run, an adapter ({ADAPTER_CONFIG}) or a model, got {folder}")
