"""Arguments of `load_dataset` (dataset.args): their types, and the unsupported ones."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping
from typing import Any

from sft.config.wording import choices_phrase, fits, not_allowed, types_phrase
from sft.errors import Problem

DATA_ARGS = "dataset.args"
_TYPES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("name", "revision", "data_dir", "cache_dir", "split", "encoding", "sep", "delimiter", "field"), ("str", "null")
    ),
    **dict.fromkeys(("keep_in_memory", "streaming", "trust_remote_code"), ("bool", "null")),
    **dict.fromkeys(("storage_options", "features"), ("dict", "null")),
    "data_files": ("str", "list", "dict", "null"),
    "token": ("str", "bool", "null"),
    "num_proc": ("int", "null"),
}
_VERIFICATION = ("all_checks", "basic_checks", "no_checks")


def data_argument_problems(args: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield a problem for each argument that cannot be used."""
    for name, value in args.items():
        if what := _problem(name, value):
            yield Problem(f"{DATA_ARGS}.{name}", what)


def _problem(name: str, value: Any) -> str | None:
    kinds = _TYPES.get(name)
    if kinds is not None and not fits(value, kinds):
        return not_allowed(value, types_phrase(tuple(kind for kind in kinds if kind != "null")))
    if name == "download_config":
        return "is not supported: set token and storage_options"
    if name == "streaming" and value:
        return "is not supported: rows are drawn by their index; remove it"
    if name == "trust_remote_code" and value:
        return "is not supported: the datasets library no longer runs loading scripts; remove it"
    if name == "num_proc" and value is not None and value < 1:
        return not_allowed(value, "an integer from 1")
    if name in ("sep", "delimiter") and value is not None and len(value) != 1:
        return not_allowed(value, "one character")
    if name == "verification_mode" and value not in (None, *_VERIFICATION):
        return not_allowed(value, choices_phrase(value, _VERIFICATION), _VERIFICATION)
    if name == "features" and not all(
        isinstance(feature, dict) and "_type" in feature for feature in (value or {}).values()
    ):
        return not_allowed(value, 'an object for each column, such as {"dtype": "string", "_type": "Value"}')
    if name == "encoding" and value is not None and not _is_encoding(value):
        return not_allowed(value, 'an encoding that Python knows, such as "latin-1"')
    return None


def _is_encoding(name: str) -> bool:
    try:
        codecs.lookup(name)
    except (LookupError, ValueError):
        return False
    return True
