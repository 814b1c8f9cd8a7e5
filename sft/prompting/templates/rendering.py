"""Render the chat template of a tokenizer: from roles and texts to text. Uses no layouts, tokens or rows.

The config fixes the date and the random draws of a template (see `outside.py`), so the same texts give the same
rendering on every day and in every process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from datetime import date
from typing import Any, NamedTuple

from jinja2 import TemplateError

from sft.foreign import one_line
from sft.prompting.templates.bounds import bounded
from sft.prompting.templates.outside import draws, fixed_draws, with_date
from sft.prompting.templates.syntax import refuse_unbounded
from sft.protocols import Tokenizer

# Errors of templates on unsupported conversations. TypeError: the template expects another form of content.
_REFUSALS = (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)


class Rendering(NamedTuple):
    """The rendered text, or None with the error of the template."""

    text: str | None
    complaint: str = ""


class TemplateRenderer:
    """Renders conversations with a tokenizer's chat template.

    Args:
        tokenizer: a transformers tokenizer that has a chat template.
        variables: further template variables (`enable_thinking`).
        day: the date that a template reads from the clock.

    Attributes:
        source: the template of the tokenizer.
        in_parts: whether contents are `[{"type": "text", …}]` instead of a string; set by the caller.
        system_in_parts: whether the content of the system turn is; set by the caller.
    """

    def __init__(self, tokenizer: Tokenizer, variables: Mapping[str, Any], day: date) -> None:
        self._tokenizer = tokenizer
        self._variables = dict(variables)
        self.source: str = tokenizer.get_chat_template()
        refuse_unbounded(self.source)
        self._dated = with_date(self.source, day)
        self._draws = draws(self.source)
        self.in_parts = self.system_in_parts = False

    def render(self, system: bool, texts: Sequence[str], answer: str | None, generation_prompt: bool) -> Rendering:
        """Render a system turn (if `system`), turns of user and assistant, and the answer as the last turn."""
        roles = ["system"] * system + ["user", "assistant"] * len(texts)
        shown = [*texts, answer] if answer is not None else texts
        turns = [{"role": role, "content": self._content(role, text)} for role, text in zip(roles, shown, strict=False)]
        try:
            with bounded(), fixed_draws() if self._draws else nullcontext():
                text = self._tokenizer.apply_chat_template(
                    turns,
                    chat_template=self._dated,
                    tokenize=False,
                    add_generation_prompt=generation_prompt,
                    **self._variables,
                )
        except _REFUSALS as error:
            return Rendering(None, str(error) if isinstance(error, TemplateError) else one_line(error))
        return Rendering(text)

    def _content(self, role: str, text: str) -> Any:
        in_parts = self.system_in_parts if role == "system" else self.in_parts
        return [{"type": "text", "text": text}] if in_parts else text
