"""Quantisation of the base: config classes of transformers by name, and the packages that they need.

Knows nothing of weights; `sft.initialization.dequantize` reads those.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from sft.config.model import ModelConfig, QuantizationConfig
from sft.errors import MissingPackageError, ModelError, did_you_mean
from sft.model.source import one_line, quiet

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Quantisation method of transformers -> (module to look for, name on PyPI). GPTQ and AWQ both load through gptqmodel.
PACKAGES = {
    "bitsandbytes": ("bitsandbytes", "bitsandbytes"),
    "gptq": ("gptqmodel", "gptqmodel"),
    "awq": ("gptqmodel", "gptqmodel"),
    "torchao": ("torchao", "torchao"),
    "compressed-tensors": ("compressed_tensors", "compressed-tensors"),
    "quanto": ("optimum.quanto", "optimum-quanto"),
}
REFUSED = {"hqq": "HQQ does not work with the versions of the libraries used here; choose bitsandbytes or torchao"}


def quantization_config(section: QuantizationConfig) -> Any:
    """The quantisation config object that `from_pretrained` takes.

    Raises:
        ModelError: transformers has no such class, HQQ, or the class does not take the arguments.
        MissingPackageError: the package behind it is not installed.
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
    return made


def require_quantizer(config: ModelConfig) -> None:
    """Ask for the package that an already quantised checkpoint (GPTQ, AWQ, …) needs, before anything is loaded.

    Raises:
        MissingPackageError: it is not installed.
        ModelError: a kind that does not work here.
    """
    from transformers import PreTrainedConfig

    hub = {key: config.model_args[key] for key in ("revision", "token", "cache_dir") if key in config.model_args}
    try:
        with quiet():  # the raw file is read: no code of the repository runs
            raw, _ = PreTrainedConfig.get_config_dict(config.name, **hub)
    except (OSError, ValueError):
        return  # load_model says what is wrong with it
    method = (raw.get("quantization_config") or {}).get("quant_method")
    if method is not None:
        require_method(str(method))


def quantization_method(model: PreTrainedModel) -> str:
    """How the base is quantised (`bitsandbytes`, `gptq`, …); empty when it is not."""
    return _name(getattr(model, "quantization_method", None))


def calm(model: PreTrainedModel) -> None:
    """Stop bitsandbytes from logging a line for each int8 layer of each forward pass."""
    if quantization_method(model) == "bitsandbytes":
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def require_method(method: str) -> None:
    """Refuse a quantisation method that cannot work here.

    Raises:
        ModelError: a method that does not work with the libraries used.
        MissingPackageError: its package is not installed.
    """
    if method in REFUSED:
        raise ModelError(f"model.quantization: {REFUSED[method]}")
    module, package = PACKAGES.get(method, (None, ""))
    if module is not None and not _installed(module):
        raise MissingPackageError("model.quantization", package)


def _name(method: Any) -> str:
    """A method of transformers' enumeration as text."""
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
    try:
        with quiet():
            made = kind(**section.args)
    except (TypeError, ValueError, ImportError) as error:
        raise ModelError(f"model.quantization.args: {section.config_class} says: {one_line(error)}") from error
    # BitsAndBytesConfig takes any keyword and only logs the unknown ones.
    if unknown := [key for key in section.args if not hasattr(made, key) and not hasattr(kind, key)]:
        known = sorted(key.lstrip("_") for key in vars(made))
        raise ModelError(
            f'model.quantization.args: {section.config_class} has no "{unknown[0]}"'
            f"{did_you_mean(unknown[0], known)} (it has: {', '.join(known)})"
        )
    return made
