"""Copy an adapter to another folder, unchanged or with another base path, without loading a model."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft.errors import ModelError, UserError
from sft.export.source import Trained, read_json
from sft.foreign import one_line
from sft.model.saving import ADAPTER_CONFIG, ADAPTER_WEIGHTS, vllm_obstacle
from sft.model.sealed import check_whole, filled
from sft.model.source import quiet
from sft.protocols import Tokenizer

if TYPE_CHECKING:
    import torch

OLDER_WEIGHTS = "adapter_model.bin"


def write_adapter(trained: Trained, tokenizer: Tokenizer, folder: Path, record: dict[str, Any] | None) -> str:
    """Write the adapter with the base `trained.base` to `folder`, which may be its own folder.

    Returns:
        The reason why vLLM cannot load it as a LoRA; empty if it can.

    Raises:
        ModelError: its files are corrupt.
        UserError: it has no readable weights.
    """
    from safetensors.torch import save_file

    check_whole("RUN", trained.folder, (ADAPTER_WEIGHTS, ADAPTER_CONFIG))
    config = read_json(trained.folder / ADAPTER_CONFIG)
    tensors = _weights(trained.folder)
    with filled(folder, ADAPTER_CONFIG, record) as temporary:
        with quiet():
            tokenizer.save_pretrained(temporary)
        save_file(tensors, str(temporary / ADAPTER_WEIGHTS), metadata={"format": "pt"})
        updated = {**config, "base_model_name_or_path": trained.base.name, "inference_mode": True}
        (temporary / ADAPTER_CONFIG).write_text(json.dumps(updated, indent=2, sort_keys=True), encoding="utf-8")
    return vllm_obstacle(config, tensors)


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if (file := folder / ADAPTER_WEIGHTS).exists():
        try:
            return load_file(file)
        except (OSError, SafetensorError) as error:
            raise ModelError(f"RUN: {file} cannot be read: {one_line(error)}") from error
    if (file := folder / OLDER_WEIGHTS).exists():
        return read_torch_file(file)
    raise UserError(f"RUN: {folder} has no {ADAPTER_WEIGHTS}; for a state dict of a training, add --from-state-dict")


def read_torch_file(file: Path) -> dict[str, Any]:
    """Read a torch file without running code from it.

    Raises:
        UserError: it cannot be read in this way.
    """
    import torch

    try:
        with quiet():
            value = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        raise UserError(f"{file} cannot be read as plain tensors: {one_line(error)}") from None
    if not isinstance(value, dict):
        raise UserError(f"{file}: expected a dict of tensors, got {type(value).__name__}")
    return value
