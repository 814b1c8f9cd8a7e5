"""The `model` section: which causal language model, and how it is loaded."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from sft.config.sections.base import Section
from sft.io import canonical_json


class QuantizationConfig(Section):
    """A quantisation config class of transformers and its arguments."""

    config_class: str = Field(description="Class of transformers, such as BitsAndBytesConfig.")
    args: dict[str, Any] = Field(default_factory=dict, description="Arguments of the class.")


class ModelConfig(Section):
    """The base model and, to evaluate a trained one, its adapter."""

    name: Annotated[str, Field(min_length=1)] = Field(description="Hub id or local folder of the model.")
    quantization: QuantizationConfig | None = Field(default=None, description="Quantisation of the base model.")
    model_args: dict[str, Any] = Field(
        default_factory=dict,
        description="Arguments of from_pretrained (dtype, revision, attn_implementation, …), plus parallelize and "
        "no_split_module_classes. trust_remote_code is on only if it is true.",
    )
    chat_template_from: str | None = Field(
        default=None, description="Hub id or local folder of another tokenizer whose chat template is used."
    )
    adapter: str | None = Field(default=None, description="Path of a trained adapter to load on top of the base.")


def base_key(config: ModelConfig) -> str:
    """Return a key that is equal for configs with the same base, whatever their adapter and chat template."""
    return canonical_json(config.model_dump(mode="json", exclude={"adapter", "chat_template_from"}))
