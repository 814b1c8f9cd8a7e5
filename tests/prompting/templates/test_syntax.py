"""Static analysis of how a template treats texts."""

from __future__ import annotations

import pytest

from sft.prompting.templates.syntax import compares_messages, treated_strings


@pytest.mark.parametrize(
    ("source", "strings"),
    [
        ("{{ '<|user|>' + m.content + '\n' }}", ()),
        ("{{ m['content'] }}", ()),
        ("{% if '</think>' in m.content %}x{% endif %}", ("</think>",)),
        ("{{ m.content.split('</think>')[-1].lstrip('\n') }}", ("</think>",)),
        ("{{ m.content | replace('ab', 'c') }}", ("ab", "c")),
        ("{{ m.content.strip('ab ') }}", ("a", "b")),
        ("{{ m.content | trim('.') }}", (".",)),
        ("{% if m['role'] == 'user' or m.content != 'x' %}{% endif %}", ()),
        ("{% set kind = m.content.split()[0] %}{% if kind == 'x' %}{% endif %}", ("x",)),
        ("{% set ns.kind = m.content.split()[0] %}{% if ns.kind == 'x' %}{% endif %}", ("x",)),
        ("{% if m.content[:2] == 'xy' or (m.content | lower) == 'yx' %}{% endif %}", ("xy", "yx")),
        ("{% set mark = '##' %}{{ m.content.replace(mark, '') }}", ("##",)),
        ("{% for mark in ['#', '*'] %}{% endfor %}", ("#", "*")),
        ("{% if m.content is in ('yes', 'no') %}{% endif %}", ("no", "yes")),
        ("{% generation %}{{ m.content.split('!') }}{% endgeneration %}{% break %}", ("!",)),
    ],
)
def test_strings_that_texts_are_compared_with(source: str, strings: tuple[str, ...]) -> None:
    looped = "{% set ns = namespace() %}{% for m in messages %}" + source + "{% endfor %}"
    assert treated_strings(looped).within == strings


def test_strings_that_whole_texts_are_compared_with() -> None:
    source = (
        "{% for m in messages %}{% if m['role'] == 'user' and 'x' != m.content and n == 'y' %}{% endif %}{% endfor %}"
    )
    assert treated_strings(source) == (("y",), ("user", "x"))


def test_comparisons_of_messages() -> None:
    assert compares_messages("{% if m == messages[-1] %}{% endif %}")
    assert compares_messages("{% if m.content != messages[0]['content'] %}{% endif %}")
    assert not compares_messages("{% if m.role == 'user' and loop.index0 == n and n > 0 %}{% endif %}")
    assert not compares_messages("{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{% endif %}")
