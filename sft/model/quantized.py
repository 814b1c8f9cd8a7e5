"""What is particular about a base that was loaded quantised: how it computes, whether and where it can be trained.

Knows nothing of how it was asked for (`quantization.py`) nor of the numbers that it holds.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sft.errors import ModelError
from sft.model.quantization import quantization_method

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def settle(model: PreTrainedModel) -> None:
    """Have a freshly loaded base compute with its weights as they are stored, whatever runs first.

    On CPUs with AVX512-BF16, bitsandbytes repacks 4-bit weights at the first eval forward pass. Read, merged or
    trained on afterwards, they give wrong numbers (gradients too), and the repacked kernel rounds to bfloat16.
    gptqmodel compiles its torch kernel anew for each layer.
    """
    method = quantization_method(model)
    if method == "bitsandbytes":
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # a line for each int8 layer of each forward pass
        for module in model.modules():
            if hasattr(module, "support_avx512bf16_for_cpu"):
                module.support_avx512bf16_for_cpu = False
    if method == "gptq":
        for module in model.modules():
            vars(module).pop("dequantize_weight", None)  # the compiled form hides the class's own


def require_trainable(model: PreTrainedModel) -> None:
    """Refuse a quantised base through which no gradient flows.

    Raises:
        ModelError: its method, or its kernel, is for inference only.
    """
    quantizer = getattr(model, "hf_quantizer", None)
    kernel = next((module for module in model.modules() if hasattr(module, "qweight")), None)
    inference_only = (quantizer is not None and not quantizer.is_trainable) or (
        kernel is not None and not getattr(kernel, "SUPPORTS_TRAINING", True)
    )
    if inference_only:
        what = quantization_method(model) if kernel is None else f"kernel {type(kernel).__name__}"
        raise ModelError(f"model.quantization: a base of this kind ({what}) computes, but cannot be trained on")


def packed_linear_names(model: PreTrainedModel) -> list[str]:
    """Names of all linear layers but the output head, where some are of gptqmodel; else none.

    PEFT's `all-linear` overlooks the layers of gptqmodel.
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
