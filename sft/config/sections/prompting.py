"""The `prompting` section: how a row becomes a conversation."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from sft.config.sections.base import Names, PositiveCount, Section

# The default date in the templates of Llama 3.1 and later.
DEFAULT_DATE = "2024-07-26"


def _checked_date(text: str) -> str:
    date.fromisoformat(text)
    return text


class PromptingConfig(Section):
    """How a row becomes a conversation: instruction, input columns, answer."""

    instruction: str = Field(
        default="", description="Description of the task: the system turn, if the template has one."
    )
    input_columns: Annotated[Names, Field(min_length=1)] = Field(
        description="Columns shown to the model; several columns appear on one line each, as `column: text`."
    )
    output_column: Annotated[str, Field(min_length=1)] = Field(description="Column of the answer.")
    max_input_length: PositiveCount | None = Field(
        default=None, description="Maximum tokens of each input text, also in in-context examples."
    )
    max_output_length: PositiveCount | None = Field(
        default=None,
        description="Generation: maximum tokens of an answer, in training, in in-context examples and generated. "
        "Labels are never truncated.",
    )
    verbalizers: dict[str, str] | None = Field(default=None, description="Text of each label: {label: text}.")
    question: Annotated[str, Field(pattern=r"\{label\}")] = Field(
        default='Does the label "{label}" apply?',
        description="Multilabel: the question about each label, after the row's text.",
    )
    yes_no: tuple[str, str] = Field(
        default=("yes", "no"), strict=False, description="Multilabel: the answers to the question."
    )
    chat_template_kwargs: dict[str, Any] = Field(
        default_factory=dict, description="Further variables of the chat template, such as enable_thinking."
    )
    date: Annotated[str, AfterValidator(_checked_date)] = Field(
        default=DEFAULT_DATE,
        pattern=r"^\d{4}-\d{2}-\d{2}$",
        examples=[DEFAULT_DATE],
        description="Fixed date for chat templates that show today's date.",
    )
