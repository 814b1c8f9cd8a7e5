"""Code in task files is detected: everything that a sandbox would stop, and no ordinary template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2.exceptions import SecurityError
from jinja2.sandbox import SandboxedEnvironment

from sft.config.reading.task_code import code_in_task
from sft.config.sections.lm_eval import LmEvalConfig
from sft.errors import UserError
from sft.harness.catalogue import builtin_tasks, find_tasks

HOSTILE = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ lipsum.__globals__['os'].system('touch executed') }}",
    "{{ cycler.__init__.__globals__.os.popen('touch executed').read() }}",
    "{{ self._TemplateReference__context }}",
    "{{ ''['__class__']['__mro__'] }}",
    "{{ ''['__cl' ~ 'ass__']() }}",
    "{{ (''|attr('__class__')).mro() }}",
    "{{ ''|attr('_' ~ '_class__') }}",
    "{{ '{0.__class__}'.format(text) }}",
    "{% set f = '{0.__class__}'.format %}{{ f(text) }}",
    "{{ [text]|map(attribute='__class__')|list }}",
    "{{ [text]|map(attribute=key)|list }}",
    "{{ [text]|map('attr', '__class__')|list }}",
    "{{ text[key](1) }}",
    "{% for f in [text[key]] %}{{ f() }}{% endfor %}",
    "{% if x %}{{ dict.__base__ }}{% endif %}",
    "{% macro m(x) %}{{ x.__class__ }}{% endmacro %}{{ m(text) }}",
    "{{ __builtins__ }}",
]  # fmt: skip
HARMLESS = [
    "{{text}}", "Question: {{question.strip()}}\nAnswer:", "{{choices[answer]}}", "{{['no', 'yes'][label]}}",
    "{% for c in choices.text %}{{ 'ABCD'[loop.index0] }}. {{ c }}\n{% endfor %}", "{{ doc['a b'].lower() }}",
    "{{ passage|replace('@', '')|trim }}", "{{ [a, b]|join(', ') }}", "{% set n = namespace(i=0) %}{{ n.i }}",
    "{{ answers|map(attribute='text')|list }}", "{{ range(3)|list }}", "{{ '%s' % text }}", "plain {text}", "{{ broken",
]  # fmt: skip


@pytest.mark.parametrize("template", HOSTILE)
def test_templates_that_use_more_than_their_rows_are_code(template: str) -> None:
    reason = code_in_task({"task": "x", "fewshot_config": {"doc_to_text": template}})
    assert reason is not None
    assert reason.startswith("fewshot_config.doc_to_text: its template ")


@pytest.mark.parametrize("template", HARMLESS)
def test_ordinary_templates_are_not_code(template: str) -> None:
    assert code_in_task({"task": "x", "doc_to_text": template}) is None


@pytest.mark.parametrize("template", HOSTILE)
def test_a_sandbox_would_stop_the_hostile_ones_too(template: str) -> None:
    """Check that the list holds no harmless template: each fails in a sandbox."""
    row = {"text": "x", "key": "__class__", "x": 1}
    try:
        rendered = SandboxedEnvironment().from_string(template).render(**row)
    except (SecurityError, Exception):
        return
    assert "class" not in rendered
    assert "executed" not in rendered


@pytest.mark.parametrize(
    "values",
    [
        {"doc_to_text": "!function utils.text"}, {"process_results": "!function utils.p"},
        {"metric_list": [{"metric": "!function utils.m"}]}, {"class": "!function task.Mine"},
        {"metric_list": [{"metric": "accuracy", "hf_evaluate": True}]}, {"dataset_kwargs": {"trust_remote_code": True}},
        {"custom_dataset": "!function utils.rows"}, {"filter_list": [{"filter": [{"filter_fn": "!function u.f"}]}]},
        {"task": [{"task": "inner", "doc_to_target": "!function utils.t"}]},
    ],
)  # fmt: skip
def test_python_functions_named_in_a_file_are_code(values: dict[str, Any]) -> None:
    assert code_in_task({"task": "x", **values}) is not None
    assert code_in_task({"task": "x", "unsafe_code": False, "dataset_kwargs": {"trust_remote_code": False}}) is None


def test_a_local_file_with_code_is_refused_until_it_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "utils.py").write_text(
        f"open({str(tmp_path / 'executed')!r}, 'w')\ndef text(row): return row['text']\n"
    )
    (tmp_path / "rows.jsonl").write_text(json.dumps({"text": "so", "label": 0}) + "\n")
    task = tmp_path / "mine.yaml"
    task.write_text(
        "task: mine\ndataset_path: json\ndataset_kwargs: {data_files: {test: rows.jsonl}}\ntest_split: test\n"
        "doc_to_text: !function utils.text\ndoc_to_target: label\n"
    )
    for path in (str(task), str(tmp_path)):
        with pytest.raises(
            UserError, match=r"mine\.yaml runs code \(doc_to_text: !function utils\.text\); .*allow_code"
        ):
            find_tasks(LmEvalConfig(tasks=(path,)))
    assert find_tasks(LmEvalConfig(tasks=(str(task),), allow_code=True)).names == ("mine",)
    assert not (tmp_path / "executed").exists()


def test_most_templates_of_the_harness_are_not_code() -> None:
    """Check that the rule is not so strict that ordinary files are refused."""

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!function", lambda loader, node: "")
    files = sorted(set(builtin_tasks().values()))[::7]
    values = [yaml.load(file.read_bytes(), Loader) for file in files]  # noqa: S506 - it only makes data
    reasons = [code_in_task(task) for task in values if isinstance(task, dict)]
    beyond = [reason for reason in reasons if reason is not None and "its template" in reason]
    assert len(files) > 500
    assert len(beyond) < 0.01 * len(files), beyond
