"""Static analysis of a chat template: how its source treats texts, from its syntax tree.

Uses no tokenizers or rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from sft.errors import ModelError

if TYPE_CHECKING:
    from jinja2 import nodes

_STRIPS = ("strip", "lstrip", "rstrip", "trim")


class Treated(NamedTuple):
    """Strings that a template searches for in texts, and strings that it compares whole texts with."""

    within: tuple[str, ...]
    whole: tuple[str, ...]


@lru_cache(maxsize=32)
def treated_strings(source: str) -> Treated:
    """Return the strings that a template compares, splits or replaces, as opposed to strings that it only writes."""
    from jinja2 import nodes

    tree = _parsed(source)
    computed = {node.name for node in tree.find_all(nodes.NSRef)}  # a namespace attribute may hold a part of a text
    compared = [node for node in tree.find_all(nodes.Compare) if _compares_whole(node, computed)]
    within = {text for text in _strings(tree, compared, used=False) if text}
    operands = (operand for node in compared for operand in [node.expr, *(operation.expr for operation in node.ops)])
    whole = {operand.value for operand in operands if isinstance(operand, nodes.Const) and operand.value}
    return Treated(tuple(sorted(within)), tuple(sorted(text for text in whole if isinstance(text, str))))


@lru_cache(maxsize=32)
def compares_messages(source: str) -> bool:
    """Whether a template compares variables with each other, such as a message with the last message."""
    from jinja2 import nodes

    return any(
        all(map(_is_variable, [compare.expr, *(operand.expr for operand in compare.ops)]))
        for compare in _parsed(source).find_all(nodes.Compare)
    )


def constant_strings(source: str) -> set[str]:
    """Return all string constants in a template's expressions."""
    from jinja2 import nodes

    return {node.value for node in _parsed(source).find_all(nodes.Const) if isinstance(node.value, str)}


def refuse_unbounded(source: str) -> None:
    """Refuse templates whose evaluation cannot be interrupted: powers of numbers, and endless expressions.

    Raises:
        ModelError: the template has such an expression.
    """
    from jinja2 import TemplateSyntaxError, nodes

    try:
        has_power = any(True for _ in _parsed(source).find_all(nodes.Pow))
    except TemplateSyntaxError:  # reported when the template is rendered
        return
    except RecursionError:
        raise ModelError("the chat template is nested too deeply; use another with model.chat_template_from") from None
    if has_power:
        raise ModelError("the chat template computes a power (**); use another with model.chat_template_from")


def _parsed(source: str) -> nodes.Template:
    """Return the syntax tree, with support for the tags that transformers adds to Jinja."""
    from jinja2 import Environment, nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.parser import Parser

    class Generation(Extension):
        tags = {"generation"}  # noqa: RUF012 - declared as Jinja declares it

        def parse(self, parser: Parser) -> nodes.Node:
            line = next(parser.stream).lineno
            return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)

    return Environment(extensions=[Generation, loopcontrols]).parse(source)  # noqa: S701 - never rendered


def _strings(node: nodes.Node, without: Sequence[nodes.Node], used: bool) -> Iterator[str]:
    """Yield string constants below `node`, but not below `without`; `used`: whether an operation on texts holds it."""
    from jinja2 import nodes

    if any(node is other for other in without):
        return
    if isinstance(node, nodes.Const):
        if used and isinstance(node.value, str):
            yield node.value
        return
    if isinstance(node, nodes.Getitem):  # message["role"]: a key is not a string to search for
        yield from _strings(node.node, without, used)
        yield from _strings(node.arg, without, used=False)
        return
    if isinstance(node, nodes.Call | nodes.Filter) and _strips(node):
        yield from _strings(node.node, without, used) if node.node is not None else ()
        # strip() takes single characters. White space at the ends of a text is checked in any case.
        arguments = (text for argument in node.args for text in _strings(argument, without, used=True))
        yield from (character for text in arguments for character in text if not character.isspace())
        return
    for child in node.iter_child_nodes():
        yield from _strings(child, without, used or _looks_at_texts(node))


def _looks_at_texts(node: nodes.Node) -> bool:
    from jinja2 import nodes

    if isinstance(node, nodes.Assign):
        return isinstance(node.node, nodes.Const)  # a name for a string, used later
    return isinstance(
        node, nodes.Call | nodes.Filter | nodes.Test | nodes.Compare | nodes.List | nodes.Tuple | nodes.Dict
    )


def _strips(node: nodes.Call | nodes.Filter) -> bool:
    from jinja2 import nodes

    if isinstance(node, nodes.Filter):
        return node.name in _STRIPS
    return isinstance(node.node, nodes.Getattr) and node.node.attr in _STRIPS


def _compares_whole(node: nodes.Compare, computed: Collection[str]) -> bool:
    """Whether a comparison is between strings and unmodified attributes of the template's input."""
    from jinja2 import nodes

    operands = [node.expr, *(operand.expr for operand in node.ops)]
    attributes = [operand for operand in operands if not isinstance(operand, nodes.Const)]
    return all(operand.op in ("eq", "ne") for operand in node.ops) and all(
        _is_attribute(operand) and _is_variable(operand) and _root(operand) not in computed for operand in attributes
    )


def _is_attribute(node: nodes.Node) -> bool:
    """Whether a node is `m.role` or `m["role"]`, as opposed to a name or a part of a text (`m.content[0]`)."""
    from jinja2 import nodes

    if isinstance(node, nodes.Getitem):
        return isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str)
    return isinstance(node, nodes.Getattr)


def _root(node: nodes.Node) -> str:
    while not hasattr(node, "name"):
        node = node.node  # type: ignore[attr-defined]
    return str(node.name)


def _is_variable(node: nodes.Node) -> bool:
    """Whether a node is a name, or an attribute or item of a name, except `loop`."""
    from jinja2 import nodes

    while isinstance(node, nodes.Getattr | nodes.Getitem):
        node = node.node
    return isinstance(node, nodes.Name) and node.name != "loop"
