"""Extract an adapter from the state dict of a training, without the prefixes that wrappers add to names.

The file is in safetensors format, or a torch file of plain tensors, such as consolidated files of FSDP and DeepSpeed.
The weights are loaded by name into PEFT's adapter on an empty base, so that every method is saved in its own format.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft.errors import UserError
from sft.export.adapter import read_torch_file
from sft.export.source import Trained
from sft.foreign import one_line
from sft.initialization.hold import HELD, fold_tensors
from sft.model.saving import ADAPTER
from sft.model.source import import_peft, quiet, reading, trusts_remote_code
from sft.protocols import LanguageModel

if TYPE_CHECKING:
    import torch
    from peft import PeftModel

INNER = ("module", "model", "state_dict", "model_state_dict")  # keys of the weights in trainers' files
# Prefixes of DDP and DeepSpeed, FSDP, torch.compile, activation checkpointing.
_WRAPPERS = re.compile(r"(?:^|(?<=\.))(?:_fsdp_wrapped_module|_orig_mod|_checkpoint_wrapped_module)\.|^(?:module\.)+")
_PEFT = "base_model.model."


def adapter_from(file: Path, trained: Trained) -> PeftModel:
    """Return the adapter of `trained`'s config with the weights in `file`, on a base without weights.

    Raises:
        UserError: the file cannot be read, lacks weights of the adapter, or has them in other shapes.
    """
    state = _folded({_own_name(name): value for name, value in read_state(file).items()})
    base = _empty_base(trained)
    base_ids = {id(value) for value in _named(base).values()}
    model = _adapter_on(base, trained)
    named = _named(model)
    adapter_names = {name for name, value in named.items() if id(value) not in base_ids}
    tensors = {name: value for name in adapter_names if (value := _find(name, state)) is not None}
    required = {name for name in adapter_names if named[name].requires_grad}
    if missing := sorted(required.difference(tensors)):
        raise UserError(
            f"--from-state-dict: {file} lacks {len(missing)} of the adapter's {len(required)} weights "
            f"({missing[0]}); it contains {len(state)} tensors ({next(iter(state), 'none')})"
        )
    for name, value in tensors.items():
        if value.shape != named[name].shape:
            raise UserError(
                f"--from-state-dict: {name} in {file}: expected the shape {list(named[name].shape)} of RUN's "
                f"adapter_config.json, got {list(value.shape)}"
            )
        if not value.isfinite().all():
            raise UserError(f"--from-state-dict: {name} in {file} contains NaN or infinite numbers")
        named[name].data.copy_(value)
    return model


def read_state(file: Path) -> Mapping[str, torch.Tensor]:
    """Return the tensors in a file by name.

    Raises:
        UserError: the file is missing or not a file of plain tensors.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not file.is_file():
        raise UserError(f"--from-state-dict: file {file} not found")
    if file.suffix == ".safetensors":
        try:
            return load_file(file)
        except (OSError, SafetensorError) as error:
            raise UserError(f"--from-state-dict: {file} cannot be read: {one_line(error)}") from None
    value: Any = read_torch_file(file)
    while inner := next((value[key] for key in INNER if isinstance(value.get(key), dict)), None):
        value = inner
    tensors = {str(name): tensor for name, tensor in value.items() if isinstance(tensor, torch.Tensor)}
    if not tensors:
        raise UserError(f"--from-state-dict: {file} contains no named tensors")
    return tensors


def _named(model: LanguageModel) -> dict[str, torch.Tensor]:
    return dict(model.named_parameters()) | dict(model.named_buffers())


def _empty_base(trained: Trained) -> LanguageModel:
    """Return the base with uninitialised weights, whose memory is never touched and so not used."""
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModelForCausalLM

    trust = trusts_remote_code(trained.base.model_args)
    with reading("RUN: base model", trained.base.name, {}):
        config = AutoConfig.from_pretrained(trained.base.name, trust_remote_code=trust)
        if hasattr(config, "quantization_config"):
            del config.quantization_config  # use the layer names and shapes of the ordinary model
        with init_empty_weights(include_buffers=True):
            base = AutoModelForCausalLM.from_config(config, trust_remote_code=trust)
    return base.to_empty(device="cpu")


def _adapter_on(base: LanguageModel, trained: Trained) -> PeftModel:
    peft = import_peft()
    try:
        with quiet():
            config = peft.PeftConfig.from_pretrained(str(trained.folder))
            config.inference_mode = False
            return peft.get_peft_model(base, config)
    except (TypeError, ValueError, OSError, RuntimeError) as error:  # some methods first decompose the base's weights
        raise UserError(f"RUN: its adapter cannot be created on a base without weights: {one_line(error)}") from error


def _own_name(name: str) -> str:
    return _WRAPPERS.sub("", name).removeprefix(_PEFT)


def _folded(state: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    """Combine the two adapters of a training with a start other than zero, as the saved adapter does."""
    held = {name.replace(f".{HELD}.", "."): value for name, value in state.items() if f".{HELD}." in name}
    trained = {name.replace(f".{ADAPTER}.", "."): value for name, value in state.items() if f".{HELD}." not in name}
    return fold_tensors(trained, {name: held[name] for name in held.keys() & trained}) if held else state


def _find(name: str, state: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
    """Return the tensor of a parameter of the PEFT model, by its own name or its name in saved adapters."""
    own = name.removeprefix(_PEFT)
    saved = own.replace(".modules_to_save", "").replace(f".{ADAPTER}", "")
    return next((state[key] for key in (own, own.replace(f".{ADAPTER}", ""), saved) if key in state), None)
