"""What a sweep starts: the command of an experiment as a Job, and the launcher for it. Starts nothing itself."""

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
from sft.sweep.jobs import config_of
from sft.sweep.options import SweepOptions
from sft.sweep.slots import Slot

MOST_HALVINGS = 4
# What a run imports, beside its plugins: also what is imported late.
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
    """Return the modules that the server imports which experiments are forked from: all that a run may need."""
    plugins = (*METHODS.values(), *(spec for spec in BACKENDS.values() if spec.keeps_base))
    return (*_IMPORTED, *(spec.target.partition(":")[0] for spec in plugins))


def launcher_of(options: SweepOptions) -> Launcher:
    """The launcher that the options name.

    Raises:
        UserError: there is none of that name.
    """
    preparation = Preparation(preloaded(), options.threads)
    launcher: Launcher = LAUNCHERS.resolve(options.launcher)(preparation, **options.launcher_args)
    return launcher


def job_of(
    experiment: Experiment, folder: RunFolder, root: Path, options: SweepOptions, slot: Slot, halvings: int
) -> Job:
    """The process of one experiment, on the config in its run folder."""
    command = (*options.program, "run-experiment", path_argument(folder.config_file))
    evaluation = "--do-eval" if options.do_eval else "--no-do-eval"
    places = ("--results-path", path_argument(root), "--plugs", path_argument(options.plug_folder))
    threads = () if options.threads is None else ("--threads", str(options.threads))
    more = (evaluation, *places, *threads, "--halvings", str(halvings), "--expect", experiment.id)
    secrets = split_secrets(config_of(experiment))[1]
    return Job(
        argv=(*command, *more),
        log_file=folder.log_file,
        environment={VARIABLE: json.dumps(secrets)} if secrets else {},
        resources=replace(options.limits, devices=slot.devices, threads=options.threads),
        shares=shared_base(experiment),
        # bitsandbytes chooses its library when it is imported: the server, which sees no device, has that of the CPU
        forkable=slot.devices is None or experiment.config.model.quantization is None,
    )


def path_argument(path: Path) -> str:
    """Return a path as an argument of a command, which takes one that starts with a dash for an option."""
    return f"./{path}" if str(path).startswith("-") else str(path)


def shared_base(experiment: Experiment) -> str | None:
    """What names the base model for other experiments that could go on with it; None where none should.

    Not where its own weights are trained, nor with a training method that is not known to restore the model, nor with a
    quantised base: running one may change how its weights are stored.
    """
    config = experiment.config
    training = config.training if experiment.trains else None
    restores = training is None or (METHODS.spec(training.method).restores_base and not training.full_finetuning)
    backend = (config.inference or InferenceConfig()).backend
    if not restores or config.model.quantization is not None or not BACKENDS.spec(backend).keeps_base:
        return None
    folder = Path(config.model.name)  # its content too: it may be edited while the sweep runs
    return base_key(config.model) + (hash_path(folder) if folder.is_absolute() and folder.exists() else "")


def public_config(experiment: Experiment) -> dict[str, Any]:
    """The config for the run's folder: without its secrets, which the process gets by its environment."""
    public: dict[str, Any] = split_secrets(config_of(experiment))[0]
    return public


def most_halvings(config: ExperimentConfig) -> int:
    """How often halving the batch may help a run that is out of memory: while it is more than one row.

    Where nothing is trained only the forwards that judge shrink, whose size is not known here.
    """
    if config.training is None:
        return MOST_HALVINGS
    return min(MOST_HALVINGS, max(1, training_halvings(config.training.trainer_args)))


def take_secrets() -> Any:
    """What a sweep leaves out of the configs in its run folders, and tells the process by its environment."""
    text = os.environ.pop(VARIABLE, None)
    return {} if text is None else parse_json(text)
