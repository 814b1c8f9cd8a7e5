"""An adapter taken out of a full training state dict. Knows the names that wrappers put before a weight's own.

A file of safetensors, or one of torch that holds tensors alone (FSDP's and DeepSpeed's consolidated forms do). What is
read by name is put into the adapter as PEFT makes it on an empty base, so that every method is saved in its own form.
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

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel

INNER = ("module", "model", "state_dict", "model_state_dict")  # where trainers' own files keep the weights
# Of DDP and DeepSpeed, FSDP, torch.compile, activation checkpointing.
_WRAPPERS = re.compile(r"(?:^|(?<=\.))(?:_fsdp_wrapped_module|_orig_mod|_checkpoint_wrapped_module)\.|^(?:module\.)+")
_PEFT = "base_model.model."


def adapter_from(file: Path, trained: Trained) -> PeftModel:
    """The adapter of `trained`'s config with the weights in `file`, on a base without weights.

    Raises:
        UserError: the file cannot be read, or lacks weights of the adapter, or has them in other shapes.
    """
    given = _folded({_own_name(name): value for name, value in read_state(file).items()})
    base = _empty_base(trained)
    of_base = {id(value) for value in _named(base).values()}
    made = _adapter_on(base, trained)
    wanted = _named(made)
    ours = {name for name, value in wanted.items() if id(value) not in of_base}
    found = {name: value for name in ours if (value := _find(name, given)) is not None}
    needed = {name for name in ours if wanted[name].requires_grad}
    if missing := sorted(needed.difference(found)):
        raise UserError(
            f"--from-state-dict: {file} lacks {len(missing)} of the adapter's {len(needed)} weights "
            f"({missing[0]}); it holds {len(given)} tensors ({next(iter(given), 'none')})"
        )
    for name, value in found.items():
        if value.shape != wanted[name].shape:
            raise UserError(
                f"--from-state-dict: {name} has the shape {list(value.shape)} in {file}, and by RUN's "
                f"adapter_config.json {list(wanted[name].shape)}"
            )
        if not value.isfinite().all():
            raise UserError(f"--from-state-dict: {name} in {file} holds NaN or infinite numbers")
        wanted[name].data.copy_(value)
    return made


def read_state(file: Path) -> Mapping[str, torch.Tensor]:
    """The tensors in a file, by name.

    Raises:
        UserError: no such file, or none that holds tensors alone.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not file.is_file():
        raise UserError(f"--from-state-dict: there is no file {file}")
    if file.suffix == ".safetensors":
        try:
            return load_file(file)
        except (OSError, SafetensorError) as error:
            raise UserError(f"--from-state-dict: {file} cannot be read: {one_line(error)}") from None
    value: Any = read_torch_file(file)
    while inner := next((value[key] for key in INNER if isinstance(value.get(key), dict)), None):
        value = inner
    tensors = {str(name): one for name, one in value.items() if isinstance(one, torch.Tensor)}
    if not tensors:
        raise UserError(f"--from-state-dict: {file} holds no tensors by name")
    return tensors


def _named(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return dict(model.named_parameters()) | dict(model.named_buffers())


def _empty_base(trained: Trained) -> PreTrainedModel:
    """The base with memory set aside for its weights, which is never touched, so that it takes none."""
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModelForCausalLM

    trust = trusts_remote_code(trained.base.model_args)
    with reading("RUN: base model", trained.base.name, {}):
        shape = AutoConfig.from_pretrained(trained.base.name, trust_remote_code=trust)
        if hasattr(shape, "quantization_config"):
            del shape.quantization_config  # the layers' names and shapes are those of the plain model
        with init_empty_weights(include_buffers=True):
            base = AutoModelForCausalLM.from_config(shape, trust_remote_code=trust)
    return base.to_empty(device="cpu")


def _adapter_on(base: PreTrainedModel, trained: Trained) -> PeftModel:
    peft = import_peft()
    try:
        with quiet():
            config = peft.PeftConfig.from_pretrained(str(trained.folder))
            config.inference_mode = False
            return peft.get_peft_model(base, config)
    except (TypeError, ValueError, OSError, RuntimeError) as error:  # some methods cut the base's weights up first
        raise UserError(f"RUN: its adapter cannot be made on a base without weights: {one_line(error)}") from error


def _own_name(name: str) -> str:
    return _WRAPPERS.sub("", name).removeprefix(_PEFT)


def _folded(given: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    """With a start that is not zero, two adapters were in the training: the one that is saved holds both."""
    held = {name.replace(f".{HELD}.", "."): value for name, value in given.items() if f".{HELD}." in name}
    trained = {name.replace(f".{ADAPTER}.", "."): value for name, value in given.items() if f".{HELD}." not in name}
    return fold_tensors(trained, {name: held[name] for name in held.keys() & trained}) if held else given


def _find(name: str, given: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
    """The tensor of a parameter of the PEFT model, under its own name or as adapters are saved."""
    own = name.removeprefix(_PEFT)
    saved = own.replace(".modules_to_save", "").replace(f".{ADAPTER}", "")
    return next((given[one] for one in (own, own.replace(f".{ADAPTER}", ""), saved) if one in given), None)
