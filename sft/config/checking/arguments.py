"""Arguments of the libraries: checked by name and simple type; old names of trainer arguments are translated.

No library is imported: the names and types come from the table in `sft.config.libraries.library`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from sft.config.checking.suggestions import unknown_key
from sft.config.libraries.library import (
    Argument,
    Arguments,
    generation_arguments,
    peft_arguments,
    peft_types,
    quantization_arguments,
    quantization_classes,
    trainer_arguments,
)
from sft.config.libraries.renamed import ELSEWHERE, REMOVED, RENAMED, RENAMED_VALUES, RESHAPED
from sft.config.libraries.trainer import NO_EFFECT, unsupported
from sft.config.sections.lora import NEEDED_ARGUMENTS, REFUSED_TYPES
from sft.config.wording import choices_phrase, either, fits, near, not_allowed, quoted, shown, types_phrase
from sft.errors import Problem
from sft.plugins import DEFAULT_METHOD

TRAINER_ARGS = "training.trainer_args"
HEAD = "lm_head"
MOST_UNKNOWN = 20  # unknown keys of a section that are reported one by one
_COUNTS = (
    "r", "per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps", "max_length",
    "max_new_tokens", "num_beams", "num_virtual_tokens", "max_rank", "target_r", "init_r",
)  # fmt: skip
_NOT_NEGATIVE = (
    "learning_rate", "num_train_epochs", "dataloader_num_workers", "weight_decay", "max_grad_norm", "warmup_steps",
    "lora_dropout",
    "min_new_tokens", "temperature", "top_k", "neftune_noise_alpha",
)  # fmt: skip
_MOST: Mapping[str, int] = {"learning_rate": 1000, "r": 65536}
_LEAST: Mapping[str, int] = {**dict.fromkeys(_COUNTS, 1), **dict.fromkeys(_NOT_NEGATIVE, 0)}
_FRACTIONS = ("lora_dropout", "top_p", "min_p", "typical_p", "label_smoothing_factor")  # from 0 to 1
# "lora_ga" is PEFT's too, though its annotation does not list it.


class Translated(NamedTuple):
    """Trainer arguments under their current names, one notice for each renamed argument, and the problems."""

    args: dict[str, Any]
    notices: tuple[str, ...]
    problems: tuple[Problem, ...]


def translate_trainer_args(args: Mapping[str, Any], method: str = DEFAULT_METHOD) -> Translated:
    """Translate the arguments of a training method's trainer from the names of this or an older version.

    All problems are reported: unknown and removed names, values of a wrong type, an old name together with its new
    name, and the seeds, which the config sets elsewhere.
    """
    new: dict[str, Any] = {}
    notices: list[str] = []
    problems: list[Problem] = []
    for name, value in args.items():
        where = f"{TRAINER_ARGS}.{name}"
        if name in REMOVED:
            problems.append(Problem(where, f"is no longer an argument: {REMOVED[name]}"))
        elif name in ELSEWHERE:
            problems.append(Problem(where, f"cannot be set here; set {ELSEWHERE[name]}"))
        elif (target := RENAMED.get(name) or RESHAPED.get(name)) in args and args[str(target)] != value:
            problems.append(Problem(where, f"cannot be combined with {target}, its new name; remove one"))
        elif name in RENAMED:
            new[RENAMED[name]] = value
            notices.append(f"{where} is now called {RENAMED[name]}")
        elif name in RESHAPED:
            reshaped, notice = _reshape(name, value)
            if reshaped is None:
                problems.append(Problem(where, notice))
            else:
                new.update(reshaped)
                notices.append(f"{where} {notice}")
        elif isinstance(value, str) and (name, value) in RENAMED_VALUES:
            new[name] = RENAMED_VALUES[name, value]
            notices.append(f'{where}: "{value}" is now called "{new[name]}"')
        else:
            new[name] = value
    problems += argument_problems(new, trainer_arguments(method), TRAINER_ARGS)
    problems += [Problem(f"{TRAINER_ARGS}.{name}", what) for name, what in unsupported(new)]
    notices += [f"{TRAINER_ARGS}.{name} has no effect" for name in new if name in NO_EFFECT]
    return Translated(new, tuple(notices), tuple(problems))


def _reshape(name: str, value: Any) -> tuple[dict[str, Any] | None, str]:
    """Return the new arguments and the notice; or None and the problem with the value."""
    if name == "warmup_ratio":
        if not fits(value, ("float",)) or not 0 <= value < 1:
            return None, not_allowed(value, "a fraction of the steps, from 0 to below 1 (now called warmup_steps)")
        return {"warmup_steps": float(value)}, "is now called warmup_steps, a number below 1"
    if not isinstance(value, bool):
        return None, not_allowed(value, "true or false")
    if name == "group_by_length":
        strategy = "group_by_length" if value else "random"
        return {"train_sampling_strategy": strategy}, f'is now written as train_sampling_strategy: "{strategy}"'
    if name == "include_inputs_for_metrics":
        metrics = ["inputs"] if value else []
        return {"include_for_metrics": metrics}, "is now called include_for_metrics"
    return {"accelerator_config": {name: value}}, "is now part of accelerator_config"


def argument_problems(args: Mapping[str, Any], known: Arguments, where: str) -> list[Problem]:
    """Return the unknown names and the values of a wrong type among `args`, the arguments at the key path `where`."""
    problems = []
    unknown = [name for name in args if name not in known]
    reported = frozenset(unknown[:MOST_UNKNOWN])
    for name, value in args.items():
        if name in reported:
            problems.append(Problem(f"{where}.{shown(name)}", unknown_key([*where.split("."), name], known)))
        elif name in known and (problem := _value_problem(name, value, known[name])):
            problems.append(Problem(f"{where}.{name}", problem))
    if (more := len(unknown) - len(reported)) > 0:
        problems.append(Problem(where, f"has {more} more unknown keys"))
    return problems


def _value_problem(name: str, value: Any, argument: Argument) -> str | None:
    if not argument.types and not argument.choices:
        return None
    if isinstance(value, str) and value in argument.choices:
        return None
    if not fits(value, argument.types):
        parts = [types_phrase(argument.types)] if argument.types and argument.types != ("null",) else []
        parts += [choices_phrase(value, argument.choices)] if argument.choices else []
        return not_allowed(value, either(parts), argument.choices)
    return _range_problem(name, value, argument)


def _range_problem(name: str, value: Any, argument: Argument) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = "a number" if "float" in argument.types else "an integer"
    if name in _FRACTIONS and not 0 <= value <= 1:
        return not_allowed(value, "a number from 0 to 1")
    if value < (least := _LEAST.get(name, value)):
        return not_allowed(value, f"{number} from {least}")
    if value > (most := _MOST.get(name, value)):
        return not_allowed(value, f"{number} from {least} to {most}")
    if name == "max_steps" and value < 1 and value != -1:
        return not_allowed(value, "an integer from 1, or -1 to use num_train_epochs")
    return None


def lora_problems(lora: Mapping[str, Any]) -> list[Problem]:
    """Check the arguments of peft's LoraConfig, except `init_lora_weights`: `initializer_problem` checks that."""
    problems = argument_problems(_without(lora, "init_lora_weights"), peft_arguments("LORA"), "lora")
    return problems + _adapter_rules(lora, "lora")


def adapter_problems(adapter: Mapping[str, Any]) -> list[Problem]:
    """Check the arguments of the PEFT config that `peft_type` names."""
    kind = adapter.get("peft_type")
    if not isinstance(kind, str):
        return []  # absent or not a string: the section reports it
    if kind not in peft_types():
        meant = near(kind.upper(), peft_types())
        known = "" if meant else f" (known: {', '.join(peft_types())})"
        return [Problem("adapter.peft_type", f"unknown type {quoted(kind)}{meant}{known}")]
    if kind in REFUSED_TYPES:
        return [Problem("adapter.peft_type", f"{kind} is not supported: {REFUSED_TYPES[kind]}")]
    if missing := [name for name in NEEDED_ARGUMENTS.get(kind, ()) if adapter.get(name) is None]:
        return [Problem(f"adapter.{missing[0]}", f"is missing; {kind} requires it")]
    arguments = _without(adapter, "peft_type")
    if kind == "LORA" and isinstance(arguments.get("init_lora_weights"), str):
        arguments = _without(arguments, "init_lora_weights")  # as in `lora_problems`
    return argument_problems(arguments, peft_arguments(kind), "adapter") + _adapter_rules(arguments, "adapter")


def _adapter_rules(arguments: Mapping[str, Any], where: str) -> list[Problem]:
    """Check the arguments that PEFT accepts and cannot use with a causal language model."""
    problems = []
    task = arguments.get("task_type")
    if task not in (None, "CAUSAL_LM"):
        problems.append(Problem(f"{where}.task_type", not_allowed(task, '"CAUSAL_LM"')))
    for name in ("target_modules", "exclude_modules", "modules_to_save", "layers_pattern"):
        if isinstance(pattern := arguments.get(name), str):
            try:
                re.compile(pattern)
            except re.error as error:
                problems.append(Problem(f"{where}.{name}", f"{not_allowed(pattern, 'a regular expression')} ({error})"))
    targets = arguments.get("target_modules")
    if (targets == HEAD) or (isinstance(targets, list) and HEAD in targets):
        what = f"{HEAD} is not supported: the loss is computed from its weights, so its adapter would not be trained"
        problems.append(Problem(f"{where}.target_modules", what))
    return problems


def quantization_problems(quantization: Mapping[str, Any]) -> list[Problem]:
    """Check the quantisation class of transformers and its arguments."""
    name, args = quantization.get("config_class"), quantization.get("args", {})
    if not isinstance(name, str) or not isinstance(args, Mapping):
        return []  # the section reports it
    if name not in quantization_classes():
        meant = near(name, quantization_classes())
        known = "" if meant else f" (known: {', '.join(quantization_classes())})"
        return [Problem("model.quantization.config_class", f"unknown class {quoted(name)}{meant}{known}")]
    arguments = quantization_arguments(name)
    return argument_problems(args, arguments, "model.quantization.args") if arguments else []


def generation_problems(args: Mapping[str, Any]) -> list[Problem]:
    """Check the arguments of `generate`."""
    where = "inference.generation_args"
    problems = argument_problems(args, generation_arguments(), where)
    sequences = args.get("num_return_sequences")
    if isinstance(sequences, int) and sequences > 1:
        problems.append(
            Problem(f"{where}.num_return_sequences", f"{not_allowed(sequences, '1')}: each row gets one answer")
        )
    least, most = args.get("min_new_tokens"), args.get("max_new_tokens")
    if isinstance(least, int) and isinstance(most, int) and least > most:
        problems.append(Problem(f"{where}.min_new_tokens", not_allowed(least, f"at most max_new_tokens ({most})")))
    if args.get("stop_strings") is not None:
        problems.append(
            Problem(f"{where}.stop_strings", "cannot be set here; set inference.stop_strings, a list of strings")
        )
    return problems


def _without(args: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in args.items() if name != key}
