"""The user's own plugins: an edited plugin is different work; parent and child of a sweep agree on the id."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sft.config.experiment import Experiment
from sft.config.reading.user_plugins import plug_content
from sft.config.sections.schema import ExperimentConfig

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def own_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Search modules in the test's folder last, as `plug_paths` does."""
    monkeypatch.setattr("sft.foreign._folders", [str(tmp_path)])


def edited(file: Path, text: str) -> None:
    """Write another text of another length, so that no cache can confuse them."""
    assert len(text) != file.stat().st_size
    file.write_text(text)


@pytest.mark.parametrize(
    "change",
    [
        {"lora": {"r": 8, "init_lora_weights": "mine_of_a_test:plug"}},
        {"lora": None, "adapter": {"peft_type": "LORA", "init_lora_weights": "mine_of_a_test:plug"}},
        {"training": {"method": "mine_of_a_test:plug"}},
        {"evaluation": {"metrics": ["bleu", "mine_of_a_test:plug"]}},
    ],
)
def test_an_edited_plugin_is_different_work(data: dict[str, Any], write: Write, change: dict[str, Any]) -> None:
    def run_id() -> str:
        return Experiment("x", ExperimentConfig.model_validate({**data, **change})).id

    absent = run_id()
    file = write("def plug(): return 1\n", "mine_of_a_test.py")
    first = run_id()
    edited(file, "def plug(): return 1000\n")
    assert len({absent, first, run_id()}) == 3
    assert "mine_of_a_test" not in sys.modules


def test_an_unused_plugin_does_not_count(data: dict[str, Any], write: Write) -> None:
    data |= {"dataset": {**data["dataset"], "shots": 0}, "lora": {"init_lora_weights": "mine_of_a_test:plug"}}

    def run_id() -> str:
        return Experiment("x", ExperimentConfig.model_validate(data)).id

    before = run_id()
    write("def plug(): return 1\n", "mine_of_a_test.py")
    assert run_id() == before


def test_the_modules_that_a_plugin_imports_count_too(write: Write) -> None:
    write("import numpy, helper_of_a_test\nfrom package_of_a_test import inner\n", "mine_of_a_test.py")
    helper = write("A = 1\n", "helper_of_a_test.py")
    write("", "package_of_a_test/__init__.py")
    inner = write("def f():\n    from . import deep\n", "package_of_a_test/inner.py")
    deep = write("import mine_of_a_test\n", "package_of_a_test/deep.py")  # a circle
    other = write("A = 1\n", "package_of_a_test/other.py")
    seen = [plug_content("mine_of_a_test:f")]
    for file in (helper, inner, deep):
        edited(file, f"{file.read_text()}# edited\n")
        seen.append(plug_content("mine_of_a_test:f"))
    assert len(set(seen)) == 4
    edited(other, "A = 1000\n")
    assert plug_content("mine_of_a_test:f") == seen[-1]


def test_the_folder_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Write) -> None:
    contents = []
    for name in ("here", "there"):
        write("import json\n", f"{name}/mine_of_a_test.py")
        monkeypatch.setattr(sys, "path", [*sys.path[:-1], str(tmp_path / name)])
        contents.append(plug_content("mine_of_a_test:f"))
    assert contents[0] == contents[1] is not None


@pytest.mark.parametrize(
    "plug",
    ["bleu", "sklearn.metrics:f1_score", "json:dumps", "sys:exit", "sft.evaluation.generation:bleu", "no_such:f",
     "json.no_such:f", ":f", ".x:f", "a..b:f"],
)  # fmt: skip
def test_an_installed_or_absent_module_has_no_content(plug: str) -> None:
    assert plug_content(plug) is None


def test_a_plugin_that_does_not_parse_still_has_its_content(write: Write) -> None:
    write("def plug(:\n", "mine_of_a_test.py")
    assert plug_content("mine_of_a_test:plug") is not None


def test_a_local_script_of_evaluate_counts(tmp_path: Path, data: dict[str, Any], write: Write) -> None:
    data["evaluation"] = {"metrics": [f"evaluate:{tmp_path / 'mine'}"]}

    def run_id() -> str:
        return Experiment("x", ExperimentConfig.model_validate(data)).id

    script = write("A = 1\n", "mine/mine.py")
    before = run_id()
    edited(script, "A = 1000\n")
    assert run_id() != before


_PARENT = """
import json, sys
sys.path.remove("")  # the installed command has no working directory on its import path, its children have
from pathlib import Path
from sft.foreign import plug_paths
from sft.sweep.planning.check import load_plan
from sft.sweep.planning.jobs import config_of
plug_paths(Path(sys.argv[1]).parent)
(experiment,) = load_plan(Path(sys.argv[1]), None, "run-experiment").experiments
print(json.dumps([experiment.id, config_of(experiment)]))
"""
_CHILD = """
import sys
from pathlib import Path
from sft.sweep.single import load_experiment
print(load_experiment(Path(sys.argv[1]), "run-experiment", None, Path(sys.argv[2])).id)
"""


@pytest.mark.parametrize("in_both", [False, True])
def test_parent_and_child_of_a_sweep_agree(
    tmp_path: Path, data: dict[str, Any], write: Write, repository: Path, in_both: bool
) -> None:
    """The child reads its config from the run folder, so it also gets the grid's folder."""

    def output(code: str, *arguments: str | Path) -> str:
        program = f"import sys; sys.path.append({str(repository)!r})\n{code}"
        command = [sys.executable, "-c", program, *map(str, arguments)]
        answer = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path / "work", check=False)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    (tmp_path / "work").mkdir()
    data["evaluation"] = {"metrics": ["mine_of_a_test:plug"]}
    grid = write({"configs": {"a": data}}, "grids/grid.json")
    absent, _ = json.loads(output(_PARENT, grid))
    write("def plug(): return 1\n", "grids/mine_of_a_test.py")
    if in_both:
        write("def plug(): return 2000\n", "work/mine_of_a_test.py")
    parent, config = json.loads(output(_PARENT, grid))
    child = write(config, "results/runs/a/config.json")
    assert parent != absent
    assert output(_CHILD, child, grid.parent).strip() == parent


def test_the_commands_see_an_edited_plugin(
    tmp_path: Path, data: dict[str, Any], write: Write, repository: Path
) -> None:
    data["evaluation"] = {"metrics": ["mine_of_a_test:plug"]}
    grid, plug = write(data, "grid.json"), write("def plug(): return 1\n", "mine_of_a_test.py")

    def folder() -> str:
        code = f"import sys; sys.path.append({str(repository)!r}); from sft.cli.main import main; main()"
        command = [sys.executable, "-c", code, "run-experiments", str(grid), "--dry-run"]
        answer = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout.splitlines()[-1]

    before = folder()
    edited(plug, "def plug(): return 1000\n")
    assert folder() != before


TAKEN = ("typer", "pydantic", "datasets", "safetensors", "yaml")


@pytest.mark.parametrize("where", ["working directory", "folder of the config"])
def test_no_file_of_the_user_s_replaces_a_library(tmp_path: Path, where: str) -> None:
    folder = tmp_path if where == "working directory" else tmp_path / "grids"
    folder.mkdir(exist_ok=True)
    for name in TAKEN:
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\nraise ImportError('taken')\n")
    (folder / "mine.py").write_text("def metric(references, predictions): return 1.0\n")
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "starts.py").write_text(
        "import sft\nfrom pathlib import Path\nfrom sft.foreign import importable, plug_paths\n"
        f"plug_paths(Path({str(folder)!r}))\nimport {', '.join(TAKEN)}\n"
        "with importable():\n    import mine\nprint('fine')\n"
    )
    (tmp_path / "own.json").write_text("{}")
    paths = [str(tmp_path / "library"), os.environ.get("PYTHONPATH", "")]
    commands = (
        (["sft.launchers.local.watched_module", str(os.getpid()), "starts"], 0),
        (["sft.cli", "validate", "own.json"], 2),
    )
    for command, code in commands:
        answer = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        )  # fmt: skip
        assert answer.returncode == code, answer.stderr
        assert "taken" not in answer.stderr
    assert not (tmp_path / "executed").exists()


def test_another_program_keeps_its_import_path(tmp_path: Path) -> None:
    (tmp_path / "program").mkdir()
    (tmp_path / "program" / "__init__.py").write_text("import sft\n")
    (tmp_path / "program" / "start.py").write_text("import beside\nprint('fine')\n")
    (tmp_path / "beside.py").write_text("")
    command = [sys.executable, "-m", "program.start"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert answer.stdout == "fine\n", answer.stderr
