"""What a template's source says about texts."""

from __future__ import annotations

import pytest

from sft.prompting.syntax import compares_messages, treated_strings


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
        ("{% if m['role'] == 'user' %}{% endif %}", ("user",)),
        ("{% set mark = '##' %}{{ m.content.replace(mark, '') }}", ("##",)),
        ("{% for mark in ['#', '*'] %}{% endfor %}", ("#", "*")),
        ("{% if m.content is in ('yes', 'no') %}{% endif %}", ("no", "yes")),
        ("{% generation %}{{ m.content.split('!') }}{% endgeneration %}{% break %}", ("!",)),
    ],
)
def test_strings_that_texts_are_compared_with(source: str, strings: tuple[str, ...]) -> None:
    looped = "{% for m in messages %}" + source + "{% endfor %}"
    assert treated_strings(looped) == strings


def test_comparisons_of_messages() -> None:
    assert compares_messages("{% if m == messages[-1] %}{% endif %}")
    assert compares_messages("{% if m.content != messages[0]['content'] %}{% endif %}")
    assert not compares_messages("{% if m.role == 'user' and loop.index0 == n and n > 0 %}{% endif %}")
    assert not compares_messages("{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{% endif %}")
