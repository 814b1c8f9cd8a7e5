"""Checks of several keys together: contradictions, settings without an effect, the sections that a command needs.

They read the data as the user wrote it, with unchecked types, so that all problems of a config are reported at once.
Integer labels, columns and splits are checked when the data is opened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from sft.config.checking.arguments import (
    Translated,
    adapter_problems,
    generation_problems,
    lora_problems,
    quantization_problems,
    translate_trainer_args,
)
from sft.config.checking.constrain import constrain_problems
from sft.config.checking.data_arguments import data_argument_problems
from sft.config.checking.initialisers import start_problems
from sft.config.checking.model_arguments import (
    generation_code_problems,
    model_argument_notices,
    model_argument_problems,
)
from sft.config.idle import IdleSetting, idle_for_method, idle_for_task
from sft.config.libraries.trainer import trainer_contradictions
from sft.config.sections.schema import Endpoint, ExperimentConfig
from sft.config.wording import fits, listed, not_allowed, quoted, shown
from sft.errors import Problem
from sft.plugins import (
    BACKENDS,
    CALIBRATIONS,
    DEFAULT_METHOD,
    FORMER_CALIBRATIONS,
    PLUGIN_SETTINGS,
    SELECTIONS,
    Ability,
    BackendSpec,
)

_LONGEST_PLUGIN = 500
# Settings that multilabel tasks do not support: their default, and the reason.
_NOT_IN_MULTILABEL: Mapping[str, tuple[Any, str]] = {
    "inference.icl_examples": (0, "in-context examples of rows with several labels are not supported"),
    "training.icl_examples": (0, "in-context examples of rows with several labels are not supported"),
    "inference.calibration_args": (None, "a threshold is chosen on the shots instead"),
    "inference.label_scoring": ("sum", "yes and no are compared as they are"),
}


def section(data: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """Return the object at a key path; empty if there is none."""
    for key in keys:
        value = data.get(key)
        data = value if isinstance(value, dict) else {}
    return dict(data)


def value_at(data: Mapping[str, Any], path: str, default: Any = None) -> Any:
    """Return the value at a dotted key path; `default` if it is absent or null."""
    *parents, key = path.split(".")
    value = section(data, *parents).get(key)
    return default if value is None else value


def config_problems(data: Mapping[str, Any]) -> list[Problem]:
    """Return every problem that the types of the sections do not show."""
    return [
        *lora_problems(section(data, "lora")),
        *adapter_problems(section(data, "adapter")),
        *quantization_problems(section(data, "model", "quantization")),
        *generation_problems(section(data, "inference", "generation_args")),
        *_answer_problems(section(data, "inference")),
        *data_argument_problems(section(data, "dataset", "args")),
        *model_argument_problems(section(data, "model", "model_args")),
        *generation_code_problems(section(data, "inference", "generation_args"), section(data, "model", "model_args")),
        *_trainer_args(data).problems,
        *_plugin_problems(data),
        *_label_problems(data),
        *_calibration_problems(data),
        *_multilabel_problems(data),
        *start_problems(data),
        *_full_problems(data),
        *backend_problems(data, BACKENDS.spec(str(value_at(data, "inference.backend", "transformers")))),
        *_validation_problems(data),
        *_other_problems(data),
    ]


def config_notices(data: Mapping[str, Any]) -> list[str]:
    """Return the notices: renamed arguments and keys without an effect."""
    return [
        *_trainer_args(data).notices,
        *_idle_notices(data, "dataset.task_type", idle_for_task),
        *_idle_notices(data, "training.method", idle_for_method),
        *model_argument_notices(section(data, "model", "model_args")),
        *_calibration_notices(section(data, "inference", "calibration_args")),
        *_selection_notices(section(data, "inference")),
    ]


def _trainer_args(data: Mapping[str, Any]) -> Translated:
    """Return the trainer's arguments under their current names."""
    method = str(value_at(data, "training.method", DEFAULT_METHOD))
    return translate_trainer_args(section(data, "training", "trainer_args"), method)


def _idle_notices(
    data: Mapping[str, Any], decides: str, idle_for: Callable[[str], Iterable[IdleSetting]]
) -> Iterator[str]:
    """Yield a notice for each setting that has no effect because of the value of the setting `decides`."""
    value = value_at(data, decides)
    for setting in idle_for(value) if isinstance(value, str) else ():
        if setting.is_reported and value_at(data, setting.path, setting.default) != setting.default:
            yield f"{setting.path} has no effect: {decides} is {quoted(value)}"


def _selection_notices(inference: Mapping[str, Any]) -> Iterator[str]:
    name = inference.get("icl_selection")
    if isinstance(name, str) and not SELECTIONS.spec(name).is_drawn and inference.get("random_icl"):
        yield f"inference.random_icl has no effect: icl_selection is {quoted(name)}, which chooses for each row"


def _calibration_notices(calibration: Mapping[str, Any]) -> Iterator[str]:
    name = calibration.get("calibration_fn")
    if not isinstance(name, str):
        return
    where = "inference.calibration_args"
    current = FORMER_CALIBRATIONS.get(name, name)
    if current != name:
        yield f"{where}.calibration_fn: {quoted(name)} is now called {quoted(current)}"
    followed = CALIBRATIONS.spec(current).settings
    idle = [key for key in calibration if key in CALIBRATIONS.own.settings and key not in followed]
    yield from (f"{where}.{key} has no effect: calibration_fn is {quoted(current)}" for key in idle)


def _plugin_problems(data: Mapping[str, Any]) -> Iterator[Problem]:
    for path, problem_of in PLUGIN_SETTINGS.items():
        value = value_at(data, path)
        for position, name in enumerate(value if isinstance(value, list) else [value]):
            where = f"{path}[{position}]" if isinstance(value, list) else path
            if not isinstance(name, str):
                continue
            if shown(name, _LONGEST_PLUGIN) != name:
                yield Problem(where, not_allowed(name, 'a name, or "module:function"'))
            elif problem := problem_of(name):
                yield Problem(where, problem)


def _answer_problems(inference: Mapping[str, Any]) -> Iterator[Problem]:
    """Check stop strings and the constraint of generated answers."""
    stops = inference.get("stop_strings")
    if isinstance(stops, list) and "" in stops:
        yield Problem("inference.stop_strings", "an empty string would end every answer before it starts")
    yield from constrain_problems(inference.get("constrain"), section(inference, "generation_args"))


def _label_problems(data: Mapping[str, Any]) -> Iterator[Problem]:
    labels = value_at(data, "dataset.labels", [])
    if section(data, "dataset").get("labels") == []:
        yield Problem(
            "dataset.labels", "expected at least two labels, got an empty list; remove it to use those of the data"
        )
    labels = [label for label in labels if isinstance(label, str)] if isinstance(labels, list) else []
    if repeated := [label for label, count in Counter(labels).items() if count > 1]:
        yield Problem("dataset.labels", f"duplicate {listed(repeated)}; each label must be unique")
    verbalizers = section(data, "prompting", "verbalizers")
    sharing: dict[str, list[str]] = {}
    for label, text in verbalizers.items():
        if isinstance(text, str):
            sharing.setdefault(text, []).append(label)
    for text, same in sharing.items():
        if len(same) > 1:
            yield Problem("prompting.verbalizers", f"the labels {listed(same)} have the same text {quoted(text)}")
    if labels and verbalizers:
        known = set(labels)
        if missing := [label for label in dict.fromkeys(labels) if label not in verbalizers]:
            yield Problem("prompting.verbalizers", f"has no text for {listed(missing)}")
        if unknown := [label for label in verbalizers if label not in known]:
            yield Problem("prompting.verbalizers", f"{listed(unknown)} not in dataset.labels")


def _calibration_problems(data: Mapping[str, Any]) -> Iterator[Problem]:
    gamma_range = value_at(data, "inference.calibration_args.gamma_range")
    numbers = (
        isinstance(gamma_range, list)
        and len(gamma_range) == 2
        and all(fits(number, ("float",)) for number in gamma_range)
    )
    if numbers and not gamma_range[0] < gamma_range[1]:
        where = "inference.calibration_args.gamma_range"
        yield Problem(where, not_allowed(gamma_range, "[smallest strength, larger strength]"))


def _multilabel_problems(data: Mapping[str, Any]) -> Iterator[Problem]:
    words = value_at(data, "prompting.yes_no")
    if isinstance(words, list) and len(words) == 2 and all(isinstance(word, str) for word in words):
        answers = {word.strip() for word in words}  # white space around an answer does not make it another one
        if len(answers) < 2 or "" in answers:
            yield Problem("prompting.yes_no", not_allowed(words, "a list of two different words"))
    if value_at(data, "dataset.task_type") != "multilabel":
        return
    for path, (only, why) in _NOT_IN_MULTILABEL.items():
        if value_at(data, path, only) != only:
            yield Problem(path, f'cannot be combined with dataset.task_type "multilabel": {why}')


def _other_problems(data: Mapping[str, Any]) -> Iterator[Problem]:
    shots, examples = value_at(data, "dataset.shots", 0), value_at(data, "inference.icl_examples", 0)
    if value_at(data, "inference.icl_pool") == "shots" and shots == 0 and examples != 0:
        yield Problem(
            "inference.icl_pool",
            '"shots" is empty because dataset.shots is 0; set "train", or set dataset.shots',
        )


def _full_problems(data: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the settings that cannot be combined with training all weights."""
    where = "training.full_finetuning"
    if value_at(data, where) is not True:
        return
    if value_at(data, "model.quantization") is not None:
        yield Problem(where, "cannot be combined with model.quantization; remove one, or use lora")
    for name in ("lora", "adapter"):
        if data.get(name) is not None:
            yield Problem(where, f"cannot be combined with {name}; choose one")


def backend_problems(data: Mapping[str, Any], backend: BackendSpec) -> Iterator[Problem]:
    """Yield the abilities that the config requires and the backend lacks."""
    task = value_at(data, "dataset.task_type")
    needed: Mapping[Ability, bool] = {
        "label_scores": task in ("classification", "multilabel"),
        "generation": task == "generation",
        "constrain": value_at(data, "inference.constrain") is not None,
        "quantization": value_at(data, "model.quantization") is not None,
        "lm_eval": value_at(data, "evaluation.lm_eval") is not None,
    }
    for ability, why in backend.lacks.items():
        if needed[ability]:
            yield Problem("inference.backend", f"{quoted(backend.name)} lacks {ability.replace('_', ' ')}: {why}")


def _validation_problems(data: Mapping[str, Any]) -> Iterator[Problem]:
    """Check the validation rows, early stopping and contradictions of the trainer's arguments."""
    training = section(data, "training")
    size, shots = training.get("validation_size"), value_at(data, "dataset.shots")
    arguments = _trainer_args(data).args
    for what in trainer_contradictions(arguments, size is not None):
        yield Problem("training.trainer_args", what)
    whole = isinstance(size, int) and isinstance(shots, int) and not isinstance(size, bool)
    if whole and 0 < shots <= size:
        yield Problem("training.validation_size", f"{size} leaves none of the {shots} shots for training; lower it")
    if training.get("early_stopping_patience") is not None and training.get("validation_size") is None:
        yield Problem("training.early_stopping_patience", "requires training.validation_size, the shots to validate on")


def check_endpoint(config: ExperimentConfig, endpoint: Endpoint) -> list[Problem]:
    """Return the sections that a command needs and the config lacks, and the contradictions."""
    shots = config.dataset.shots
    trains = endpoint == "train" or (endpoint == "run-experiment" and shots != 0)
    problems: list[Problem] = []
    if endpoint == "train" and shots == 0:
        problems.append(Problem("dataset.shots", 'expected an integer from 1, or "all", to train on, got 0'))
    whole = config.training is not None and config.training.full_finetuning
    if trains and not whole and config.lora is None and config.adapter is None:
        others = "or adapter, or training.full_finetuning"
        problems.append(Problem("lora", f"is missing; {endpoint} requires it ({others})"))
    if config.lora is not None and config.adapter is not None:
        problems.append(Problem("adapter", "cannot be combined with lora; choose one"))
    if trains and config.training is None:
        problems.append(Problem("training", f"is missing; {endpoint} requires it to train on the shots"))
    if endpoint != "train" and config.inference is None:
        problems.append(Problem("inference", f"is missing; {endpoint} requires it to predict the test split"))
    return problems
