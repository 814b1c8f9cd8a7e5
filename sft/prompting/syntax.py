"""What the source of a chat template says about the texts that it gets, read from its syntax tree.

Knows nothing of tokenizers or rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import nodes

_STRIPS = ("strip", "lstrip", "rstrip", "trim")


@lru_cache(maxsize=32)
def treated_strings(source: str) -> tuple[str, ...]:
    """Strings that a template compares, splits or replaces with, as opposed to those that it only writes."""
    return tuple(sorted({text for text in _strings(_parsed(source), used=False) if text}))


@lru_cache(maxsize=32)
def compares_messages(source: str) -> bool:
    """Whether a template compares variables with each other, such as a message with the last message."""
    from jinja2 import nodes

    return any(
        all(map(_is_variable, [compare.expr, *(operand.expr for operand in compare.ops)]))
        for compare in _parsed(source).find_all(nodes.Compare)
    )


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


def _strings(node: nodes.Node, used: bool) -> Iterator[str]:
    """String constants below `node`; `used`: an operation that looks at texts holds it."""
    from jinja2 import nodes

    if isinstance(node, nodes.Const):
        if used and isinstance(node.value, str):
            yield node.value
        return
    if isinstance(node, nodes.Getitem):  # message["role"]: a key is no text that is looked for
        yield from _strings(node.node, used)
        yield from _strings(node.arg, used=False)
        return
    if isinstance(node, nodes.Call | nodes.Filter) and _strips(node):
        yield from _strings(node.node, used) if node.node is not None else ()
        # Single characters are taken off. White space at the ends of a text is looked at in any case.
        given = (text for argument in node.args for text in _strings(argument, used=True))
        yield from (character for text in given for character in text if not character.isspace())
        return
    for child in node.iter_child_nodes():
        yield from _strings(child, used or _looks_at_texts(node))


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


def _is_variable(node: nodes.Node) -> bool:
    """A name, or an attribute or item of one, except the loop's own."""
    from jinja2 import nodes

    while isinstance(node, nodes.Getattr | nodes.Getitem):
        node = node.node
    return isinstance(node, nodes.Name) and node.name != "loop"
