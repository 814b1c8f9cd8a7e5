"""Create the job and the launcher of an experiment. This module does not start them."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from sft.config.experiment import Experiment
from sft.config.sections.inference import InferenceConfig
from sft.config.sections.model import base_key
from sft.config.sections.schema import ExperimentConfig
from sft.config.sections.training import most_halvings as training_halvings
from sft.io import hash_path, parse_json
from sft.launchers.base import Job, Launcher, Preparation
from sft.plugins import BACKENDS, LAUNCHERS, METHODS
from sft.results.store import RunFolder
from sft.secrets import VARIABLE, split_secrets
from sft.sweep.planning.jobs import config_of
from sft.sweep.planning.options import SweepOptions
from sft.sweep.planning.slots import Slot

MOST_HALVINGS = 4
# Modules that a run imports besides its plugins, including late imports.
_IMPORTED = (
    "sft.pipeline",
    "sft.initialization.apply",
    "sft.initialization.hold",
    "sft.model.warm",
    "sft.cli.options",
    "sft.sweep.single",
    "peft.tuners.lora.bnb",
    "peft.tuners.lora.model",
    "peft.utils.transformers_weight_conversion",
    "rich.live",
    "rich.progress",
    "rouge_score.rouge_scorer",
    "sacrebleu",
    "safetensors.numpy",
    "scipy.io",
    "scipy.sparse.linalg",
    "sklearn.metrics",
    "sklearn.preprocessing",
    "torch.profiler._cupti_monitor",
    "transformers.generation",
    "transformers.models.llama.modeling_llama",
    "encodings.idna",
)


def preloaded() -> tuple[str, ...]:
    """Return the modules that the fork server imports: all that a run may need."""
    plugins = (*METHODS.values(), *(spec for spec in BACKENDS.values() if spec.keeps_base))
    return (*_IMPORTED, *(spec.target.partition(":")[0] for spec in plugins))


def launcher_of(options: SweepOptions) -> Launcher:
    """Return the launcher named in the options.

    Raises:
        UserError: the launcher is unknown.
    """
    preparation = Preparation(preloaded(), options.threads)
    launcher: Launcher = LAUNCHERS.resolve(options.launcher)(preparation, **options.launcher_args)
    return launcher


def job_of(
    experiment: Experiment, folder: RunFolder, root: Path, options: SweepOptions, slot: Slot, halvings: int
) -> Job:
    """Return the job of an experiment, which reads the config in its run folder."""
    command = (*options.program, "run-experiment", path_argument(folder.config_file))
    evaluation = "--do-eval" if options.do_eval else "--no-do-eval"
    folders = ("--results-path", path_argument(root), "--plugs", path_argument(options.plug_folder))
    threads = () if options.threads is None else ("--threads", str(options.threads))
    arguments = (evaluation, *folders, *threads, "--halvings", str(halvings), "--expect", experiment.id)
    secrets = split_secrets(config_of(experiment))[1]
    return Job(
        argv=(*command, *arguments),
        log_file=folder.log_file,
        environment={VARIABLE: json.dumps(secrets)} if secrets else {},
        resources=replace(options.limits, devices=slot.devices, threads=options.threads),
        shares=shared_base(experiment),
        # bitsandbytes chooses its library on import, and the fork server without devices has the library for CPUs
        forkable=slot.devices is None or experiment.config.model.quantization is None,
    )


def path_argument(path: Path) -> str:
    """Return a path as an argument of a command. A path that starts with a dash would be read as an option."""
    return f"./{path}" if str(path).startswith("-") else str(path)


def shared_base(experiment: Experiment) -> str | None:
    """Return the name of a base model that other experiments can reuse after this one, or None.

    The base cannot be reused if its weights are trained, if the training method may not restore it, or if it is
    quantised, as running it may change how its weights are stored.
    """
    config = experiment.config
    training = config.training if experiment.trains else None
    restores = training is None or (METHODS.spec(training.method).restores_base and not training.full_finetuning)
    backend = (config.inference or InferenceConfig()).backend
    if not restores or config.model.quantization is not None or not BACKENDS.spec(backend).keeps_base:
        return None
    folder = Path(config.model.name)  # includes the content, which may be edited while the sweep runs
    return base_key(config.model) + (hash_path(folder) if folder.is_absolute() and folder.exists() else "")


def public_config(experiment: Experiment) -> dict[str, Any]:
    """Return the config for the run's folder, without its secrets, which the process gets in its environment."""
    public: dict[str, Any] = split_secrets(config_of(experiment))[0]
    return public


def most_halvings(config: ExperimentConfig) -> int:
    """Return how often the batch of a run that is out of memory can be halved, down to one row.

    Without training, only the batches for evaluation shrink, and their size is unknown here.
    """
    if config.training is None:
        return MOST_HALVINGS
    return min(MOST_HALVINGS, max(1, training_halvings(config.training.trainer_args)))


def take_secrets() -> Any:
    """Remove and return the secrets that a sweep passes in the environment instead of the config in the run folder."""
    text = os.environ.pop(VARIABLE, None)
    return {} if text is None else parse_json(text)
