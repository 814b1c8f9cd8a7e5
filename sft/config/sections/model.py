"""The `model` section: which causal language model, and how it is loaded."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from sft.config.sections.base import Section
from sft.io import canonical_json


class QuantizationConfig(Section):
    """A quantisation config class of transformers and its arguments."""

    config_class: str = Field(description="Class of transformers, such as BitsAndBytesConfig.")
    args: dict[str, Any] = Field(default_factory=dict, description="Arguments of that class.")


class ModelConfig(Section):
    """The base model (and, to judge a trained one, its adapter)."""

    name: Annotated[str, Field(min_length=1)] = Field(description="Hub id or local folder of the model.")
    quantization: QuantizationConfig | None = Field(default=None, description="Load the base quantised.")
    model_args: dict[str, Any] = Field(
        default_factory=dict,
        description="Arguments of from_pretrained (dtype, revision, attn_implementation, …), plus parallelize and "
        "no_split_module_classes. trust_remote_code is off unless it is exactly true.",
    )
    chat_template_from: str | None = Field(
        default=None, description="Hub id or local folder whose tokenizer lends its chat template."
    )
    adapter: str | None = Field(default=None, description="Path of a trained adapter to load on top of the base.")


def base_key(config: ModelConfig) -> str:
    """What two configs have in common that load the same base, whatever adapter and chat template they put on it."""
    return canonical_json(config.model_dump(mode="json", exclude={"adapter", "chat_template_from"}))
