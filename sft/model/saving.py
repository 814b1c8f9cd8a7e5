"""Saves what was trained: an adapter as plain PEFT reads it on an untouched base, or a whole model.

The tokenizer with its chat template lies beside. Knows nothing of how they were trained.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft.errors import ModelError
from sft.model.sealed import filled, listed_files
from sft.model.source import import_peft, quiet

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ADAPTER = "default"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
MODEL_CONFIG = "config.json"


def save_adapter(
    peft_model: PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    base_name: str,
    record: Mapping[str, Any] | None = None,
) -> str:
    """Write the adapter, its config and the tokenizer to `folder`; files of others there stay.

    Each file is replaced in one move, the adapter's config last but for `sft.json`, which has everything's hash. Copies
    of the base's embeddings are not saved.

    Args:
        base_name: hub id or folder of the base, as the adapter's config shall name it.
        record: what `read_record` shall find; None: nothing, not even what an earlier adapter left there.

    Returns:
        Why vLLM cannot load it as a LoRA, in words; empty where it can.

    Raises:
        ModelError: `folder` holds a whole model that was written here.
    """
    from safetensors.torch import save_file

    check_place(folder, ADAPTER_CONFIG)
    config, tensors = portable(peft_model)
    config.base_model_name_or_path = base_name
    with filled(folder, ADAPTER_CONFIG, record) as temporary:
        with quiet():
            tokenizer.save_pretrained(temporary)
        save_file(tensors, str(temporary / ADAPTER_WEIGHTS), metadata={"format": "pt"})
        config.save_pretrained(temporary)
    return vllm_obstacle(config.to_dict(), tensors)


def save_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    record: Mapping[str, Any] | None = None,
) -> None:
    """Write a whole model and its tokenizer to `folder`, as `from_pretrained` reads them; files of others there stay.

    Each file is replaced in one move, `config.json` last but for `sft.json`, which has everything's hash.

    Args:
        record: as for `save_adapter`.

    Raises:
        ModelError: `folder` holds an adapter, or a model that was not written here.
    """
    check_place(folder, MODEL_CONFIG)
    with filled(folder, MODEL_CONFIG, record) as temporary:
        write_model(model, tokenizer, temporary)


def write_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """The files of a whole model, into an empty folder."""
    from transformers import GenerationConfig

    own = model.generation_config
    with quiet():
        if own is not None:  # loading takes settings that saving refuses (a temperature without sampling)
            model.generation_config = GenerationConfig()
        try:
            model.save_pretrained(folder)
        finally:
            model.generation_config = own
        if own is not None:
            own.to_json_file(folder / "generation_config.json")
        tokenizer.save_pretrained(folder)


def check_place(folder: Path, config_name: str) -> None:
    """Refuse a folder where saving would remove, overwrite or mix up another thing.

    An earlier adapter of ours is replaced by a new one, and an earlier model by a new one; neither by the other.

    Args:
        folder: where something is to be saved.
        config_name: `ADAPTER_CONFIG` or `MODEL_CONFIG`.

    Raises:
        ModelError: it holds a model where an adapter shall go, an adapter where a model shall go, or a model that was
            not written here.
    """
    ours, whole = listed_files(folder), config_name == MODEL_CONFIG
    if whole and (folder / ADAPTER_CONFIG).exists():
        raise ModelError(f"{folder} holds an adapter ({ADAPTER_CONFIG}); choose another folder for the model")
    if not whole and MODEL_CONFIG in ours:
        raise ModelError(f"{folder} holds a whole model ({MODEL_CONFIG}); choose another folder for the adapter")
    if whole and MODEL_CONFIG not in ours and (folder / MODEL_CONFIG).exists():
        raise ModelError(f"{folder} holds a model that was not written here ({MODEL_CONFIG}); choose another folder")


def portable(peft_model: PeftModel) -> tuple[PeftConfig, dict[str, Any]]:
    """Config and tensors that mean the same in plain PEFT on an untouched base."""
    peft = import_peft()
    from sft.initialization.hold import HELD, fold_config, fold_tensors

    config = copy.deepcopy(peft_model.peft_config[ADAPTER])
    tensors = peft.get_peft_model_state_dict(peft_model, adapter_name=ADAPTER, save_embedding_layers=False)
    if HELD in peft_model.peft_config:
        held = peft.get_peft_model_state_dict(peft_model, adapter_name=HELD, save_embedding_layers=False)
        config, tensors = fold_config(config), fold_tensors(tensors, held)
    config.inference_mode = True
    if hasattr(config, "init_lora_weights"):
        config.init_lora_weights = True  # the saved weights replace whatever it made
    if isinstance(getattr(config, "target_modules", None), set):
        config.target_modules = sorted(config.target_modules)  # the same adapter, the same file
    return config, {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}


def can_merge(peft_model: PeftModel) -> bool:
    """Whether the adapter can become part of the base's weights: virtual tokens cannot."""
    return hasattr(peft_model.base_model, "merge_and_unload")


def vllm_obstacle(config: Mapping[str, Any], tensors: Mapping[str, Any]) -> str:
    """Why vLLM's LoRA loader would refuse an adapter, or load it wrongly; empty where it would not.

    It reads r, lora_alpha, use_rslora and the matrices A and B, by their names, and nothing else: one scaling for all
    layers.

    Args:
        config: the adapter's config as a dict.
        tensors: its tensors by name.
    """
    kind = getattr(config.get("peft_type"), "value", config.get("peft_type"))
    if kind != "LORA":
        return f"{kind} is no LoRA"
    for key, plain in (("use_dora", False), ("modules_to_save", None), ("bias", "none"), ("lora_bias", False)):
        if config.get(key, plain) not in (plain, None, [], {}):
            return f"it takes no {key}"
    for key in ("rank_pattern", "alpha_pattern"):
        if config.get(key):
            return f"it gives all layers one scaling, and {key} would be ignored"
    odd = [name for name in tensors if not name.endswith(("lora_A.weight", "lora_B.weight"))]
    if odd:
        return f"it has no place for {odd[0]}"
    return ""
