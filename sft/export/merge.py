"""Merge an adapter into its base, and write the model once its scores agree.

The adapter is merged in float32 into a newly loaded base, as running a base changes how some quantised weights are
stored. Quantised weights are dequantised first. The merged model is compared with the unmerged one, then rounded once.
One model is in memory at a time, and two while weights are dequantised.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sft.config.sections.model import ModelConfig
from sft.errors import ModelError, UserError
from sft.export.agreement import EXACT, ROUNDING, Probes, difference
from sft.export.dequantized import dequantized
from sft.export.source import Trained
from sft.foreign import one_line
from sft.log import get_logger
from sft.model.adapters import load_adapter
from sft.model.load import load_model
from sft.model.quantised.quantization import quantization_method
from sft.model.resident import forget_adapter
from sft.model.saving import MODEL_CONFIG, can_merge, write_model
from sft.model.sealed import filled
from sft.model.source import quiet
from sft.protocols import LanguageModel, Tokenizer

if TYPE_CHECKING:
    from peft import PeftModel

log = get_logger(__name__)


class Compared(NamedTuple):
    """The largest differences of scores, in nats.

    Args:
        merged: difference in float32 between the merged model and the (dequantised) base with the adapter.
        written: difference between the written model and the (dequantised) base with the adapter.
        quantized: difference between the written model and the quantised base with the adapter; None without one.
        dtype: dtype of the written weights.
    """

    merged: float
    written: float
    quantized: float | None
    dtype: str


def write_merged(
    trained: Trained,
    tokenizer: Tokenizer,
    folder: Path,
    dtype: str,
    probes: Probes,
    record: dict[str, Any] | None,
) -> Compared:
    """Write the whole model to `folder`, if its scores agree with those of the base with the adapter.

    Args:
        trained: an adapter, or a whole model to convert to another dtype.
        folder: output folder.
        dtype: dtype of the written weights.
        probes: prompts and answers to score.
        record: record of the training.

    Raises:
        ModelError: the adapter cannot be merged, or scores differ; then nothing is written.
    """
    with filled(folder, MODEL_CONFIG, record) as temporary, _enough_memory():
        log.info("Loading the base and merging" if trained.is_adapter else "Loading the model")
        model: Any  # transformers declares `to` and `num_parameters` in a way that no protocol matches
        model, is_quantized = _merged(trained)
        merged_A = probes.scores(model)  # running a model without quantised weights does not change it
        model = model.to(getattr(torch, dtype))
        log.info("Writing %.2f GB in %s", model.num_parameters() * model.dtype.itemsize / 1e9, dtype)
        write_model(model, tokenizer, temporary)
        del model
        log.info("Scoring %s with and without merging", probes.description)
        before_A = _scores(_unmerged(trained), probes) if trained.is_adapter else merged_A
        _require(difference(before_A, merged_A), EXACT, f"merging changes {probes.description}")
        written_A = _scores(_again(temporary, dtype, trained.base), probes)
        written = difference(before_A, written_A)
        _require(
            written, EXACT if dtype == "float32" else float("inf"), f"the written model changes {probes.description}"
        )
        if written > ROUNDING[dtype]:
            log.warning("Rounding to %s changes scores by up to %.2g nats", dtype, written)
        as_trained_A = _scores(_as_trained(trained), probes) if is_quantized else None
        quantized = None if as_trained_A is None else difference(as_trained_A, written_A)
        return Compared(difference(before_A, merged_A), written, quantized, dtype)


def _require(change: float, tolerance: float, description: str) -> None:
    if not change <= tolerance or change == float("inf"):
        raise ModelError(f"{description} by up to {change:.2g} nats, more than {tolerance:g}; nothing was written")


def _merged(trained: Trained) -> tuple[LanguageModel, bool]:
    """Return the merged model, and whether the base was quantised."""
    base, is_quantized = _plain(trained.base)
    if not trained.is_adapter:
        return base, is_quantized
    adapted = load_adapter(base, trained.folder)
    if not can_merge(adapted):
        kind = next(iter(adapted.peft_config.values())).peft_type
        raise UserError(
            f"--merge: {getattr(kind, 'value', kind)} adds tokens or layers, which cannot be merged into weights; "
            "export the adapter without --merge"
        )
    _untie(adapted)
    try:
        with quiet():
            merged = adapted.merge_and_unload(safe_merge=True)
    except (ValueError, AttributeError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise ModelError(f"--merge: this adapter cannot be merged: {one_line(error)}") from error
    forget_adapter(merged)
    return merged, is_quantized


def _untie(adapted: PeftModel) -> None:
    """Untie the head from the embeddings if the adapter changes only one of the two."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    base = adapted.get_base_model()
    both = [base.get_input_embeddings(), base.get_output_embeddings()]
    inner = [layer.get_base_layer() if isinstance(layer, BaseTunerLayer) else layer for layer in both]
    if inner == both or getattr(inner[0], "weight", None) is not getattr(inner[1], "weight", None):
        return
    inner[1].weight = torch.nn.Parameter(inner[1].weight.detach().clone(), requires_grad=False)
    base.config.tie_word_embeddings = base.config.get_text_config().tie_word_embeddings = False


def _plain(config: ModelConfig) -> tuple[LanguageModel, bool]:
    """Load the base in float32; return it, and whether it was dequantised."""
    base = load_model(config if config.quantization is not None else _in_dtype(config, "float32"))
    if not quantization_method(base):
        return base, False
    if config.quantization is None:  # kernels of a quantised checkpoint may need its original dtype
        del base
        base = load_model(config)
    plain = dequantized(base, torch.float32)
    del base
    gc.collect()
    return plain, True


def _unmerged(trained: Trained) -> LanguageModel:
    return load_adapter(_plain(trained.base)[0], trained.folder)


def _as_trained(trained: Trained) -> LanguageModel:
    base = load_model(trained.base)
    return load_adapter(base, trained.folder) if trained.is_adapter else base


def _again(folder: Path, dtype: str, base: ModelConfig) -> LanguageModel:
    """Load the written model as users will load it."""
    base_only = ("revision", "subfolder")
    kept = {key: value for key, value in base.model_args.items() if key not in base_only}
    return load_model(_in_dtype(ModelConfig(name=str(folder), model_args=kept), dtype))


def _in_dtype(config: ModelConfig, dtype: str) -> ModelConfig:
    arguments = {key: value for key, value in config.model_args.items() if key != "torch_dtype"}
    if str(arguments.get("attn_implementation", "")).startswith("flash"):
        del arguments["attn_implementation"]  # supports only half precision
    return config.model_copy(update={"model_args": {**arguments, "dtype": dtype}})


def _scores(model: LanguageModel, probes: Probes) -> NDArray[np.float32]:
    scores_A = probes.scores(model)
    del model
    gc.collect()
    return scores_A


@contextmanager
def _enough_memory() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(
            "--merge: the device has too little memory for the model in float32; set CUDA_VISIBLE_DEVICES= in the "
            "environment to merge on the CPU"
        ) from error
