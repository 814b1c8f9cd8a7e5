"""Handling of a loaded quantised base: its kernels, whether it is trainable, and its linear layers."""

from __future__ import annotations

import logging

from sft.errors import ModelError
from sft.model.quantised.quantization import quantization_method
from sft.protocols import LanguageModel


def settle(model: LanguageModel) -> None:
    """Make a freshly loaded base compute with its stored weights.

    On CPUs with AVX512-BF16, bitsandbytes repacks 4-bit weights at the first eval forward. Afterwards, reading, merging
    and training give wrong numbers (gradients too), and the repacked kernel rounds to bfloat16. gptqmodel compiles its
    torch kernel again for each layer.
    """
    method = quantization_method(model)
    if method == "bitsandbytes":
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it logs a line for each int8 layer of each forward
        for module in model.modules():
            if hasattr(module, "support_avx512bf16_for_cpu"):
                module.support_avx512bf16_for_cpu = False
    if method == "gptq":
        for module in model.modules():
            vars(module).pop("dequantize_weight", None)  # the compiled method hides the method of the class


def require_trainable(model: LanguageModel) -> None:
    """Refuse a quantised base through which no gradient flows.

    Raises:
        ModelError: its method or its kernel supports inference only.
    """
    quantizer = getattr(model, "hf_quantizer", None)
    kernel = next((module for module in model.modules() if hasattr(module, "qweight")), None)
    inference_only = (quantizer is not None and not quantizer.is_trainable) or (
        kernel is not None and not getattr(kernel, "SUPPORTS_TRAINING", True)
    )
    if inference_only:
        kind = quantization_method(model) if kernel is None else f"kernel {type(kernel).__name__}"
        raise ModelError(f"model.quantization: a base of this kind ({kind}) supports inference only, no training")


def packed_linear_names(model: LanguageModel) -> list[str]:
    """Return the names of all linear layers but the output head, if some are of gptqmodel; else none.

    PEFT's `all-linear` misses the layers of gptqmodel.
    """
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    layers = {name: module for name, module in model.named_modules() if module is not head}
    if not any(hasattr(module, "qweight") for module in layers.values()):
        return []
    return [
        name for name, module in layers.items() if hasattr(module, "qweight") or isinstance(module, nn.Linear | Conv1D)
    ]
