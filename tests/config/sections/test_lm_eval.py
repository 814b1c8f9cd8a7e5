"""`evaluation.lm_eval`: valid values, the folders searched for task files, and the experiment id."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sft.cli.main import app
from sft.config.experiment import Experiment
from sft.config.reading.load import parse_config
from sft.config.reading.task_files import read_task_file
from sft.config.sections.schema import Endpoint
from sft.errors import ConfigError, MissingPackageError
from sft.sweep.planning.check import load_plan

MakeConfig = Callable[..., dict[str, Any]]
INSTALLED = pytest.mark.skipif(find_spec("lm_eval") is None, reason="lm-eval is not installed")
TASK = """\
task: mine
include: base.yaml
dataset_kwargs: {data_files: {test: rows.jsonl}}
process_docs: !function functions.clean
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a task, its rows, its include and its functions; it is not the working directory."""
    here, folder = tmp_path / "here", tmp_path / "folder"
    here.mkdir()
    folder.mkdir()
    (folder / "mine.yaml").write_text(TASK)
    (folder / "base.yaml").write_text("dataset_path: json\ntest_split: test\n")
    (folder / "rows.jsonl").write_text('{"q": "x"}\n')
    (folder / "functions.py").write_text("def clean(rows):\n    return rows\n")
    (folder / "other.txt").write_text("not used by the task\n")
    monkeypatch.chdir(here)
    return folder


@pytest.fixture
def experiment(make_config: MakeConfig, folder: Path) -> Callable[..., Experiment]:
    """Build an experiment whose config is in the task's folder: `experiment(tasks=["mine.yaml"])`."""

    def build(endpoint: Endpoint = "evaluate", **lm_eval: Any) -> Experiment:
        changes = {"evaluation": {"lm_eval": lm_eval}} if lm_eval else {}
        return Experiment("x", parse_config(make_config(**changes), "x", folder), 13, endpoint)

    return build


@pytest.mark.parametrize(
    ("lm_eval", "message"),
    [
        ({}, "evaluation.lm_eval.tasks is missing; expected a non-empty list of strings"),
        ({"tasks": []}, "a non-empty list of strings"),
        ({"tasks": "hellaswag"}, "a non-empty list of strings"),
        ({"tasks": [""]}, "a non-empty string"),
        ({"tasks": ["a"], "limit": 1.5}, "an integer from 1, or a number between 0 and 1"),
        ({"tasks": ["a"], "num_fewshot": -1}, "an integer from 0"),
        ({"tasks": ["a"], "limits": 1}, 'did you mean "limit"'),
        ({"tasks": ["./absent.yaml"]}, '"./absent.yaml" not found; searched '),
        ({"tasks": ["mine.yml"]}, 'did you mean "mine.yaml"'),
    ],
)
def test_an_invalid_section_is_an_error(
    make_config: MakeConfig, folder: Path, lm_eval: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_config(make_config(evaluation={"lm_eval": lm_eval}), "x", folder)
    assert message in str(raised.value).replace("tasks: ", "tasks ")


def test_paths_become_absolute_and_names_do_not_change(experiment: Callable[..., Experiment], folder: Path) -> None:
    (folder / "hellaswag").mkdir()  # a folder that happens to have a task's name
    config = experiment(tasks=["hellaswag", "mine.yaml", "../folder", "*.yaml"]).config
    assert config.evaluation.lm_eval is not None
    paths = (str(folder / "mine.yaml"), str(folder), str(folder / "*.yaml"))
    assert config.evaluation.lm_eval.tasks == ("hellaswag", *paths)


def test_the_id_changes_with_the_files_of_a_task(experiment: Callable[..., Experiment], folder: Path) -> None:
    plain = experiment().id
    first = experiment(tasks=["mine.yaml"]).id
    assert first != plain
    assert experiment(tasks=["mine.yaml"], batch_size=8, limit=None).id == first
    assert experiment(tasks=["mine.yaml"], limit=3).id != first
    (folder / "other.txt").write_text("changed")
    assert experiment(tasks=["mine.yaml"]).id == first
    for name in ("mine.yaml", "base.yaml", "rows.jsonl", "functions.py"):
        file = folder / name
        text = file.read_text()
        file.write_text(f"{text}\n")
        assert experiment(tasks=["mine.yaml"]).id != first, name
        file.write_text(text)
    assert experiment(tasks=["mine.yaml"]).id == first
    elsewhere = folder.rename(folder.with_name("elsewhere"))
    assert experiment(tasks=[str(elsewhere / "mine.yaml")]).id == first


def test_the_section_does_not_change_the_id_of_commands_without_evaluation(
    experiment: Callable[..., Experiment],
) -> None:
    for endpoint in ("train", "predict"):
        assert experiment(endpoint, tasks=["mine.yaml"]).id == experiment(endpoint).id


def test_zero_shot_runs_of_all_seeds_have_the_same_id(make_config: MakeConfig, folder: Path) -> None:
    config = make_config(dataset__shots=0, evaluation={"lm_eval": {"tasks": ["mine.yaml"], "num_fewshot": 2}})
    parsed = parse_config(config, "x", folder)
    assert Experiment("x", parsed, 13, "evaluate").id == Experiment("x", parsed, 14, "evaluate").id


def test_reading_a_task_file_runs_no_code(folder: Path) -> None:
    (folder / "functions.py").write_text("raise SystemExit('was run')\n")
    task = read_task_file(folder / "mine.yaml")
    assert (task.name, task.is_group, task.values["test_split"]) == ("mine", False, "test")
    assert task.values["process_docs"] == "!function functions.clean"
    assert task.local_data == {"dataset_kwargs": {"data_files": {"test": str(folder / "rows.jsonl")}}}
    (folder / "evil.yaml").write_text("task: !!python/object/apply:os.system ['false']\n")
    with pytest.raises(Exception, match="cannot be read as a task"):
        read_task_file(folder / "evil.yaml")


@INSTALLED
def test_validate_imports_no_harness(make_config: MakeConfig, folder: Path) -> None:
    config = folder / "config.json"
    config.write_text(json.dumps(make_config(evaluation={"lm_eval": {"tasks": ["mine.yaml", "hellaswag"]}})))
    code = (
        f"import sys; sys.argv = ['sft', 'validate', {str(config)!r}]\n"
        "from sft.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "print([name for name in ('lm_eval', 'torch', 'datasets') if name in sys.modules])"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.stdout.splitlines()[-1] == "[]", process.stderr


@INSTALLED
def test_validate_without_data_reports_that_tasks_were_not_checked(make_config: MakeConfig, tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text(json.dumps(make_config(evaluation={"lm_eval": {"tasks": ["no_such_task"]}})))
    result = CliRunner().invoke(app, ["validate", str(file), "--results-path", str(tmp_path / "results")])
    assert result.output.splitlines()[-2:] == [
        "The tasks of evaluation.lm_eval were not checked; --data checks them.",
        "Config valid; data and model were not opened: --data does that.",
    ]  # fmt: skip
    file.write_text(json.dumps(make_config()))
    result = CliRunner().invoke(app, ["validate", str(file), "--results-path", str(tmp_path / "results")])
    assert "lm_eval" not in result.output


def test_a_missing_package_is_an_error_in_validate(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    file = tmp_path / "x.json"
    file.write_text(json.dumps(make_config(evaluation={"lm_eval": {"tasks": ["arc_easy"]}})))
    for endpoint in (None, "evaluate", "run-experiment"):
        with pytest.raises(MissingPackageError, match=r"pip install 'sft\[lm-eval\]'"):
            load_plan(file, None, endpoint)
    assert load_plan(file, None, "train").experiments  # it evaluates nothing
