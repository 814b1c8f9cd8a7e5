"""Everything that determines an experiment's result, and nothing else: the value whose hash is the experiment's id.

It holds the sections that the command uses, without settings that equal their default or have no effect; the seed if a
source of randomness in use follows it; and local files and the user's plugins by their content. Certain credentials are
left out: the same work with another token is the same work. In doubt a value stays in: two ids for the same work cost
one run, one id for two different works gives a wrong table. This module repeats which setting has an effect where,
because it knows nothing of how the work is done: change both together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from sft.config.checking.arguments import translate_trainer_args
from sft.config.clock import may_read_clock
from sft.config.idle import idle_for_method, idle_for_task
from sft.config.libraries.trainer import OUTPUT_ONLY
from sft.config.reading.paths import PATH_FIELDS, is_pattern
from sft.config.reading.task_files import content_of_tasks
from sft.config.reading.user_plugins import plug_content
from sft.config.sections.dataset import DatasetConfig
from sft.config.sections.evaluation import metric_script
from sft.config.sections.prompting import DEFAULT_DATE
from sft.config.sections.schema import Endpoint, ExperimentConfig
from sft.config.sections.training import TrainingConfig
from sft.io import canonical_json, digest, hash_path, hash_pattern
from sft.plugins import (
    CALIBRATIONS,
    DEFAULT_METHOD,
    EVALUATE,
    PLUGIN_SETTINGS,
    SELECTIONS,
    SelectionSpec,
)
from sft.secrets import masked

# 2: data files are read cell by cell as text; version 1 could read other rows (007 as 7, true as True).
ID_VERSION = 2
Source = Literal["shots", "icl", "init", "training"]

_ONLY_EVALUATED = ("dataset.test_split", "dataset.validation_split", "dataset.max_n_test")
# Training uses the same tokenizer, and no training prompt is longer than the evaluated ones.
_INFERENCE_IN_TRAINING = ("tokenizer_name", "max_seq_length")


def trains(config: ExperimentConfig, endpoint: Endpoint) -> bool:
    """Return whether anything is trained: only with shots, and only by the commands that train."""
    return endpoint in ("train", "run-experiment") and config.dataset.shots != 0


def uses_shots(config: ExperimentConfig, endpoint: Endpoint) -> bool:
    """Return whether shots are drawn: for training, as in-context examples, or to choose a threshold."""
    shown = _shows_examples(config, endpoint) and _pool(config) == "shots"
    used = shown or trains(config, endpoint) or chooses_threshold(config, endpoint)
    return config.dataset.shots != 0 and used


def chooses_threshold(config: ExperimentConfig, endpoint: Endpoint) -> bool:
    """Return whether the probability threshold of labels is chosen on the shots."""
    return config.dataset.task.takes_several and endpoint != "train" and config.dataset.shots != 0


def random_sources(config: ExperimentConfig, endpoint: Endpoint) -> frozenset[Source]:
    """Return the sources of randomness in use, those that `config.seeds` could override.

    "shots" is in use with all rows too: the seed decides their order, which batches and examples follow.
    """
    trained = trains(config, endpoint)
    in_training = trained and config.training is not None and config.training.icl_examples > 0
    whole = config.training is not None and config.training.full_finetuning
    used: set[Source] = ({"training"} if whole else {"init", "training"}) if trained else set()
    if uses_shots(config, endpoint):
        used.add("shots")
    drawn = _shows_examples(config, endpoint) and _selection(config).is_drawn
    if in_training or drawn or calibration_draws(config, endpoint):
        used.add("icl")
    return frozenset(used)


def follows_seed(config: ExperimentConfig, endpoint: Endpoint) -> bool:
    """Return whether anything depends on the run's seed: a source in use without an override, or sampled answers."""
    overridden = config.seeds.model_dump(exclude_none=True)
    return _samples(config, endpoint) or not random_sources(config, endpoint) <= overridden.keys()


def identity(config: ExperimentConfig, endpoint: Endpoint, seed: int | None) -> dict[str, Any]:
    """Return the value whose hash is the id.

    Args:
        config: the validated config, with local paths resolved.
        endpoint: the command.
        seed: the run's seed; None for the identity of the recipe, which runs of several seeds share.
    """
    sections = _sections(config, endpoint)
    plugins = {name: content for name in _plugins(sections) if (content := _plugin_content(name)) is not None}
    value: dict[str, Any] = {"id_version": ID_VERSION, "endpoint": endpoint, "sections": masked(sections)}
    if plugins:
        value["plugs"] = plugins
    if seed is not None and follows_seed(config, endpoint):
        value["seed"] = seed
    return value


def calibration_draws(config: ExperimentConfig, endpoint: Endpoint) -> bool:
    """Return whether the result depends on words or labelled rows that a calibration draws."""
    if endpoint == "train" or config.inference is None or not config.dataset.task.has_one_label:
        return False
    calibration = config.inference.calibration_args
    return calibration is not None and calibration.draws


def _shows_examples(config: ExperimentConfig, endpoint: Endpoint) -> bool:
    return endpoint != "train" and config.inference is not None and config.inference.icl_examples > 0


def _samples(config: ExperimentConfig, endpoint: Endpoint) -> bool:
    if endpoint == "train" or config.inference is None or config.dataset.task.has_labels:
        return False
    return bool(config.inference.generation_args.get("do_sample", False))


def _selection(config: ExperimentConfig) -> SelectionSpec:
    """Return the specification of the in-context selection."""
    name = config.inference.icl_selection if config.inference is not None else None
    return SELECTIONS.spec(config.dataset.task.selection if name is None else name)


def _pool(config: ExperimentConfig) -> str:
    """Return the pool of in-context examples for evaluated rows."""
    pool = config.inference.icl_pool if config.inference is not None else None
    return pool or ("train" if config.dataset.shots == 0 else "shots")


def _sections(config: ExperimentConfig, endpoint: Endpoint) -> dict[str, Any]:
    # exclude_defaults: adding a field with a default to a section changes no id
    sections: dict[str, Any] = config.model_dump(
        mode="json", include=_used_sections(config, endpoint), exclude_defaults=True
    )
    for path in _idle(config, endpoint):
        section, _, key = path.partition(".")
        sections.get(section, {}).pop(key, None)
    if endpoint == "train":
        sections["inference"] = {
            key: value for key, value in sections.get("inference", {}).items() if key in _INFERENCE_IN_TRAINING
        }
    for optional in ("evaluation", "seeds", *(["inference"] if endpoint == "train" else [])):
        if not sections.get(optional, True):
            del sections[optional]
    _without_idle_calibration(sections)
    _under_current_names(sections)
    _by_content(sections)
    return sections


def _without_idle_calibration(sections: dict[str, Any]) -> None:
    """Remove, in place, the settings that the calibration does not use, or that equal its default."""
    calibration = sections.get("inference", {}).get("calibration_args")
    if calibration is None or (name := calibration["calibration_fn"]) not in CALIBRATIONS:
        return
    followed = CALIBRATIONS[name].settings
    sections["inference"]["calibration_args"] = {
        key: value
        for key, value in calibration.items()
        if key == "calibration_fn" or (key in followed and followed[key] != value)
    }


def _used_sections(config: ExperimentConfig, endpoint: Endpoint) -> set[str]:
    used = {"dataset", "model", "prompting", "seeds", "inference"}
    if trains(config, endpoint):
        used |= {"lora", "adapter", "training"}
    if endpoint in ("evaluate", "run-experiment"):
        used.add("evaluation")
    return used


def _idle(config: ExperimentConfig, endpoint: Endpoint) -> Iterator[str]:
    """Yield the settings that have no effect on the work, or equal what applies without them."""
    yield from (setting.path for setting in idle_for_task(config.dataset.task_type))
    if not config.dataset.drop_overlap:
        yield "dataset.near_duplicates"  # it changes the counts, not the rows in use
        if endpoint == "train":
            yield from _ONLY_EVALUATED
    if trains(config, endpoint):
        yield "model.adapter"  # a new one is trained on the base
        yield "training.keep_checkpoints"
        yield from (setting.path for setting in idle_for_method((config.training or TrainingConfig()).method))
        if config.training is not None and config.training.icl_examples == 0:
            yield "training.random_icl"
    if config.prompting.date != DEFAULT_DATE and not may_read_clock(config):
        yield "prompting.date"
    if not uses_shots(config, endpoint):
        yield "dataset.shots"
    if not _shows_examples(config, endpoint):
        yield from ("inference.random_icl", "inference.icl_pool", "inference.icl_selection")
    elif _pool(config) == "shots" or not uses_shots(config, endpoint):
        yield "inference.icl_pool"  # the only pool, or the default
    if config.dataset.task_type in _selection(config).equals_default_for:
        yield "inference.icl_selection"
    if not _selection(config).is_drawn:
        yield "inference.random_icl"  # each row has its own examples in any case
    used = random_sources(config, endpoint)
    yield from (f"seeds.{source}" for source in type(config.seeds).model_fields if source not in used)


def _under_current_names(sections: dict[str, Any]) -> None:
    """Rename, in place, arguments with older names, and remove those that only log."""
    model_args = sections["model"].get("model_args", {})
    if "torch_dtype" in model_args:  # the older name of dtype
        sections["model"]["model_args"] = {**model_args, "dtype": model_args["torch_dtype"]}
        del sections["model"]["model_args"]["torch_dtype"]
    if "training" in sections:
        training = sections["training"]
        arguments = translate_trainer_args(
            training.get("trainer_args", {}), training.get("method", DEFAULT_METHOD)
        ).args
        sections["training"]["trainer_args"] = {
            key: value for key, value in arguments.items() if not OUTPUT_ONLY.fullmatch(key)
        }


def _by_content(sections: dict[str, Any]) -> None:
    """Replace local paths, in place, by the hash of their content."""
    for section, key in PATH_FIELDS:
        if isinstance(value := sections.get(section, {}).get(key), str):
            sections[section][key] = _content(value)
    arguments = sections.get("dataset", {}).get("args", {})
    for key in ("data_files", "data_dir"):
        if key in arguments:
            arguments[key] = _map_strings(arguments[key], _content)
    if tasks := sections.get("evaluation", {}).get("lm_eval"):
        tasks.pop("allow_code", None)  # it permits the work and does not change it
        tasks["tasks"] = [content_of_tasks(task) if Path(task).is_absolute() else task for task in tasks["tasks"]]


def data_content(dataset: DatasetConfig) -> str | None:
    """Return the SHA-256 of local data: of the file or folder, else of the files that its arguments name.

    Return None if any part of the data is not local.
    """
    named = {
        key: _map_strings(dataset.args[key], _content) for key in ("data_files", "data_dir") if key in dataset.args
    }
    path = Path(dataset.path)
    contents = [f"sha256:{hash_path(path)}"] if path.is_absolute() and path.exists() else []
    _map_strings(list(named.values()), contents.append)
    if not contents or not all(content.startswith("sha256:") for content in contents):
        return None
    return contents[0].removeprefix("sha256:") if len(contents) == 1 else digest(canonical_json([contents, named]))


def _content(value: str) -> str:
    """Return `sha256:…` of the file or folder at an absolute path, or of the files that a pattern matches.

    Return anything else (a Hub id, a URL) unchanged.
    """
    path = Path(value)
    if not path.is_absolute():
        return value
    if path.exists():
        return f"sha256:{hash_path(path)}"
    pattern_hash = hash_pattern(value) if is_pattern(value) else None
    return value if pattern_hash is None else f"sha256:{pattern_hash}"


def _map_strings(value: Any, change: Callable[[str], str | None]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_map_strings(item, change) for item in value]
    if isinstance(value, dict):
        return {key: _map_strings(item, change) for key, item in value.items()}
    return value


def _plugins(sections: dict[str, Any]) -> Iterator[str]:
    """Yield the names of plugins, the user's own among them."""
    for path in PLUGIN_SETTINGS:
        *parents, key = path.split(".")
        section = sections
        for part in parents:
            section = section.get(part) or {}
        value = section.get(key)
        yield from (name for name in (value if isinstance(value, list) else [value]) if isinstance(name, str))


def _plugin_content(plugin: str) -> str | None:
    """Return the hash of a user's own module, or of a local script of the package `evaluate`."""
    if not plugin.startswith(EVALUATE):
        return plug_content(plugin)
    if (metric_path := metric_script(plugin)) is None:
        return None
    path = Path(metric_path)
    script = path / f"{path.name}.py" if path.is_dir() else path
    return f"sha256:{hash_path(script)}" if script.is_file() else None
