"""Quantisation of the base: config classes of transformers, required packages, and trainable loading of quantised
checkpoints.

`quantized.py` handles loaded bases, `sft.initialization.dequantize` reads their weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from sft.config.sections.model import ModelConfig, QuantizationConfig
from sft.errors import MissingPackageError, ModelError, did_you_mean
from sft.foreign import explained
from sft.log import get_logger
from sft.model.quantised.torchao import torchao_type
from sft.model.source import quiet
from sft.protocols import LanguageModel

if TYPE_CHECKING:
    import torch

# Quantisation method of transformers -> {module to look for: what to install}. AWQ and GPTQ load through gptqmodel,
# with which PEFT wants optimum too; gptqmodel 7.7 would pull in another torch than the one that is tested.
_GPTQMODEL = {"gptqmodel": "gptqmodel~=7.6.0", "optimum": "optimum"}
PACKAGES = {
    "bitsandbytes": {"bitsandbytes": "bitsandbytes"},
    "gptq": _GPTQMODEL,
    "awq": _GPTQMODEL,
    "torchao": {"torchao": "torchao"},
    "compressed-tensors": {"compressed_tensors": "compressed-tensors"},
    "quanto": {"optimum.quanto": "optimum-quanto"},
}
_FRACTIONS = ("llm_int8_threshold", "damp_percent")  # arguments whose classes accept no integers
REFUSED = {"hqq": "HQQ does not work with the installed library versions; choose bitsandbytes or torchao"}

# The kernels of gptqmodel in plain torch: they work on any device, are trainable, and need no compilation.
TORCH_BACKENDS = {"gptq": "gptq_torch", "awq": "torch_awq"}

logger = get_logger(__name__)


def quantization_config(section: QuantizationConfig) -> Any:
    """Build the quantisation config object of a config's section.

    Raises:
        ModelError: transformers has no such class, the method is HQQ, or the class does not accept the arguments.
        MissingPackageError: its package is not installed.
    """
    known = _config_classes()
    if section.config_class not in known:
        names = sorted(known)
        raise ModelError(
            f'model.quantization.config_class: transformers has no "{section.config_class}"'
            f"{did_you_mean(section.config_class, names)} (it has: {', '.join(names)})"
        )
    made = _make(known[section.config_class], section)
    require_method(_name(made.quant_method))
    if getattr(made, "load_in_8bit", False) and "llm_int8_threshold" not in section.args:
        logger.warning(
            "model.quantization.args: with the default llm_int8_threshold (%s), results depend on the other rows of a "
            "batch; set it to 0.0 to avoid this",
            made.llm_int8_threshold,
        )
    return made


def loading_config(config: ModelConfig, device: torch.device) -> Any | None:
    """Return the quantisation config object for loading a base; None if it needs none.

    GPTQ and AWQ: kernels that are trainable on the device, unless the config sets others (`backend`).
    compressed-tensors: dequantised, as it would be at the first forward anyway, unless the config says otherwise.

    Raises:
        MissingPackageError: a package that the method needs is not installed.
        ModelError: the method or an argument does not work.
    """
    stored = _stored(config)
    method = _name(stored.get("quant_method"))
    if method:
        require_method(method)
    if config.quantization is not None:
        made = quantization_config(config.quantization)
        if _name(made.quant_method) in TORCH_BACKENDS and "backend" not in config.quantization.args:
            made.backend = _backend(_name(made.quant_method), device)
        return made
    if method == "compressed-tensors":
        logger.info("The base is stored as %s; its weights are dequantised", stored.get("format", method))
        return _config_classes()["CompressedTensorsConfig"](dequantize=True)
    if method not in TORCH_BACKENDS:
        return None
    backend = _backend(method, device)
    logger.info("The base is quantised by %s; kernel: %s", method.upper(), backend)
    kind = _config_classes()["GPTQConfig" if method == "gptq" else "AwqConfig"]
    return kind(bits=stored.get("bits", 4), backend=backend)


def quantization_method(model: LanguageModel) -> str:
    """Return the quantisation method of the base (`bitsandbytes`, `gptq`, …); empty if it is not quantised."""
    return _name(getattr(model, "quantization_method", None))


def require_method(method: str) -> None:
    """Refuse a quantisation method that does not work.

    Raises:
        ModelError: the method does not work with the installed libraries.
        MissingPackageError: its package is not installed.
    """
    if method in REFUSED:
        raise ModelError(f"model.quantization: {REFUSED[method]}")
    if missing := [package for module, package in PACKAGES.get(method, {}).items() if not _installed(module)]:
        raise MissingPackageError("model.quantization", *missing)


def _backend(method: str, device: torch.device) -> str:
    """Return the kernel: on a GPU, gptqmodel chooses the fastest one with a backward pass."""
    return "auto_trainable" if device.type == "cuda" else TORCH_BACKENDS[method]


def _stored(config: ModelConfig) -> Mapping[str, Any]:
    """Return the quantisation config of the checkpoint; empty if it is not quantised."""
    from transformers import PreTrainedConfig

    hub = {key: config.model_args[key] for key in ("revision", "token", "cache_dir") if key in config.model_args}
    try:
        with quiet():  # the raw file is read: no code of the repository runs
            raw, _ = PreTrainedConfig.get_config_dict(config.name, **hub)
    except (OSError, ValueError):
        return {}  # load_model reports the error
    stored = raw.get("quantization_config") or (raw.get("text_config") or {}).get("quantization_config")
    return stored if isinstance(stored, Mapping) else {}


def _name(method: Any) -> str:
    """Return a method of transformers' enumeration as a string."""
    return "" if method is None else str(getattr(method, "value", method))


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the parent of a dotted name is absent
        return False


def _config_classes() -> dict[str, Any]:
    from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING

    return {made.__name__: made for made in AUTO_QUANTIZATION_CONFIG_MAPPING.values()}


def _make(kind: Any, section: QuantizationConfig) -> Any:
    arguments = dict(section.args)
    if section.config_class == "TorchAoConfig":
        require_method("torchao")
        arguments["quant_type"] = torchao_type(arguments.get("quant_type"))
    for name, value in arguments.items():  # Jsonnet writes 0.0 as 0
        if isinstance(value, int) and not isinstance(value, bool) and name in _FRACTIONS:
            arguments[name] = float(value)
    with explained(f"model.quantization.args: {section.config_class} says", ModelError), quiet():
        made = kind(**arguments)
    # BitsAndBytesConfig takes any keyword and only logs the unknown ones.
    if unknown := [key for key in section.args if not hasattr(made, key) and not hasattr(kind, key)]:
        known = sorted(key.lstrip("_") for key in vars(made))
        raise ModelError(
            f'model.quantization.args: {section.config_class} has no "{unknown[0]}"'
            f"{did_you_mean(unknown[0], known)} (it has: {', '.join(known)})"
        )
    return made
