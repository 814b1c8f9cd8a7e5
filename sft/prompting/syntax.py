"""What the source of a chat template says about the texts that it gets, read from its syntax tree.

Knows nothing of tokenizers or rows.
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
    """Strings that a template looks for in texts, and those that it compares whole texts with."""

    within: tuple[str, ...]
    whole: tuple[str, ...]


@lru_cache(maxsize=32)
def treated_strings(source: str) -> Treated:
    """Strings that a template compares, splits or replaces with, as opposed to those that it only writes."""
    from jinja2 import nodes

    tree = _parsed(source)
    computed = {node.name for node in tree.find_all(nodes.NSRef)}  # what is kept there may be a part of a text
    compared = [node for node in tree.find_all(nodes.Compare) if _compares_whole(node, computed)]
    within = {text for text in _strings(tree, compared, used=False) if text}
    operands = (operand for node in compared for operand in [node.expr, *(one.expr for one in node.ops)])
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
    """All strings that a template's expressions are written with."""
    from jinja2 import nodes

    return {node.value for node in _parsed(source).find_all(nodes.Const) if isinstance(node.value, str)}


def refuse_unbounded(source: str) -> None:
    """Refuse templates whose work nothing can interrupt: powers (of powers) of numbers, and expressions without end.

    Raises:
        ModelError: the template has such an expression.
    """
    from jinja2 import TemplateSyntaxError, nodes

    try:
        has_power = any(True for _ in _parsed(source).find_all(nodes.Pow))
    except TemplateSyntaxError:  # whoever renders it says so
        return
    except RecursionError:
        raise ModelError("the chat template is nested too deeply; use another with model.chat_template_from") from None
    if has_power:
        raise ModelError("the chat template computes a power (**); use another with model.chat_template_from")


def _parsed(source: str) -> nodes.Template:
    """The syntax tree, with the tags that transformers adds to Jinja's."""
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
    """String constants below `node`, but not below `without`; `used`: an operation that looks at texts holds it."""
    from jinja2 import nodes

    if any(node is other for other in without):
        return
    if isinstance(node, nodes.Const):
        if used and isinstance(node.value, str):
            yield node.value
        return
    if isinstance(node, nodes.Getitem):  # message["role"]: a key is no text that is looked for
        yield from _strings(node.node, without, used)
        yield from _strings(node.arg, without, used=False)
        return
    if isinstance(node, nodes.Call | nodes.Filter) and _strips(node):
        yield from _strings(node.node, without, used) if node.node is not None else ()
        # Single characters are taken off. White space at the ends of a text is looked at in any case.
        given = (text for argument in node.args for text in _strings(argument, without, used=True))
        yield from (character for text in given for character in text if not character.isspace())
        return
    for child in node.iter_child_nodes():
        yield from _strings(child, without, used or _looks_at_texts(node))


def _looks_at_texts(node: nodes.Node) -> bool:
    from jinja2 import nodes

    if isinstance(node, nodes.Assign):
        return isinstance(node.node, nodes.Const)  # a name for a string, to be used later
    return isinstance(
        node, nodes.Call | nodes.Filter | nodes.Test | nodes.Compare | nodes.List | nodes.Tuple | nodes.Dict
    )


def _strips(node: nodes.Call | nodes.Filter) -> bool:
    from jinja2 import nodes

    if isinstance(node, nodes.Filter):
        return node.name in _STRIPS
    return isinstance(node.node, nodes.Getattr) and node.node.attr in _STRIPS


def _compares_whole(node: nodes.Compare, computed: Collection[str]) -> bool:
    """Whether a comparison is of strings with attributes that are what they were when the template got them."""
    from jinja2 import nodes

    operands = [node.expr, *(operand.expr for operand in node.ops)]
    attributes = [operand for operand in operands if not isinstance(operand, nodes.Const)]
    return all(operand.op in ("eq", "ne") for operand in node.ops) and all(
        _is_attribute(operand) and _is_variable(operand) and _root(operand) not in computed for operand in attributes
    )


def _is_attribute(node: nodes.Node) -> bool:
    """`m.role` or `m["role"]`, as opposed to a name, or to a part of a text (`m.content[0]`)."""
    from jinja2 import nodes

    if isinstance(node, nodes.Getitem):
        return isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str)
    return isinstance(node, nodes.Getattr)


def _root(node: nodes.Node) -> str:
    while not hasattr(node, "name"):
        node = node.node  # type: ignore[attr-defined]
    return str(node.name)


def _is_variable(node: nodes.Node) -> bool:
    """A name, or an attribute or item of one, except the loop's own."""
    from jinja2 import nodes

    while isinstance(node, nodes.Getattr | nodes.Getitem):
        node = node.node
    return isinstance(node, nodes.Name) and node.name != "loop"
