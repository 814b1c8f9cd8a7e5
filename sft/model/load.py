"""Load a language model by its config: source, device, dtype, quantisation.

Quantised bases compute with their stored weights (`settle`), so that they can be initialised, trained and merged after
a forward.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft.config.sections.model import ModelConfig
from sft.errors import ModelError
from sft.foreign import one_line
from sft.io import parse_json
from sft.model.quantised.quantization import loading_config
from sft.model.quantised.quantized import settle
from sft.model.sealed import check_whole
from sft.model.source import check_folder, reading, trusts_remote_code
from sft.protocols import LanguageModel

if TYPE_CHECKING:
    import torch

OWN_ARGUMENTS = ("parallelize", "no_split_module_classes", "trust_remote_code", "dtype", "torch_dtype")


def load_model(config: ModelConfig) -> LanguageModel:
    """Load the base model of a config, causal or encoder-decoder, in eval mode, on the best device.

    Device: the first CUDA device, else MPS, else the CPU; `parallelize` spreads the layers over all devices. Dtype
    "auto" (the default): bfloat16 if the device supports it natively, else float32.

    Raises:
        ModelError: the model does not exist, is no language model, lacks weights, differs from its recorded hashes (if
            saved by this tool), or an argument is unknown.
        MissingPackageError: the quantisation needs a package that is not installed.
    """
    check_folder("model.name", config.name, "config.json")
    check_whole("model.name", config.name)
    _check_generation_config(config.name)
    arguments = _arguments(config)
    with reading("model.name", config.name, config.model_args), _converting(config):
        kind, shape = _kind(config, arguments)
        if arguments.get("device_map") == "auto" and "no_split_module_classes" in config.model_args:
            arguments["device_map"] = _device_map(config, arguments, kind, shape)
        model, report = kind.from_pretrained(config.name, output_loading_info=True, **arguments)
    _refuse_missing_weights(config.name, report["missing_keys"])
    settle(model)
    return model.eval()


def empty_model(config: ModelConfig) -> LanguageModel:
    """Return the base model of a config without weights, on the meta device: its layers, their names and shapes.

    Raises:
        ModelError: the model does not exist or is no language model.
    """
    import torch

    check_folder("model.name", config.name, "config.json")
    arguments = _arguments(config)
    with reading("model.name", config.name, config.model_args), torch.device("meta"):
        kind, shape = _kind(config, arguments)
        shape.__dict__.pop("quantization_config", None)  # its layers would need the quantiser's own package
        return kind.from_config(shape, trust_remote_code=arguments["trust_remote_code"])


def best_device() -> torch.device:
    """Return the first CUDA device, else MPS, else the CPU."""
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def best_dtype(device: torch.device) -> torch.dtype:
    """Return bfloat16 if the device supports it natively, else float32."""
    import torch

    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float32


def dtype_of(config: ModelConfig) -> torch.dtype:
    """Return the dtype of the base of a config."""
    return _dtype(config.model_args, best_device())


def _arguments(config: ModelConfig) -> dict[str, Any]:
    """Return the arguments of `from_pretrained`."""
    import torch

    model_args = config.model_args
    arguments = {key: value for key, value in model_args.items() if key not in OWN_ARGUMENTS}
    device = best_device()
    arguments["dtype"] = _dtype(model_args, device)
    arguments["trust_remote_code"] = trusts_remote_code(model_args)
    if model_args.get("parallelize") is True:
        arguments.setdefault("device_map", "auto")
    elif device.type != "cpu":
        arguments.setdefault("device_map", {"": str(device)})
    target = torch.device("cpu") if arguments.get("device_map") in ("cpu", {"": "cpu"}) else device
    if (quantization := loading_config(config, target)) is not None:
        arguments["quantization_config"] = quantization
    return arguments


@contextmanager
def _converting(config: ModelConfig) -> Iterator[None]:
    """Raise a one-line error if a quantiser of transformers finds no GPU, or cannot convert the weights."""
    try:
        yield
    except RuntimeError as error:
        message = one_line(error)
        if "automatic conversion" in message and config.quantization is not None:
            message = f"{config.quantization.config_class} cannot convert the weights on this device"
        elif "GPU" not in message or "out of memory" in message:
            raise
        raise ModelError(f'model.quantization: "{config.name}" cannot be loaded: {message}') from error


def _dtype(model_args: dict[str, Any], device: torch.device) -> torch.dtype:
    """Return the dtype of the config ("float32", "torch.bfloat16"), or the best one for the device."""
    import torch

    name = model_args.get("dtype", model_args.get("torch_dtype", "auto"))
    if name in ("auto", None):
        return best_dtype(device)
    dtype = getattr(torch, str(name).removeprefix("torch."), None)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ModelError(f'model.model_args.dtype: expected "auto", "float32", "bfloat16" or "float16", got "{name}"')
    return dtype


def _kind(config: ModelConfig, arguments: dict[str, Any]) -> tuple[Any, Any]:
    """Return the class that loads the model, and the model's own config."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    hub = {key: arguments[key] for key in ("revision", "token", "cache_dir") if key in arguments}
    shape = AutoConfig.from_pretrained(config.name, trust_remote_code=arguments["trust_remote_code"], **hub)
    if not arguments["trust_remote_code"] and "/" in (kernel := str(getattr(shape, "_attn_implementation", ""))):
        raise ModelError(
            f'model.name: the config of "{config.name}" names the kernel "{kernel}", which is code from the Hub; '
            "if you trust it, set model.model_args.trust_remote_code to true"
        )
    _check_quantizer(config.name, getattr(shape, "quantization_config", None))
    return (AutoModelForSeq2SeqLM if shape.is_encoder_decoder else AutoModelForCausalLM), shape


def _check_quantizer(name: str, stored: Any) -> None:
    """Refuse a method that transformers does not know: it would load the packed weights without dequantising them."""
    from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING

    method = stored.get("quant_method") if isinstance(stored, dict) else None
    known = sorted(AUTO_QUANTIZATION_CONFIG_MAPPING)
    if method is not None and str(method) not in known and not {"load_in_4bit", "load_in_8bit"} & set(stored):
        raise ModelError(
            f'model.name: the config.json of "{name}" names the quantisation method "{method}", which transformers '
            f"does not know (it knows: {', '.join(known)})"
        )


def _check_generation_config(name: str) -> None:
    """Refuse a corrupt file, which transformers would silently replace by its defaults."""
    file = Path(name) / "generation_config.json"
    if file.is_file():
        try:
            is_object = isinstance(parse_json(file.read_text(encoding="utf-8")), dict)
        except (OSError, ValueError):
            is_object = False
        if not is_object:
            raise ModelError(f"model.name: {file} is not a JSON object; repair it, or delete it to use the defaults")


def _device_map(config: ModelConfig, arguments: dict[str, Any], kind: Any, shape: Any) -> dict[str, Any]:
    """Return the device of each layer; modules of the user's and the model's classes are not split."""
    from accelerate import infer_auto_device_map, init_empty_weights
    from accelerate.utils import get_balanced_memory

    with init_empty_weights():
        empty = kind.from_config(shape, trust_remote_code=arguments["trust_remote_code"])
    empty.tie_weights()
    whole = {*config.model_args["no_split_module_classes"], *(empty._no_split_modules or ())}
    known = {type(module).__name__ for module in empty.modules()}
    if absent := sorted(set(config.model_args["no_split_module_classes"]) - known):
        raise ModelError(f"model.model_args.no_split_module_classes: the model has no {', '.join(absent)}")
    rules = {"dtype": arguments["dtype"], "no_split_module_classes": sorted(whole & known)}
    memory = get_balanced_memory(empty, max_memory=arguments.pop("max_memory", None), **rules)
    return infer_auto_device_map(empty, max_memory=memory, **rules)


def _refuse_missing_weights(name: str, missing: Iterable[str]) -> None:
    """Refuse a checkpoint with missing weights, which would be random."""
    names = sorted(missing)
    if names:
        shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        raise ModelError(
            f'model.name: "{name}" is not a complete language model; {len(names)} weights are missing ({shown})'
        )
