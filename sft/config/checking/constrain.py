"""`inference.constrain`: what it asks for as a grammar, and whether it can be used. No tokenizer and no model.

The grammars are those of llguidance (Lark's notation, JSON Schema inside it), an optional package without dependencies
whose import takes a few milliseconds, so that a bad schema is found before anything runs. Where it is not installed,
only the form is checked.
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
from sft.config.wording import listed, not_allowed, quoted, shown
from sft.errors import MissingPackageError, Problem

CONSTRAIN = "inference.constrain"
MOST_CHOICES = 20_000  # llguidance's time grows with the square of their number
KINDS = ("json_schema", "regex", "choices")
_PACKAGE = "llguidance"
_LONGEST_REASON = 200
_PLACE = re.compile(r"^at \d+\(\d+\): (failed to compile JSON schema: )?")  # in a grammar that the user never sees
# Tokenizers of many kinds join an answer's first word with the space before it; answers are stripped in any case.
_LEAD = "start: lead? answer\nlead: /[ \\n]/\nanswer: "
# Between the parts of a JSON answer: nothing, a space, or a new line with its indentation. Without a bound a weak model
# goes on with white space until it is cut. A schema with an "x-guidance" of its own (llguidance's options) wins.
_WHITE_SPACE = {"whitespace_pattern": "(?:[ ]?|\\n[ \\t]{0,16})"}


def constrain_problems(constrain: Any, generation_args: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong with the section, its types unchecked."""
    if not isinstance(constrain, Mapping):
        return  # absent, or the section says so
    given = [kind for kind in KINDS if constrain.get(kind) is not None]
    if len(given) != 1:
        what = f"has {' and '.join(given)}" if given else "says nothing"
        yield Problem(CONSTRAIN, f"{what}: give exactly one of {', '.join(KINDS)}")
        return
    kind, value = given[0], constrain[given[0]]
    problems = list(_choice_problems(value)) if kind == "choices" else []
    yield from problems
    if not problems and _has_type(kind, value) and (reason := _refusal(kind, json.dumps(value))):
        yield Problem(f"{CONSTRAIN}.{kind}", f"cannot be used: {shown(reason, _LONGEST_REASON)}")
    for name, plain in (("num_beams", 1), ("prompt_lookup_num_tokens", None)):
        if generation_args.get(name, plain) not in (plain, None):
            what = not_allowed(generation_args[name], f"not together with {CONSTRAIN}")
            yield Problem(f"inference.generation_args.{name}", what)


def require_package() -> None:
    """Say at once, before any work, that the package is not installed.

    Raises:
        MissingPackageError: it is not.
    """
    if find_spec(_PACKAGE) is None:
        raise MissingPackageError(CONSTRAIN, _PACKAGE)


def grammar(constrain: ConstrainConfig) -> str:
    """The grammar that whole answers follow, in llguidance's notation.

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
    """Why llguidance does not take it, in one line; empty when it does, or is not there to be asked."""
    if find_spec(_PACKAGE) is None:
        return ""
    from llguidance import LLMatcher

    refused, messages = LLMatcher.validate_grammar_with_warnings(_grammar(kind, json.loads(value)))
    return _one_line(messages[0]) if refused and messages else ""


def _one_line(message: str) -> str:
    """A regex's error without the drawing of where it is, a schema's as it is."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return said[0] if said else _PLACE.sub("", lines[0])


def _has_type(kind: str, value: Any) -> bool:
    if kind == "choices":
        return isinstance(value, list) and all(isinstance(choice, str) for choice in value)
    return isinstance(value, dict if kind == "json_schema" else str)


def _choice_problems(choices: Any) -> Iterator[Problem]:
    """Choices that no answer could be."""
    if not isinstance(choices, list):
        return  # the section says so
    where = f"{CONSTRAIN}.choices"
    texts = [choice for choice in choices if isinstance(choice, str)]
    if not choices:
        yield Problem(where, "is empty: list the texts that an answer may be")
    if len(choices) > MOST_CHOICES:
        yield Problem(where, f"expected at most {MOST_CHOICES:,} choices, got {len(choices):,}")
    if odd := [text for text in texts if text != text.strip() or not text]:
        yield Problem(where, f"{quoted(odd[0])} cannot come out: answers have no white space around them")
    if twice := [text for text, count in Counter(texts).items() if count > 1]:
        yield Problem(where, f"{listed(twice)} stand{'s' if len(twice) == 1 else ''} twice")
