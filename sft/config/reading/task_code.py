"""Code in a task file of lm-eval: Python functions that it names, and Jinja that a sandbox would refuse.

The harness renders templates without a sandbox. A template reaches Python's internals by names that start with an
underscore, by a call of a computed value, or by `str.format`. A template without these reads only the values of its
row. Imports no library but Jinja, and runs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import nodes

FUNCTION = "!function"
_NAMES_CODE = ("class", "custom_dataset", "use_prompt", "hf_evaluate", "trust_remote_code")
_FORMATTING = ("format", "format_map")
_LOOKS_UP = ("attr", "map", "selectattr", "rejectattr", "groupby", "sort", "sum", "min", "max", "unique", "join")


def code_in_task(values: Mapping[str, Any]) -> str | None:
    """Return the first key of a task that runs code, as `key: reason`; None if there is none."""
    for key, value in _leaves(values, ""):
        name = key.rpartition(".")[2]
        if name in _NAMES_CODE and value not in (None, False):
            return f"{key}: {value}"
        if isinstance(value, str) and value.startswith(FUNCTION):
            return f"{key}: {value}"
        if isinstance(value, str) and ("{{" in value or "{%" in value) and (why := _beyond_a_sandbox(value)):
            return f"{key}: {why}"
    return None


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _leaves(item, f"{key}.{name}".lstrip("."))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item, key)
    else:
        yield key, value


def _beyond_a_sandbox(template: str) -> str | None:
    from jinja2 import Environment, TemplateSyntaxError, nodes

    try:
        tree = Environment().parse(template)  # noqa: S701 - never rendered
    except TemplateSyntaxError:  # the harness reports it
        return None
    own = {"range", "dict", "namespace", "cycler", "joiner", *(macro.name for macro in tree.find_all(nodes.Macro))}
    for node in tree.find_all((nodes.Getattr, nodes.Getitem, nodes.Call, nodes.Filter, nodes.FilterBlock, nodes.Name)):
        if (why := _reaches(node, own)) is not None:
            return f"its template {why}"
    return None


def _reaches(node: nodes.Node, own: set[str]) -> str | None:
    """Return how an expression reaches beyond the values of its row."""
    from jinja2 import nodes

    if isinstance(node, nodes.Getattr) and node.attr.startswith("_"):
        return f'looks up "{node.attr}"'
    if isinstance(node, nodes.Name) and node.name.startswith("__"):
        return f'names "{node.name}"'
    if isinstance(node, nodes.Getitem) and (private := _private(node.arg)) is not None:
        return f'looks up "{private}"'
    if isinstance(node, nodes.Filter) and node.name in _LOOKS_UP:
        arguments = [*node.args, *(pair.value for pair in node.kwargs)]
        if node.name == "attr" or (
            node.name != "join" and not all(isinstance(argument, nodes.Const) for argument in arguments)
        ):
            return f'looks up a computed name with "{node.name}"'
        if any(_private(argument) is not None for argument in arguments):
            return f'looks up a private name with "{node.name}"'
    if isinstance(node, nodes.Call):
        called = node.node
        if isinstance(called, nodes.Getattr):
            return f'calls "{called.attr}"' if called.attr in _FORMATTING else None
        if not (isinstance(called, nodes.Name) and called.name in own):
            return "calls a computed value"
    return None


def _private(node: nodes.Node) -> str | None:
    from jinja2 import nodes

    if isinstance(node, nodes.Const) and isinstance(node.value, str) and "__" in node.value:
        return node.value
    return None
