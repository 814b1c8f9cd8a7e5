"""Adapters on a base model by PEFT: made, loaded, saved. Knows nothing of how they are trained.

A saved adapter opens in plain `PeftModel.from_pretrained` on an untouched base, whatever initialised it. Beside it lies
`sft.json`, written last: each file's hash, and what those who trained it say of how. PEFT does not look at it.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft.config.lora import AdapterSection, LoraSection
from sft.errors import ModelError, did_you_mean
from sft.initialization.initializers import initializer_problem, own_initializer
from sft.io import parse_json, write_atomic
from sft.log import get_logger
from sft.model.quantization import quantization_method
from sft.model.source import check_folder, import_peft, one_line, quiet

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ADAPTER = "default"
RECORD = "sft.json"
FILES = "files"  # in it: SHA-256 by name
_LOADED = ("adapter_model.safetensors", "adapter_config.json")  # of them, those that loading reads

logger = get_logger(__name__)


def create_adapter(
    model: PreTrainedModel, lora: LoraSection | None, adapter: AdapterSection | None, seed: int
) -> PeftModel:
    """Put a trainable adapter on a freshly loaded base; its function is that of the base.

    Args:
        model: the base, not yet run: initialisers read its weights.
        lora: the `lora` section, or None.
        adapter: the `adapter` section, or None. One of the two is given.
        seed: of the random initialisation, set before the adapter is made.

    Raises:
        ModelError: an encoder-decoder model, arguments that PEFT refuses, an initialiser that does not fit the model.
    """
    peft = import_peft()
    from transformers import set_seed

    if getattr(model.config, "is_encoder_decoder", False):
        raise ModelError(
            f"model.name: {type(model).__name__} is an encoder-decoder model, and only decoder-only ones are trained "
            "here; with dataset.shots 0 it classifies as it is"
        )
    section, arguments = _chosen(lora, adapter)
    init = arguments.get("init_lora_weights", True)
    if trouble := initializer_problem(init):
        raise ModelError(f"{section}.init_lora_weights: {trouble}")
    own = own_initializer(init)
    config = _peft_config(section, arguments if own is None else {**arguments, "init_lora_weights": True})
    _refuse_quantized_dora(model, config, section)
    set_seed(seed)
    try:
        with quiet(), warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            made = peft.get_peft_model(model, config)
    except (TypeError, ValueError, ImportError) as error:
        raise ModelError(f"{section}: PEFT says: {one_line(error)}") from error
    for warning in said:
        if "were ignored" in str(warning.message):  # keys of rank_pattern or alpha_pattern that name no layer
            logger.warning("%s: %s", section, str(warning.message))
    if own is not None or init is False:
        _initialize(made, init, own)
    return made.eval()


def _refuse_quantized_dora(model: PreTrainedModel, config: PeftConfig, key: str) -> None:
    """DoRA reads the base's weights in every forward pass. On the CPU, bitsandbytes has repacked 4-bit ones by then
    (the outputs would be wrong, silently) and dropped int8 ones."""
    if (
        getattr(config, "use_dora", False)
        and quantization_method(model) == "bitsandbytes"
        and model.device.type == "cpu"
    ):
        raise ModelError(f"{key}: DoRA does not work on a bitsandbytes base on the CPU; use plain LoRA, or a GPU")


def _initialize(made: PeftModel, init: bool | str, own: str | None) -> None:
    """Run an initialiser of ours (or none, where PEFT has drawn a random B), then hold the start."""
    from sft.initialization.apply import apply_initializer
    from sft.initialization.hold import check_step_zero, hold_start, starts_elsewhere

    if own is not None:
        apply_initializer(made, own, ADAPTER)
    if starts_elsewhere(made, ADAPTER):
        with quiet():
            hold_start(made, ADAPTER)
    check_step_zero(made, f"init_lora_weights {init!r}")


def load_adapter(model: PreTrainedModel, path: str | Path) -> PeftModel:
    """A trained adapter on its base, in eval mode.

    Raises:
        ModelError: no adapter there, one that was trained on another architecture, or one of ours whose files are not
            as they were written.
    """
    from safetensors import SafetensorError

    peft = import_peft()
    check_folder("model.adapter", str(path), "adapter_config.json")
    _check_whole(Path(path))
    try:
        with quiet(), warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            loaded = peft.PeftModel.from_pretrained(model, str(path))
    except (OSError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        if isinstance(error, RuntimeError) and "size mismatch" not in str(error):
            raise  # out of memory, or a bug
        raise ModelError(f'model.adapter: "{path}" does not fit the model: {one_line(error)}') from error
    if any("missing adapter keys" in str(warning.message) for warning in said):
        raise ModelError(f'model.adapter: "{path}" does not fit the model: it lacks weights that its config speaks of')
    if foreign := _foreign_weights(loaded, Path(path)):
        raise ModelError(f'model.adapter: "{path}" does not fit the model, which has no place for {foreign[0]}')
    _refuse_quantized_dora(model, loaded.peft_config[ADAPTER], "model.adapter")
    return loaded.eval()


def _foreign_weights(loaded: PeftModel, path: Path) -> list[str]:
    """Weights in the adapter's file that the model has no place for; PEFT leaves them out in silence."""
    from safetensors import safe_open

    file = path / "adapter_model.safetensors"
    if not file.exists():  # an older adapter's pickle
        return []
    placed = import_peft().get_peft_model_state_dict(loaded, save_embedding_layers=False)
    with safe_open(file, framework="pt") as held:
        names = list(held.keys())
    # PEFT may have stored copies of the base's embeddings and head beside the adapter.
    return [name for name in names if name not in placed and "embed" not in name and "lm_head" not in name]


def _check_whole(path: Path) -> None:
    """Compare the files that loading reads with their hashes; an adapter that came from elsewhere has none."""
    hashes = _read_marker(path).get(FILES)
    if not isinstance(hashes, dict):
        return
    for name in _LOADED:
        file = path / name
        if name in hashes and not (file.is_file() and _hash(file) == hashes[name]):
            trouble = "differs from what was written" if file.is_file() else "is missing"
            raise ModelError(
                f'model.adapter: "{path}" is incomplete or damaged: {name} {trouble}; train it again '
                f"(or remove {RECORD} there, if you changed it yourself)"
            )


def _hash(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _read_marker(path: str | Path) -> dict[str, Any]:
    try:
        marker = parse_json((Path(path) / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return marker if isinstance(marker, dict) else {}


def read_record(path: str | Path) -> Mapping[str, Any] | None:
    """What `save_adapter` was told about the adapter at `path`; None where nothing readable is said."""
    record = {key: value for key, value in _read_marker(path).items() if key != FILES}
    return record or None


def save_adapter(
    peft_model: PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    base_name: str,
    record: Mapping[str, Any] | None = None,
) -> None:
    """Write the adapter, its config and the tokenizer to `folder`; other files there stay.

    Each file is replaced in one move, once it is on the disk: the config (without which nothing is an adapter) last,
    and then `sft.json`, with everything's hash. Copies of the base's embeddings are not saved.

    Args:
        base_name: hub id or folder of the base, as the adapter's config shall name it.
        record: what `read_record` shall find; None: nothing, not even what an earlier adapter left there.
    """
    from safetensors.torch import save_file

    config, tensors = _portable(peft_model)
    config.base_model_name_or_path = base_name
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".adapter-") as temporary:
        with quiet():
            tokenizer.save_pretrained(temporary)
        save_file(tensors, str(Path(temporary) / "adapter_model.safetensors"), metadata={"format": "pt"})
        config.save_pretrained(temporary)
        # That of an earlier adapter would lie beside this one's weights; this one tells of a save that was cut short.
        hashes = {path.relative_to(temporary).as_posix(): _hash(path) for path in _files(Path(temporary))}
        _write_marker(folder, {FILES: dict.fromkeys(hashes, "")})
        for name in sorted(hashes, key=lambda name: (name == "adapter_config.json", name)):
            _sync(Path(temporary, name))
            (folder / name).parent.mkdir(exist_ok=True)
            Path(temporary, name).replace(folder / name)
    _write_marker(folder, {**(record or {}), FILES: hashes})


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _write_marker(folder: Path, marker: Mapping[str, Any]) -> None:
    write_atomic(folder / RECORD, json.dumps(marker, indent=2) + "\n")


def _sync(file: Path) -> None:
    """A power cut leaves no name without its content."""
    with file.open("rb+") as opened:
        os.fsync(opened.fileno())


def _portable(peft_model: PeftModel) -> tuple[PeftConfig, dict[str, Any]]:
    """Config and tensors that mean the same in plain PEFT on an untouched base."""
    peft = import_peft()
    from sft.initialization.hold import HELD, fold_config, fold_tensors

    peft = import_peft()
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


def _chosen(lora: LoraSection | None, adapter: AdapterSection | None) -> tuple[str, dict[str, Any]]:
    """The section that is given, and the PEFT arguments it stands for."""
    if lora is not None and adapter is None:
        return "lora", {"peft_type": "LORA", **lora.arguments, "init_lora_weights": lora.init_lora_weights}
    if adapter is not None and lora is None:
        return "adapter", {"peft_type": adapter.peft_type, **adapter.arguments}
    raise ModelError("give one of the sections lora and adapter, to say what is trained")


def _peft_config(section: str, arguments: dict[str, Any]) -> PeftConfig:
    """The PEFT config of a section.

    Raises:
        ModelError: an unknown `peft_type` or argument.
    """
    peft = import_peft()
    arguments = {"task_type": "CAUSAL_LM", **arguments}
    kind = str(arguments.pop("peft_type")).upper()
    known = {str(each.value): made for each, made in peft.PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    if kind not in known:
        raise ModelError(
            f'{section}.peft_type: PEFT has no "{kind}"{did_you_mean(kind, list(known))} (it has: {", ".join(known)})'
        )
    try:
        with quiet():
            return known[kind](**arguments)
    except (TypeError, ValueError, ImportError) as error:
        raise ModelError(f"{section}: PEFT says: {one_line(error)}") from error
