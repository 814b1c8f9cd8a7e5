"""Write the config reference into docs/configuration.md from the sections' own fields.

    python scripts/build_reference.py

Everything between the two markers is replaced; a test asserts that it is current. Every key, default and description
comes from `sft/config`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sft.config.libraries.trainer import TUNED
from sft.config.sections.schema import ExperimentConfig

PAGE = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"
BEGIN, END = "<!-- config reference: begin -->", "<!-- config reference: end -->"


def reference() -> str:
    """Return a table for each section, then one for the other keys."""
    parts, others = [], []
    fields = ExperimentConfig.model_fields
    for name, field in sorted(
        fields.items(), key=lambda item: item[0] == "seeds"
    ):  # the least important section comes last
        section = section_of(field)
        if section is None or name == "adapter":  # the adapter accepts the keys of any PEFT config
            others.append((field.alias or name, field))
        else:
            parts += described(name, section)
    parts.append(f"### Other keys\n\n{table(others)}")
    intro = "Arguments of TRL's `SFTConfig`. These defaults differ from the trainer's own:"
    parts.append(f"### training.trainer_args\n\n{intro}\n\n{trainer_table()}")
    return "\n\n".join(parts)


def described(name: str, section: type[BaseModel]) -> list[str]:
    """Return the section's table, then the tables of nested sections."""
    parts = [f"### {name}\n\n{first_line(section)}\n\n{table(list(section.model_fields.items()))}"]
    for key, field in section.model_fields.items():
        if (inner := section_of(field)) is not None:
            parts += described(f"{name}.{key}", inner)
    return parts


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """Return the section class of a field (optional or not), or None for a plain value."""
    candidates = [field.annotation, *getattr(field.annotation, "__args__", ())]
    return next((cls for cls in candidates if isinstance(cls, type) and issubclass(cls, BaseModel)), None)


def first_line(section: type[BaseModel]) -> str:
    """Return the first line of the class's docstring."""
    return (section.__doc__ or "").strip().splitlines()[0]


def table(rows: list[tuple[str, FieldInfo]]) -> str:
    """Return a Markdown table of key, default and meaning."""
    lines = ["| key | default | meaning |", "| --- | --- | --- |"]
    for key, field in rows:
        meaning = (field.description or "").replace("|", "\\|")
        lines.append(f"| `{key}` | {default_of(field)} | {meaning} |")
    return "\n".join(lines)


def trainer_table() -> str:
    """Return a Markdown table of the trainer's defaults and their reasons."""
    lines = ["| argument | default | why |", "| --- | --- | --- |"]
    lines += [f"| `{name}` | `{json.dumps(default.value)}` | {default.why} |" for name, default in TUNED.items()]
    return "\n".join(lines)


def default_of(field: FieldInfo) -> str:
    """Return the default as JSON; `needed` without a default, empty if it is null or empty."""
    if field.is_required():
        return "needed"
    default: Any = field.get_default(call_default_factory=True)
    if default is None or default in ({}, ()) or isinstance(default, BaseModel):
        return ""
    return f"`{json.dumps(default)}`"


def with_reference(text: str) -> str:
    """Return the page's text with the reference between its markers."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{reference()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_reference(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"wrote {PAGE}")
