"""Inputs of templates other than messages: fixed, the same on every day and in every process."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sft.config.sections.prompting import PromptingConfig
from sft.errors import ModelError
from sft.prompting.render import Example, Renderer
from sft.prompting.templates.outside import reads_clock, with_date

TURNS = (
    "{% for m in messages %}<|user|>{{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|bot|>{% endif %}"
)
ASKING = [
    "{{ strftime_now(FORMAT) }}",
    "{{ strftime_now(format=FORMAT) }}",
    "  {% if strftime_now is defined %}{% set day = strftime_now(FORMAT) %}{% endif %}{{ day }}",
    "{% macro header() %}[{{ strftime_now(FORMAT) }}]{% endmacro %}{{ header() }}",
    "\n\n{%- for m in messages %}{{ strftime_now(FORMAT) | upper }}{% endfor %}",
]


def _config(**changes: Any) -> PromptingConfig:
    return PromptingConfig(**{"input_columns": ("text",), "output_column": "label", **changes})


def _render(tokenizer: Any, template: str) -> str:
    text: str = tokenizer.apply_chat_template(
        [{"role": "user", "content": "x"}], tokenize=False, chat_template=template
    )
    return text


@given(
    form=st.text(st.sampled_from("%dmYbBAaHMSjyZzpe-_^ ,.:/x{"), max_size=12),
    day=st.dates(date(1900, 1, 1), date(2199, 12, 31)),
    asking=st.sampled_from(ASKING),
)
@example(form="%^-A", day=date(2000, 1, 1), asking=ASKING[0])
@example(form="%}{# %05d", day=date(2000, 1, 1), asking=ASKING[1])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_template_reads_the_fixed_date(tokenizer_with: Callable[..., Any], form: str, day: date, asking: str) -> None:
    tokenizer = tokenizer_with(None)
    expected = datetime(day.year, day.month, day.day).strftime(form)
    dated = with_date(asking.replace("FORMAT", repr(form)), day)
    plain = asking.replace("strftime_now(FORMAT)", repr(expected)).replace(
        "strftime_now(format=FORMAT)", repr(expected)
    )
    assert _render(tokenizer, dated) == _render(tokenizer, plain)


@pytest.mark.parametrize("form", ["%d %B %Y", "%-d.%-m.%y, %H:%M", "100%% on %A", "%^a %", "%s"])
def test_a_computed_format(tokenizer_with: Callable[..., Any], form: str) -> None:
    half = len(form) // 2
    source = f"{{{{ strftime_now({form[:half]!r} + {form[half:]!r}) }}}}"
    expected = datetime(2024, 2, 29).strftime(form) if form != "%s" else "1709164800"
    assert _render(tokenizer_with(None), with_date(source, date(2024, 2, 29))) == expected


def test_a_template_with_a_syntax_error_is_refused_when_it_is_rendered(tokenizer_with: Callable[..., Any]) -> None:
    with pytest.raises(ModelError, match="unexpected 'end of template'"):
        Renderer(tokenizer_with("{{ strftime_now('%d') }}{% if messages %"), _config())


def test_a_template_without_a_clock_is_not_changed() -> None:
    assert with_date(TURNS, date(2024, 1, 1)) == TURNS
    assert not reads_clock(TURNS)


def test_prompts_show_the_date_of_the_config(tokenizer_with: Callable[..., Any], templates: dict[str, str]) -> None:
    for name, shown in (("llama_31", "05 Mar 2031"), ("granite", "March 05, 2031"), ("llama3_2", "05 Mar 2031")):
        tokenizer = tokenizer_with(templates[name])
        default = Renderer(tokenizer, _config()).render({"text": "so"})
        other = Renderer(tokenizer, _config(date="2031-03-05")).render({"text": "so"}, [Example({"text": "a"}, "b")])
        assert shown in other.text
        assert shown not in default.text
        assert "26" in default.text
        assert "2024" in default.text


def test_a_date_variable_takes_precedence(tokenizer_with: Callable[..., Any], templates: dict[str, str]) -> None:
    variables = {"date_string": "1 Jan 1999"}
    renderer = Renderer(tokenizer_with(templates["llama3_2"]), _config(chat_template_kwargs=variables))
    assert "1 Jan 1999" in renderer.render({"text": "so"}).text


@pytest.mark.parametrize("draw", ["['a', 'b', 'c', 'd'] | random", "lipsum(n=1, html=false)[:30]"])
def test_random_draws_are_the_same_in_every_rendering(tokenizer_with: Callable[..., Any], draw: str) -> None:
    tokenizer = tokenizer_with(f"{{{{ {draw} }}}}{TURNS}")
    rendered = set()
    for seed in range(10):
        random.seed(seed)
        following = random.Random(seed).random()  # noqa: S311
        prompt = Renderer(tokenizer, _config()).render({"text": "so"}, [Example({"text": "a"}, "b")], "good")
        rendered.add((tuple(prompt.ids), tuple(prompt.completion_ids)))
        assert random.random() == following, "other draws are not affected"  # noqa: S311
    assert len(rendered) == 1


def test_a_memory_address_is_refused(tokenizer_with: Callable[..., Any]) -> None:
    with pytest.raises(ModelError, match="memory address"):
        Renderer(tokenizer_with("{{ messages | map('upper') }}" + TURNS), _config())
