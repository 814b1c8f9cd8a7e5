"""The specs of all shipped plugins: only strings and plain values, so that nothing is imported.

A new plugin is a file, a spec here and a test (see CONTRIBUTING.md). Checks, ids, descriptions, the schema, docs and
parametrised tests are derived from the spec.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sft.registry import PluginSpec, Registry

DOMAIN_PROBES = 20  # random texts of the domain (Fei et al. 2023)
LABELLED_ROWS = 128  # for fitting a calibration

Probes = Literal["content_free", "domain"]
Maker = Literal["peft", "copy", "data", "registry"]
Ability = Literal["label_scores", "generation", "constrain", "quantization", "lm_eval"]
RowKind = Literal["completion", "preference", "text", "labelled_text"]


@dataclass(frozen=True)
class CalibrationSpec(PluginSpec):
    """A calibration of label probabilities.

    Args:
        settings: the keys of `inference.calibration_args` that it uses, each with its default here; None: the default
            of the key itself.
        probes: the probes whose scores it uses.
        per_row: whether each row has its own probes, if rows have their own in-context examples.
        former_names: older names that configs may still use.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    probes: Probes | None = None
    per_row: bool = False
    former_names: tuple[str, ...] = ()

    @property
    def labelled_rows(self) -> int:
        """Return the default number of labelled rows to fit on; 0: it needs none."""
        return int(self.settings.get("num_train_samples") or 0)


_OF_DOMAIN = {"num_estimations": DOMAIN_PROBES, "language": None}
_CALIBRATION = "sft.calibration"
CALIBRATIONS: Registry[CalibrationSpec] = Registry(
    "calibration",
    (
        CalibrationSpec("contextual", f"{_CALIBRATION}.contextual:contextual", probes="content_free"),
        CalibrationSpec("domain", f"{_CALIBRATION}.contextual:domain", settings=_OF_DOMAIN, probes="domain"),
        CalibrationSpec(
            "contextual_per_sample",
            f"{_CALIBRATION}.contextual:contextual_per_sample",
            probes="content_free",
            per_row=True,
            former_names=("contextual_alvaro",),
        ),
        CalibrationSpec(
            "domain_per_sample",
            f"{_CALIBRATION}.contextual:domain_per_sample",
            settings=_OF_DOMAIN,
            probes="domain",
            per_row=True,
            former_names=("domain_alvaro",),
        ),
        CalibrationSpec("batch", f"{_CALIBRATION}.batch:batch", settings={"num_estimations": None}),
        CalibrationSpec(
            "adjustable_batch",
            f"{_CALIBRATION}.batch:adjustable_batch",
            settings={
                "num_estimations": None,
                "num_train_samples": LABELLED_ROWS,
                "gamma_range": None,
                "gamma_steps": None,
            },
        ),
        CalibrationSpec(
            "supervised", f"{_CALIBRATION}.supervised:supervised", settings={"num_train_samples": LABELLED_ROWS}
        ),
        CalibrationSpec(
            "temperature", f"{_CALIBRATION}.temperature:temperature", settings={"num_train_samples": LABELLED_ROWS}
        ),
    ),
    own=CalibrationSpec(
        "",
        settings={**_OF_DOMAIN, "num_train_samples": 0, "gamma_range": None, "gamma_steps": None},
        probes="domain",
    ),
)
FORMER_CALIBRATIONS: Mapping[str, str] = {old: spec.name for spec in CALIBRATIONS.values() for old in spec.former_names}


def calibrations_using(setting: str) -> str:
    """Return the names of the calibrations that use a setting, for its description."""
    return ", ".join(name for name, spec in CALIBRATIONS.items() if setting in spec.settings)


@dataclass(frozen=True)
class MethodSpec(PluginSpec):
    """A training method.

    Args:
        rows: the kind of its training rows (see `sft.training.base.TrainingRow`).
        arguments: `"module:Class"` of the config class whose fields are `training.trainer_args`;
            `scripts/build_arguments.py` adds a new one to the table of arguments.
        restores_base: whether the base is unchanged after the adapter is removed.
        needs_reference: whether it compares with the model at step 0.
        idle: settings of the config that it does not use.
    """

    rows: RowKind = "completion"
    arguments: str = "trl:SFTConfig"
    restores_base: bool = False
    needs_reference: bool = False
    idle: tuple[str, ...] = ()


DEFAULT_METHOD = "sft"
METHODS: Registry[MethodSpec] = Registry(
    "training method",
    (MethodSpec("sft", "sft.training.methods.sft:train_sft", "supervised fine-tuning", restores_base=True),),
    own=MethodSpec(""),
)


@dataclass(frozen=True)
class SelectionSpec(PluginSpec):
    """A selection of the in-context examples of evaluated rows.

    Args:
        equals_default_for: task types whose default selection is the same.
        is_drawn: whether it depends on a seed.
        by_row: whether it always selects for each row; else only with `inference.random_icl`.
        whole_rounds: whether a prompt that is too long loses one example of each label at a time.
        last_stay: whether the first examples are dropped first, because the last one is the most similar.
    """

    equals_default_for: tuple[str, ...] = ()
    is_drawn: bool = True
    by_row: bool = True
    whole_rounds: bool = False
    last_stay: bool = True


_SELECTION = "sft.prompting.selection"
SELECTIONS: Registry[SelectionSpec] = Registry(
    "way to choose examples",
    (
        SelectionSpec(
            "balanced",
            f"{_SELECTION}.balanced:choose_balanced",
            "default for classification",
            equals_default_for=("classification", "generation"),
            by_row=False,
            whole_rounds=True,
            last_stay=False,
        ),
        SelectionSpec(
            "random",
            f"{_SELECTION}.at_random:choose_at_random",
            "default for generation",
            equals_default_for=("generation",),
            by_row=False,
            last_stay=False,
        ),
        SelectionSpec(
            "nearest",
            f"{_SELECTION}.nearest:choose_nearest",
            "BM25 per row, the most similar last",
            is_drawn=False,
        ),
    ),
    own=SelectionSpec(""),
)


@dataclass(frozen=True)
class InitializerSpec(PluginSpec):
    """An initialiser of LoRA's matrices.

    Args:
        maker: `registry`: a function of the weights; `peft`: PEFT, which does not change the weights;
            `copy`: PEFT on a copy of each weight, which it changes; `data`: PEFT after a pass over training prompts.
        settings: the key of LoraConfig that holds its settings.
        needs_full_precision: why it does not support a quantised base; empty if it does.
        starts_at_zero: whether its B is zero.
    """

    maker: Maker = "registry"
    settings: str = ""
    needs_full_precision: str = ""
    starts_at_zero: bool = True


_INITIALIZER = "sft.initialization.initializers"
INITIALIZERS: Registry[InitializerSpec] = Registry(
    "initialiser",
    (
        InitializerSpec("pca", f"{_INITIALIZER}.pca:pca"),
        InitializerSpec("pissa", f"{_INITIALIZER}.pissa:pissa", starts_at_zero=False),
        InitializerSpec("umap", f"{_INITIALIZER}.umap:umap"),
        InitializerSpec("umap_fast", f"{_INITIALIZER}.umap:umap_fast"),
    ),
    own=InitializerSpec(""),
)
_PISSA_NITER = "pissa_niter_N"
PEFT_INITIALIZERS: Mapping[str, InitializerSpec] = {
    spec.name: spec
    for spec in (
        InitializerSpec("gaussian", maker="peft"),
        InitializerSpec("orthogonal", maker="peft"),
        InitializerSpec("mica", maker="peft", needs_full_precision="PEFT decomposes the stored weights"),
        InitializerSpec("olora", maker="copy", starts_at_zero=False),
        InitializerSpec(
            "loftq",
            maker="copy",
            settings="loftq_config",
            needs_full_precision="it starts from the quantisation error",
            starts_at_zero=False,
        ),
        InitializerSpec(_PISSA_NITER, maker="copy", starts_at_zero=False),
        InitializerSpec("eva", maker="data", settings="eva_config"),
        InitializerSpec("corda", maker="data", settings="corda_config", starts_at_zero=False),
        InitializerSpec(
            "lora_ga",
            maker="data",
            settings="lora_ga_config",
            needs_full_precision="it needs the weights' gradients",
            starts_at_zero=False,
        ),
    )
}


def initializer_spec(init: bool | str) -> InitializerSpec:
    """Return the spec of an initialiser: registered here, PEFT's (names ignore case), or a user's own."""
    if isinstance(init, bool):
        return InitializerSpec(str(init).lower(), maker="peft")
    if re.fullmatch(r"pissa_niter_\d+", init):
        return PEFT_INITIALIZERS[_PISSA_NITER]
    named = None if init == _PISSA_NITER else PEFT_INITIALIZERS.get(init.lower())
    return named or INITIALIZERS.spec(init)


def initializer_problem(init: bool | str) -> str | None:
    """Return the problem of a config's `init_lora_weights`, or None. Imports nothing."""
    if isinstance(init, bool) or initializer_spec(init).maker != "registry":
        return None
    if init.startswith("pissa_niter_"):
        return f'expected an integer after "pissa_niter_", as in "pissa_niter_16", got "{init}"'
    problem = INITIALIZERS.problem(init)
    if problem is None or ":" in init:
        return problem
    return f"{problem}; also PEFT's own: true, false, {', '.join(PEFT_INITIALIZERS)}"


METRICS: Registry[PluginSpec] = Registry(
    "metric",
    (
        PluginSpec("exact_match", "sft.evaluation.generation:exact_match"),
        PluginSpec("token_f1", "sft.evaluation.generation:token_f1"),
        PluginSpec("rouge", "sft.evaluation.generation:rouge"),
        PluginSpec("bleu", "sft.evaluation.generation:bleu"),
        PluginSpec("chrf", "sft.evaluation.generation:chrf"),
        PluginSpec("ter", "sft.evaluation.generation:ter"),
        PluginSpec("balanced_accuracy", "sklearn.metrics:balanced_accuracy_score"),
        PluginSpec("cohen_kappa", "sklearn.metrics:cohen_kappa_score"),
    ),
    own=PluginSpec(""),
)
EVALUATE = "evaluate:"  # prefix of the name or path of a metric of the package evaluate


def metric_problem(name: str) -> str | None:
    """Return the problem of a metric's name, or None."""
    if name.startswith(EVALUATE):
        return None if name != EVALUATE else f'expected a name after "{EVALUATE}", as in "{EVALUATE}bleu"'
    return METRICS.problem(name)


@dataclass(frozen=True)
class DataFormatSpec(PluginSpec):
    """A format of local data files. `datasets` finds the files of each split.

    `target` is the function that reads a file to rows, cell by cell as text; empty if `datasets` reads it.

    Args:
        suffixes: the suffixes of its files.
        builder: the builder of `datasets` that finds the files, if that library does not know the format; else empty.
    """

    suffixes: tuple[str, ...] = ()
    builder: str = ""


_READING = "sft.dataset.reading"
DATA_FORMATS: Registry[DataFormatSpec] = Registry(
    "data format",
    (
        DataFormatSpec("csv", f"{_READING}.delimited:read_delimited", suffixes=(".csv", ".tsv")),
        DataFormatSpec("json", f"{_READING}.json_rows:read_json", suffixes=(".json", ".jsonl")),
        DataFormatSpec("text", suffixes=(".txt",)),
        DataFormatSpec("parquet", suffixes=(".parquet",)),
        DataFormatSpec("arrow", suffixes=(".arrow",)),
        DataFormatSpec("pandas"),
        DataFormatSpec("xml"),
    ),
    own=DataFormatSpec(""),
)
DATA_SUFFIXES: Mapping[str, str] = {end: spec.name for spec in DATA_FORMATS.values() for end in spec.suffixes}
COMPRESSED_SUFFIXES = (".gz", ".bz2", ".xz", ".zst", ".zip")


@dataclass(frozen=True)
class BackendSpec(PluginSpec):
    """An inference backend, which answers prompts.

    Args:
        keeps_base: whether it runs a base of transformers in this process, which the next experiment may reuse.
        lacks: the abilities that it lacks, each with the reason.
    """

    keeps_base: bool = False
    lacks: Mapping[Ability, str] = field(default_factory=dict)


BACKENDS: Registry[BackendSpec] = Registry(
    "inference backend",
    (BackendSpec("transformers", "sft.inference.backends.transformers:TransformersBackend", keeps_base=True),),
    own=BackendSpec(""),
)


@dataclass(frozen=True)
class LauncherOption:
    """An option of a launcher: `--launcher-arg NAME=VALUE`. `choices`: the possible values; empty: any."""

    name: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class LauncherSpec(PluginSpec):
    """A launcher, which starts an experiment's process.

    Args:
        options: its options.
        is_local: whether jobs run on this machine and share its processors and accelerators.
    """

    options: tuple[LauncherOption, ...] = ()
    is_local: bool = True


LAUNCHERS: Registry[LauncherSpec] = Registry(
    "launcher",
    (
        LauncherSpec(
            "local",
            "sft.launchers.local.launcher:LocalLauncher",
            "processes of this machine",
            options=(LauncherOption("isolation", ("auto", "fork", "spawn", "resident")),),
        ),
    ),
    own=LauncherSpec(""),
)


def calibration_problem(name: str) -> str | None:
    """Return the problem of a calibration's name, or None."""
    return CALIBRATIONS.problem(FORMER_CALIBRATIONS.get(name, name))


# The settings that name plugins, and the check of such a name.
PLUGIN_SETTINGS = {
    "lora.init_lora_weights": initializer_problem,
    "adapter.init_lora_weights": initializer_problem,
    "training.method": METHODS.problem,
    "inference.icl_selection": SELECTIONS.problem,
    "inference.calibration_args.calibration_fn": calibration_problem,
    "inference.backend": BACKENDS.problem,
    "evaluation.metrics": metric_problem,
}
