"""Convert pydantic's errors to problems: one phrase for each key, with the expected values and the given one.

pydantic reports one error for each member of a union. The expected values are therefore read from the JSON Schema of
the key, so that all errors of a key become one phrase.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from sft.config.checking.suggestions import unknown_key
from sft.config.sections.schema import ExperimentConfig
from sft.config.wording import choices_phrase, either, listed, not_allowed, shown
from sft.errors import Problem

MOST_IN_ONE = 20  # problems of one list or object that are reported one by one
_POSITION = re.compile(r"\[\d+\]$")
_TYPES = {"integer": "an integer", "number": "a number", "boolean": "true or false", "null": "null"}
Schema = Mapping[str, Any]


def schema_problems(error: ValidationError, data: Mapping[str, Any]) -> list[Problem]:
    """Return one problem for each key with an error."""
    kinds: dict[tuple[str, ...], str] = {}
    for entry in error.errors(include_url=False, include_context=False, include_input=False):
        missing = entry["type"] == "missing" and isinstance(entry["loc"][-1], str)  # else a list is too short
        path = tuple(_key_path(entry["loc"], data, missing))
        kinds.setdefault(path, "missing" if missing else entry["type"].replace("missing", "too_short"))
    problems: list[Problem] = []
    counts: Counter[tuple[str, ...]] = Counter()
    for path, kind in kinds.items():
        counts[path[:-1]] += 1
        if counts[path[:-1]] <= MOST_IN_ONE:
            problems.append(Problem(dotted(path), _phrase(kind, path, data)))
    more = {path: count - MOST_IN_ONE for path, count in counts.items() if count > MOST_IN_ONE}
    return problems + [Problem(dotted(path), f"has {count} more such problems") for path, count in more.items()]


def dotted(path: Sequence[str]) -> str:
    """Return a key path as text: `dataset.labels[2]`."""
    return "".join(part if _POSITION.match(part) else f".{shown(part)}" for part in path).removeprefix(".")


def _key_path(loc: Iterable[int | str], data: Any, missing: bool) -> list[str]:
    """Return the keys of `loc` that exist in the data: pydantic mixes them with the names of union members."""
    path: list[str] = []
    parts = list(loc)
    for position, part in enumerate(parts):
        if isinstance(data, dict) and part in data:
            path.append(str(part))
            data = data[part]
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            path.append(f"[{part}]")
            data = data[part]
        elif missing and position == len(parts) - 1:
            path.append(str(part))
    return path


def _phrase(kind: str, path: Sequence[str], data: Mapping[str, Any]) -> str:
    node = _schema_at(path)
    if kind == "missing":
        return f"is missing; expected {possible(node, None)}"
    if kind == "extra_forbidden":
        keys = (member["properties"] for member in _members(_schema_at(path[:-1])) if "properties" in member)
        return unknown_key(path, next(keys, {}))
    value = _value_at(path, data)
    return not_allowed(
        value, possible(node, value), [choice for member in _members(node) for choice in _choices(member)]
    )


def _value_at(path: Sequence[str], data: Any) -> Any:
    for part in path:
        data = data[int(part[1:-1])] if isinstance(data, list) else data[part]
    return data


@lru_cache(maxsize=1)
def _schema() -> Schema:
    return ExperimentConfig.model_json_schema(by_alias=True)


def _schema_at(path: Sequence[str]) -> Schema:
    """Return the JSON Schema of a key; empty if there is none."""
    node: Schema = _schema()
    for part in path:
        members = [_child(member, part) for member in _members(node)]
        node = next((member for member in members if member is not None), {})
    return {} if node is _schema() and path else _resolved(node)


def _child(node: Schema, part: str) -> Schema | None:
    if _POSITION.match(part):  # one of the user's keys may start with such a position
        index, fixed = int(part[1:-1]), node.get("prefixItems", ())
        items: Schema | None = fixed[index] if index < len(fixed) else node.get("items")
        return items
    if part in node.get("properties", {}):
        child: Schema = node["properties"][part]
        return child
    further = node.get("additionalProperties")
    return further if isinstance(further, dict) else None


def _members(node: Schema) -> list[Schema]:
    node = _resolved(node)
    return [_resolved(member) for member in node["anyOf"]] if "anyOf" in node else [node]


def _resolved(node: Schema) -> Schema:
    if "$ref" in node:
        target: Schema = _schema()["$defs"][node["$ref"].rpartition("/")[2]]
        return target
    return node


def possible(node: Schema, value: Any) -> str:
    """Return the values that a key takes, in words, from its JSON Schema."""
    parts: list[str] = []
    for member in _members(node):
        choices = _choices(member)
        parts.append(choices_phrase(value, choices) if choices else _member_phrase(member))
    return either([part for part in parts if part != "null"] or parts)


def _choices(member: Schema) -> list[str]:
    return [member["const"]] if "const" in member else list(member.get("enum", []))


def _member_phrase(member: Schema) -> str:
    kind = member.get("type")
    if kind in ("integer", "number"):
        return _TYPES[kind] + _range(member)
    if kind == "string":
        such = f" such as {listed(member['examples'])}" if "pattern" in member and "examples" in member else ""
        return "a non-empty string" if member.get("minLength") else f"a string{such}"
    if kind == "array" and "prefixItems" in member:
        return f"a list of {len(member['prefixItems'])} numbers"
    if kind == "array":
        return f"a {'non-empty ' if member.get('minItems') else ''}list{_of(member.get('items'))}"
    if kind == "object":
        return f"an object{_of(member.get('additionalProperties'))}"
    return _TYPES.get(str(kind), "another value")


def _of(items: Any) -> str:
    return " of strings" if isinstance(items, dict) and items.get("type") == "string" else ""


def _range(member: Schema) -> str:
    if {"exclusiveMinimum", "exclusiveMaximum"} <= member.keys():
        return f" between {member['exclusiveMinimum']:g} and {member['exclusiveMaximum']:g}"
    least = member.get("minimum")
    most = member.get("maximum", member["exclusiveMaximum"] - 1 if "exclusiveMaximum" in member else None)
    if least is None:
        return "" if most is None else f" up to {most}"
    return f" from {least}" if most is None else f" from {least} to {most}"
