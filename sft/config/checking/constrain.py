"""`inference.constrain`: its check, and its conversion to a grammar. Needs no tokenizer and no model.

The grammars are those of llguidance (Lark's notation with JSON Schema inside), an optional package without
dependencies. It imports in a few milliseconds, so a bad schema is reported before anything runs. Without it, only the
types are checked.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

from sft.config.sections.inference import ConstrainConfig
from sft.config.wording import listed, quoted, shown
from sft.errors import MissingPackageError, Problem

CONSTRAIN = "inference.constrain"
MOST_CHOICES = 20_000  # llguidance's time grows with the square of their number
KINDS = ("json_schema", "regex", "choices")
_PACKAGE = "llguidance"
_LONGEST_REASON = 200
_POSITION = re.compile(r"^at \d+\(\d+\): (failed to compile JSON schema: )?")  # in a grammar that the user never sees
# Many tokenizers join an answer's first word with the space before it; answers are stripped in any case.
_LEAD = "start: lead? answer\nlead: /[ \\n]/\nanswer: "
# Between the parts of a JSON answer: nothing, a space, or a new line with its indentation. Without a limit, a weak
# model generates white space until the answer is truncated. The schema's own "x-guidance" (llguidance's options) wins.
_WHITE_SPACE = {"whitespace_pattern": "(?:[ ]?|\\n[ \\t]{0,16})"}


def constrain_problems(constrain: Any, generation_args: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the problems of the section, except wrong types."""
    if not isinstance(constrain, Mapping):
        return  # absent, or the section reports it
    kinds = [kind for kind in KINDS if constrain.get(kind) is not None]
    if len(kinds) != 1:
        keys = " and ".join(kinds) or "none"
        yield Problem(CONSTRAIN, f"expected exactly one of {', '.join(KINDS)}, got {keys}")
        return
    kind, value = kinds[0], constrain[kinds[0]]
    problems = list(_choice_problems(value)) if kind == "choices" else []
    yield from problems
    if not problems and _has_type(kind, value) and (reason := _refusal(kind, json.dumps(value))):
        yield Problem(f"{CONSTRAIN}.{kind}", f"cannot be used: {shown(reason, _LONGEST_REASON)}")
    for name, default in (("num_beams", 1), ("prompt_lookup_num_tokens", None)):
        if generation_args.get(name, default) not in (default, None):
            yield Problem(f"inference.generation_args.{name}", f"cannot be combined with {CONSTRAIN}; remove one")


def require_package() -> None:
    """Check before any work that the package is installed.

    Raises:
        MissingPackageError: it is not installed.
    """
    if find_spec(_PACKAGE) is None:
        raise MissingPackageError(CONSTRAIN, _PACKAGE)


def grammar(constrain: ConstrainConfig) -> str:
    """Return the grammar of whole answers, in llguidance's notation.

    Raises:
        MissingPackageError: llguidance is not installed.
    """
    require_package()
    kind = next(kind for kind in KINDS if getattr(constrain, kind) is not None)
    return _grammar(kind, getattr(constrain, kind))


def _grammar(kind: str, value: Any) -> str:
    from llguidance import LLMatcher, regex_to_lark

    if kind == "json_schema":
        schema = {"x-guidance": _WHITE_SPACE, **value}
        body = f"%json {json.dumps(schema)}"
    elif kind == "regex":
        body = f"/{regex_to_lark(value)}/"
    else:
        body = " | ".join(json.dumps(choice, ensure_ascii=False) for choice in value)
    return LLMatcher.grammar_from_lark(_LEAD + body)


@lru_cache(maxsize=256)
def _refusal(kind: str, value: str) -> str:
    """Return why llguidance refuses it, in one line; empty if it does not, or is not installed."""
    if find_spec(_PACKAGE) is None:
        return ""
    from llguidance import LLMatcher

    refused, messages = LLMatcher.validate_grammar_with_warnings(_grammar(kind, json.loads(value)))
    return _one_line(messages[0]) if refused and messages else ""


def _one_line(message: str) -> str:
    """Return a regex's error without the drawing of its position, or a schema's error unchanged."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return errors[0] if errors else _POSITION.sub("", lines[0])


def _has_type(kind: str, value: Any) -> bool:
    if kind == "choices":
        return isinstance(value, list) and all(isinstance(choice, str) for choice in value)
    return isinstance(value, dict if kind == "json_schema" else str)


def _choice_problems(choices: Any) -> Iterator[Problem]:
    """Yield the choices that no answer could match."""
    if not isinstance(choices, list):
        return  # the section reports it
    where = f"{CONSTRAIN}.choices"
    texts = [choice for choice in choices if isinstance(choice, str)]
    if not choices:
        yield Problem(where, "expected a non-empty list of strings, got []")
    if len(choices) > MOST_CHOICES:
        yield Problem(where, f"expected at most {MOST_CHOICES:,} choices, got {len(choices):,}")
    if unmatched := [text for text in texts if text != text.strip() or not text]:
        yield Problem(where, f"{quoted(unmatched[0])} never matches: answers are stripped; remove the white space")
    if twice := [text for text, count in Counter(texts).items() if count > 1]:
        yield Problem(where, f"duplicate {listed(twice)}; each choice must be unique")
