"""Whether the chat template of a config could read the clock, as far as local files show.

Only then does `prompting.date` change a prompt. Only the function's name is searched in templates; imports no library.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from sft.config.sections.schema import ExperimentConfig

CLOCK = "strftime_now"  # the function that transformers passes to templates
_TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json", "tokenizer_config.json", "processor_config.json")
_MORE_TEMPLATES = "additional_chat_templates/*.jinja"


def may_read_clock(config: ExperimentConfig) -> bool:
    """Return false only if the template's files are local and do not name the clock; true in doubt."""
    tokenizer = config.inference.tokenizer_name if config.inference is not None else None
    folder = Path(config.model.chat_template_from or tokenizer or config.model.name)
    if "subfolder" in config.model.model_args or not folder.is_absolute():
        return True
    files = [folder / name for name in _TEMPLATE_FILES] + sorted(folder.glob(_MORE_TEMPLATES))
    try:
        stats = [(str(file), file.stat().st_mtime_ns) for file in files if file.is_file()]
        return not stats or any(_names_clock(*stat) for stat in stats)
    except OSError:  # reported when the tokenizer is opened
        return True


@lru_cache(maxsize=256)
def _names_clock(file: str, changed: int) -> bool:
    del changed  # a file that was written again is read again
    return CLOCK in Path(file).read_text(encoding="utf-8", errors="replace")
