"""Fix the inputs of a chat template other than its messages: the date and random draws.

transformers gives every template a function `strftime_now` that reads the clock. A variable with this name cannot
replace it, since variables are reduced to JSON types. So a template that uses it is rendered with a macro of this name
before its own source. Jinja's filter `random` and function `lipsum` draw from Python's global generator, which is
seeded for each rendering and restored after it. This module uses no tokenizers or messages.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from string import ascii_letters

from sft.config.clock import CLOCK
from sft.prompting.templates.syntax import constant_strings

_READS_CLOCK = re.compile(rf"\b{CLOCK}\b")
_DRAWS = re.compile(r"\b(?:random|lipsum)\b")
# Python's default repr of an object. A template that prints one gives other text in every process.
_ADDRESS = re.compile(r"<[^<>]* at 0x[0-9a-f]{6,}>")
# The platform takes the seconds since 1970 from the machine's time zone; `_directives` takes them from UTC.
_SECONDS = re.compile(r"%[-_0^#EO\d]*s").search
_FLAGS = ("", "-", "_", "0", "^", "#", "E", "O")

# A format that is a string in the template is looked up whole. A computed format is parsed: `%%` is a per cent
# character, a directive is a letter, or a flag and a letter; anything else is unchanged. The macro is on one line:
# `trim_blocks` removes the line feed after it.
_MACRO = (
    f"{{%- macro {CLOCK}(format) -%}}"
    "{%- set formats = FORMATS -%}{%- if format in formats -%}{{ formats[format] }}{%- else -%}"
    "{%- set directives = DIRECTIVES -%}{%- set state = namespace(literal=true) -%}"
    "{%- for part in format.split('%') -%}"
    "{%- if state.literal -%}{{ part }}{%- set state.literal = false -%}"
    "{%- elif not part -%}{{ '%' }}{%- set state.literal = true -%}"
    "{%- elif part[:2] in directives -%}{{ directives[part[:2]] + part[2:] }}"
    "{%- elif part[:1] in directives -%}{{ directives[part[:1]] + part[1:] }}"
    "{%- else -%}{{ '%' + part }}{%- endif -%}"
    "{%- endfor -%}{%- endif -%}{%- endmacro %}\n"
)


def reads_clock(source: str) -> bool:
    """Whether a template uses the function that reads the clock."""
    return _READS_CLOCK.search(source) is not None


def with_date(source: str, day: date) -> str:
    """Return the template with `strftime_now` fixed at midnight of `day`; unchanged if it does not use it."""
    if not reads_clock(source):
        return source
    macro = _MACRO.replace("DIRECTIVES", _literal(_directives(day)))
    return macro.replace("FORMATS", _literal(_formats(source, day))) + source


def prints_address(text: str) -> bool:
    """Whether a rendering contains the memory address of an object."""
    return _ADDRESS.search(text) is not None


def draws(source: str) -> bool:
    """Whether a template may make random draws."""
    return _DRAWS.search(source) is not None


@contextmanager
def fixed_draws() -> Iterator[None]:
    """Make the random draws of a template the same in every rendering."""
    state = random.getstate()
    random.seed(0)
    try:
        yield
    finally:
        random.setstate(state)


def _formats(source: str, day: date) -> dict[str, str]:
    """Return the formatted date for each string in the template that could be a format."""
    from jinja2 import TemplateSyntaxError

    try:
        formats = [text for text in constant_strings(source) if "%" in text and not _SECONDS(text)]
    except TemplateSyntaxError:  # reported when the template is rendered
        return {}
    moment = datetime(day.year, day.month, day.day)
    return {text: moment.strftime(text) for text in formats}


def _literal(texts: dict[str, str]) -> str:
    return json.dumps(texts, ensure_ascii=False)


def _directives(day: date) -> dict[str, str]:
    """Return the text of every strftime directive for midnight of a day."""
    moment = datetime(day.year, day.month, day.day)
    texts = {f"{flag}{letter}": moment.strftime(f"%{flag}{letter}") for flag in _FLAGS for letter in ascii_letters}
    known = {key: text for key, text in texts.items() if text != f"%{key}"}
    return {**known, "s": str(int(moment.replace(tzinfo=UTC).timestamp()))}
