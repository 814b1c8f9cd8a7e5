"""Arguments of the libraries: the table is current, names and types are checked, old names are translated."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path
from typing import Any

import pytest

from sft.config.checking.arguments import (
    adapter_problems,
    generation_problems,
    lora_problems,
    quantization_problems,
    translate_trainer_args,
)
from sft.config.libraries.library import (
    TABLE,
    generation_arguments,
    library_versions,
    peft_types,
    quantization_classes,
    trainer_arguments,
)
from sft.config.libraries.renamed import REMOVED, RENAMED, RENAMED_VALUES, RESHAPED


def test_the_table_is_current(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {name: importlib.metadata.version(name) for name in library_versions()}
    if installed != library_versions():
        pytest.skip(f"the table is of {library_versions()}, installed are {installed}")
    monkeypatch.syspath_prepend(str(repository / "scripts"))
    import build_arguments

    assert build_arguments.text() == TABLE.read_text(encoding="utf-8"), "run scripts/build_arguments.py"
    del sys.modules["build_arguments"]


def test_the_table_is_of_the_tested_versions(repository: Path) -> None:
    pins = dict(
        line.split("==") for line in (repository / "dev_requirements.txt").read_text().splitlines() if "==" in line
    )
    assert library_versions() == {name: pins[name] for name in ("peft", "transformers", "trl")}


def test_the_table_holds_the_common_arguments() -> None:
    assert {"LORA", "PROMPT_TUNING", "IA3", "LOHA"} <= set(peft_types())
    assert {"BitsAndBytesConfig", "GPTQConfig", "AwqConfig", "TorchAoConfig"} <= set(quantization_classes())
    assert trainer_arguments()["learning_rate"].types == ("float",)
    assert "cosine" in trainer_arguments()["lr_scheduler_type"].choices
    assert "int" in generation_arguments()["max_new_tokens"].types


def test_old_names_are_gone_and_new_ones_are_there() -> None:
    known = trainer_arguments()
    old = {*RENAMED, *RESHAPED, *REMOVED}
    assert old & set(known) == set()
    assert len(old) == len(RENAMED) + len(RESHAPED) + len(REMOVED)
    assert {*RENAMED.values(), *RESHAPED.values()} <= set(known)
    for name, value in RENAMED_VALUES:
        assert value not in known[name].choices
        assert not known[name].choices or RENAMED_VALUES[name, value] in known[name].choices


def test_current_arguments_pass_as_they_are() -> None:
    args = {"learning_rate": 1, "max_steps": -1, "warmup_steps": 0.1, "report_to": "none", "optim": "adafactor",
            "lr_scheduler_type": "cosine", "gradient_checkpointing": True, "fsdp_config": {"a": 2}}  # fmt: skip
    assert translate_trainer_args(args) == (args, (), ())


@pytest.mark.parametrize(
    ("old", "value", "new"),
    [
        ("max_seq_length", 512, {"max_length": 512}),
        ("evaluation_strategy", "no", {"eval_strategy": "no"}),
        ("no_cuda", True, {"use_cpu": True}),
        ("per_gpu_train_batch_size", 4, {"per_device_train_batch_size": 4}),
        ("push_to_hub_model_id", "a/b", {"hub_model_id": "a/b"}),
        ("warmup_ratio", 0.1, {"warmup_steps": 0.1}),
        ("warmup_ratio", 0, {"warmup_steps": 0.0}),
        ("group_by_length", True, {"train_sampling_strategy": "group_by_length"}),
        ("group_by_length", False, {"train_sampling_strategy": "random"}),
        ("include_inputs_for_metrics", True, {"include_for_metrics": ["inputs"]}),
        ("split_batches", True, {"accelerator_config": {"split_batches": True}}),
    ],
)
def test_an_old_name_is_translated_with_a_notice(old: str, value: Any, new: dict[str, Any]) -> None:
    translated = translate_trainer_args({old: value})
    assert translated.args == new
    assert translated.problems == ()
    notice = translated.notices[0]
    assert notice.startswith(f"training.trainer_args.{old} is now ")
    assert next(iter(new)) in notice


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("resume_from_checkpoint", "there"), ("deepspeed", {"zero": 2}), ("push_to_hub", True),
        ("pad_to_multiple_of", 8), ("shuffle_dataset", True), ("chat_template_path", "x"),
        ("completion_only_loss", False), ("max_steps", 0),
        ("gradient_checkpointing_kwargs", {"nope": 1}), ("trust_remote_code", True),
    ],
)  # fmt: skip
def test_unsupported_values_are_refused_and_their_defaults_are_not(name: str, value: Any) -> None:
    [problem] = translate_trainer_args({name: value}).problems
    assert problem.where == f"training.trainer_args.{name}"
    defaults = {
        "max_steps": -1,
        "completion_only_loss": True,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
    }
    defaults |= dict.fromkeys(("push_to_hub", "shuffle_dataset", "trust_remote_code"), False)
    assert translate_trainer_args({name: defaults.get(name)}).problems == ()


def test_an_argument_without_effect_gives_a_notice() -> None:
    translated = translate_trainer_args({"dataset_text_field": "text"})
    assert translated.notices == ("training.trainer_args.dataset_text_field has no effect",)
    assert translated.problems == ()


def test_an_old_value_is_translated_with_a_notice() -> None:
    translated = translate_trainer_args({"optim": "adamw_hf"})
    assert translated.args == {"optim": "adamw_torch"}
    assert translated.notices == ('training.trainer_args.optim: "adamw_hf" is now called "adamw_torch"',)


@pytest.mark.parametrize("name", sorted(REMOVED))
def test_a_removed_name_has_advice(name: str) -> None:
    [problem] = translate_trainer_args({name: True}).problems
    assert problem.where == f"training.trainer_args.{name}"
    assert problem.what == f"is no longer an argument: {REMOVED[name]}"


@pytest.mark.parametrize("name", ["seed", "data_seed"])
def test_seeds_are_set_in_the_config(name: str) -> None:
    [problem] = translate_trainer_args({name: 13}).problems
    assert problem.where == f"training.trainer_args.{name}"
    assert problem.what == "cannot be set here; set seeds.training (or seed, for the whole run)"
    assert name in trainer_arguments()  # else it would be an unknown key


@pytest.mark.parametrize(
    ("args", "key", "what"),
    [
        ({"learning_rte": 1}, "learning_rte", 'unknown key; did you mean "learning_rate"?'),
        ({"batch_size": 1}, "batch_size", 'unknown key; did you mean "per_device_train_batch_size"?'),
        ({"lora_alpha": 1}, "lora_alpha", "unknown key; it belongs in lora"),
        ({"learning_rate": "1e-4"}, "learning_rate", 'expected a number, got "1e-4"'),
        ({"learning_rate": -1.0}, "learning_rate", "expected a number from 0, got -1.0"),
        ({"max_steps": 1.5}, "max_steps", "expected an integer, got 1.5"),
        ({"max_steps": True}, "max_steps", "expected an integer, got true"),
        ({"bf16": "yes"}, "bf16", 'expected true or false, or null, got "yes"'),
        ({"per_device_train_batch_size": 0}, "per_device_train_batch_size", "expected an integer from 1, got 0"),
        ({"optim": "adamw_torc"}, "optim", "expected one of "),
        ({"eval_strategy": "step"}, "eval_strategy", 'expected "no", "steps" or "epoch", got "step"'),
        (
            {"warmup_ratio": 1.5},
            "warmup_ratio",
            "expected a fraction of the steps, from 0 to below 1 (now called warmup_steps), got 1.5",
        ),
        ({"group_by_length": "yes"}, "group_by_length", 'expected true or false, got "yes"'),
        (
            {"max_seq_length": 1, "max_length": 2},
            "max_seq_length",
            "cannot be combined with max_length, its new name; remove one",
        ),
        ({"max_seq_length": "x"}, "max_length", 'expected an integer or null, got "x"'),
    ],
)
def test_unusable_arguments_are_problems(args: dict[str, Any], key: str, what: str) -> None:
    [problem] = translate_trainer_args(args).problems
    assert problem.where == f"training.trainer_args.{key}"
    assert problem.what.startswith(what)


def test_both_names_with_one_value_are_fine() -> None:
    assert translate_trainer_args({"max_seq_length": 64, "max_length": 64}).args == {"max_length": 64}


@pytest.mark.parametrize(
    ("lora", "what"),
    [
        ({"r": 0}, "expected an integer from 1, got 0"),
        ({"lora_dropout": 1.5}, "expected a number from 0 to 1, got 1.5"),
        ({"bias": "nix"}, 'expected "none", "all" or "lora_only", got "nix"'),
        ({"target_moduls": "x"}, 'unknown key; did you mean "target_modules"?'),
        ({"use_dora": 1}, "expected true or false, got 1"),
        ({"target_modules": 3}, "expected a string, a list or null, got 3"),
    ],
)
def test_lora_arguments(lora: dict[str, Any], what: str) -> None:
    assert [problem.what for problem in lora_problems(lora)] == [what]


def test_good_lora_arguments() -> None:
    good = {"r": 8, "lora_alpha": 16, "target_modules": ["q_proj"], "init_lora_weights": "pca", "lora_dropout": 0,
            "use_rslora": True, "rank_pattern": {"q": 4}, "modules_to_save": None}  # fmt: skip
    assert lora_problems(good) == []


def test_adapters_are_checked_by_their_type() -> None:
    assert adapter_problems({"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 8}) == []
    assert adapter_problems({}) == []
    assert adapter_problems({"peft_type": "LORA", "init_lora_weights": "pca"}) == []
    assert len(adapter_problems({"peft_type": "LORA", "init_lora_weights": 3})) == 1
    assert len(adapter_problems({"peft_type": "ADALORA", "init_lora_weights": "pca"})) == 1
    [unknown] = adapter_problems({"peft_type": "PROMPT_TUNNING"})
    assert unknown.what == 'unknown type "PROMPT_TUNNING"; did you mean "PROMPT_TUNING"?'
    [key] = adapter_problems({"peft_type": "IA3", "r": 8})
    assert key.where == "adapter.r"
    [listed] = adapter_problems({"peft_type": "XYZZY"})
    assert "known: " in listed.what
    assert "LORA" in listed.what


def test_quantisation_is_checked_by_its_class() -> None:
    assert quantization_problems({"config_class": "BitsAndBytesConfig", "args": {"load_in_8bit": True}}) == []
    assert quantization_problems({"config_class": "QuarkConfig", "args": {"whatever": 1}}) == []
    [unknown] = quantization_problems({"config_class": "BitsAndBitesConfig"})
    assert unknown.what == 'unknown class "BitsAndBitesConfig"; did you mean "BitsAndBytesConfig"?'
    [key] = quantization_problems({"config_class": "BitsAndBytesConfig", "args": {"load_in_4bits": True}})
    assert key == ("model.quantization.args.load_in_4bits", 'unknown key; did you mean "load_in_4bit"?')
    [value] = quantization_problems({"config_class": "BitsAndBytesConfig", "args": {"load_in_4bit": "yes"}})
    assert value.what == 'expected true or false, got "yes"'


def test_generation_arguments() -> None:
    assert generation_problems({"max_new_tokens": 8, "do_sample": True, "temperature": 0.7, "top_p": 0.9}) == []
    [unknown] = generation_problems({"max_new_token": 8})
    assert unknown == ("inference.generation_args.max_new_token", 'unknown key; did you mean "max_new_tokens"?')
    [sequences] = generation_problems({"num_return_sequences": 3})
    assert sequences.what == "expected 1, got 3: each row gets one answer"
    [value] = generation_problems({"top_p": 2})
    assert value.what == "expected a number from 0 to 1, got 2"
