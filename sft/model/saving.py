"""Save a trained adapter, which plain PEFT can load on the original base, or a whole model, each with the tokenizer."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft.errors import ModelError
from sft.model.sealed import filled, listed_files
from sft.model.source import import_peft, quiet
from sft.protocols import LanguageModel, Tokenizer

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel

ADAPTER = "default"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
MODEL_CONFIG = "config.json"


def save_adapter(
    peft_model: PeftModel,
    tokenizer: Tokenizer,
    folder: Path,
    base_name: str,
    record: Mapping[str, Any] | None = None,
) -> str:
    """Write the adapter, its config and the tokenizer to `folder`; other files there are kept.

    Each file is replaced atomically. The adapter's config comes last, followed only by `sft.json` with the hashes.
    Copies of the base's embeddings are not saved.

    Args:
        base_name: Hub id or folder of the base for the adapter's config.
        record: the record for `read_record`; None removes an earlier one.

    Returns:
        The reason why vLLM cannot load it as a LoRA; empty if it can.

    Raises:
        ModelError: `folder` contains a whole model written by this tool.
    """
    from safetensors.torch import save_file

    check_output_folder(folder, ADAPTER_CONFIG)
    config, tensors = portable(peft_model)
    config.base_model_name_or_path = base_name
    with filled(folder, ADAPTER_CONFIG, record) as temporary:
        with quiet():
            tokenizer.save_pretrained(temporary)
        save_file(tensors, str(temporary / ADAPTER_WEIGHTS), metadata={"format": "pt"})
        config.save_pretrained(temporary)
    return vllm_obstacle(config.to_dict(), tensors)


def save_model(
    model: LanguageModel,
    tokenizer: Tokenizer,
    folder: Path,
    record: Mapping[str, Any] | None = None,
) -> None:
    """Write a whole model and its tokenizer to `folder` for `from_pretrained`; other files there are kept.

    Each file is replaced atomically. `config.json` comes last, followed only by `sft.json` with the hashes.

    Args:
        record: as for `save_adapter`.

    Raises:
        ModelError: `folder` contains an adapter, or a model that was not written by this tool.
    """
    check_output_folder(folder, MODEL_CONFIG)
    with filled(folder, MODEL_CONFIG, record) as temporary:
        write_model(model, tokenizer, temporary)


def write_model(model: LanguageModel, tokenizer: Tokenizer, folder: Path) -> None:
    """Write the files of a whole model to an empty folder."""
    from transformers import GenerationConfig

    own = model.generation_config
    with quiet():
        if own is not None:  # saving refuses settings that loading accepts (a temperature without sampling)
            model.generation_config = GenerationConfig()
        try:
            model.save_pretrained(str(folder))
        finally:
            model.generation_config = own
        if own is not None:
            own.to_json_file(folder / "generation_config.json")
        tokenizer.save_pretrained(folder)


def check_output_folder(folder: Path, config_name: str) -> None:
    """Refuse an output folder in which saving would overwrite or mix up other files.

    A new adapter replaces an earlier adapter of this tool, and a new model an earlier model.

    Args:
        folder: the output folder.
        config_name: `ADAPTER_CONFIG` or `MODEL_CONFIG`.

    Raises:
        ModelError: it contains a model instead of an adapter, an adapter instead of a model, or a model that was not
            written by this tool.
    """
    ours, whole = listed_files(folder), config_name == MODEL_CONFIG
    if whole and (folder / ADAPTER_CONFIG).exists():
        raise ModelError(f"{folder} contains an adapter ({ADAPTER_CONFIG}); choose another folder for the model")
    if not whole and MODEL_CONFIG in ours:
        raise ModelError(f"{folder} contains a whole model ({MODEL_CONFIG}); choose another folder for the adapter")
    if whole and MODEL_CONFIG not in ours and (folder / MODEL_CONFIG).exists():
        raise ModelError(
            f"{folder} contains a model that was not written by this tool ({MODEL_CONFIG}); choose another folder"
        )


def portable(peft_model: PeftModel) -> tuple[PeftConfig, dict[str, Any]]:
    """Return config and tensors that have the same effect in plain PEFT on the original base."""
    peft = import_peft()
    from sft.initialization.hold import HELD, fold_config, fold_tensors

    config = copy.deepcopy(peft_model.peft_config[ADAPTER])
    tensors = peft.get_peft_model_state_dict(peft_model, adapter_name=ADAPTER, save_embedding_layers=False)
    if HELD in peft_model.peft_config:
        held = peft.get_peft_model_state_dict(peft_model, adapter_name=HELD, save_embedding_layers=False)
        config, tensors = fold_config(config), fold_tensors(tensors, held)
    config.inference_mode = True
    if hasattr(config, "init_lora_weights"):
        config.init_lora_weights = True  # the saved weights replace the initial ones
    if isinstance(getattr(config, "target_modules", None), set):
        config.target_modules = sorted(config.target_modules)  # deterministic file content
    return config, {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}


def can_merge(peft_model: PeftModel) -> bool:
    """Whether the adapter can be merged into the base's weights; virtual tokens cannot."""
    return hasattr(peft_model.base_model, "merge_and_unload")


def vllm_obstacle(config: Mapping[str, Any], tensors: Mapping[str, Any]) -> str:
    """Return the reason why vLLM's LoRA loader would refuse an adapter or load it wrongly; empty if there is none.

    It reads only r, lora_alpha, use_rslora and the matrices A and B by their names, with one scaling for all layers.

    Args:
        config: the adapter's config as a dict.
        tensors: its tensors by name.
    """
    kind = getattr(config.get("peft_type"), "value", config.get("peft_type"))
    if kind != "LORA":
        return f"{kind} is not LoRA"
    for key, plain in (("use_dora", False), ("modules_to_save", None), ("bias", "none"), ("lora_bias", False)):
        if config.get(key, plain) not in (plain, None, [], {}):
            return f"it does not support {key}"
    for key in ("rank_pattern", "alpha_pattern"):
        if config.get(key):
            return f"it uses one scaling for all layers and would ignore {key}"
    unsupported = [name for name in tensors if not name.endswith(("lora_A.weight", "lora_B.weight"))]
    if unsupported:
        return f"it does not support {unsupported[0]}"
    return ""
