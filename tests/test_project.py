"""The project's own promises: tested versions satisfy the ranges, the README is current, its commands work."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version


def requirements(path: Path) -> Iterator[Requirement]:
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.partition("#")[0].strip()
        if text and text != ".":
            yield Requirement(text)


def project(repository: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return loaded


def test_the_tested_versions_satisfy_every_range(repository: Path) -> None:
    pinned = {}
    for requirement in requirements(repository / "dev_requirements.txt"):
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", requirement
        pinned[requirement.name.lower()] = Version(specifier.version)
    about = project(repository)
    extras = [line for extra, lines in about["optional-dependencies"].items() if extra != "gptq" for line in lines]
    ranges = [Requirement(line) for line in [*about["dependencies"], *extras]]
    ranges += requirements(repository / "requirements.txt")
    assert len(ranges) > 20
    for requirement in ranges:
        assert pinned[requirement.name.lower()] in requirement.specifier, requirement
    assert str(pinned["torch"]) == "2.13.0"


def test_the_readme_reference_is_current(repository: Path) -> None:
    script = repository / "scripts" / "build_reference.py"
    spec = importlib.util.spec_from_file_location("build_reference", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    readme = (repository / "README.md").read_text(encoding="utf-8")
    assert "`label_scoring`" in module.reference()
    assert module.with_reference(readme) == readme, "run python scripts/build_reference.py"


def readme_commands(repository: Path) -> list[list[str]]:
    """Every `python -m sft.cli …` line of the README's shell blocks."""
    readme = (repository / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", readme, flags=re.DOTALL)
    lines = [line.partition("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("python -m sft.cli ")]


@pytest.fixture(scope="module", params=[1, pytest.param(3, marks=pytest.mark.long)], ids=["one-seed", "all-seeds"])
def demo(request: pytest.FixtureRequest, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The aggregated results after running every README command, in order, in a folder that has only `etc`.

    With the demo's three seeds only where tests may take long; else with the first one alone.
    """
    place = tmp_path_factory.mktemp("readme")
    shutil.copytree(repository / "etc", place / "etc")
    grid = place / "etc" / "configs" / "jsonnet" / "demo.jsonnet"
    seeds = re.compile(r"seeds=\[13, 14, 15\]")
    assert len(seeds.findall(grid.read_text(encoding="utf-8"))) == 1
    if request.param == 1:
        grid.write_text(seeds.sub("seeds=[13]", grid.read_text(encoding="utf-8")), encoding="utf-8")
    commands = readme_commands(repository)
    assert len(commands) >= 5
    for command in commands:
        # names say the seed where there are several
        words = [word.removesuffix(" seed=13") for word in command] if request.param == 1 else command
        done = subprocess.run([sys.executable, *words], cwd=place, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    results: dict[str, Any] = json.loads((place / "results" / "demo" / "aggregated_results.json").read_text())
    return {"results": results, "place": place, "seeds": request.param}


@pytest.mark.slow
def test_the_readme_commands_run_and_the_demo_tells_its_story(demo: dict[str, Any]) -> None:
    rows = demo["results"]["rows"]
    assert [row["settings"]["dataset.shots"] for row in rows] == ["0", "4", "16", "64"]
    assert [row["finished"] for row in rows] == [1, *[demo["seeds"]] * 3]
    accuracy = [row["metrics"]["accuracy"] for row in rows]
    assert accuracy[-1]["mean"] >= accuracy[0]["mean"] + 0.20
    for before, after in itertools.pairwise(accuracy):
        standard_error = (after["std"] or 0.0) / after["n"] ** 0.5
        assert after["mean"] >= before["mean"] - standard_error


@pytest.mark.slow
def test_the_demo_again_repeats_nothing(demo: dict[str, Any]) -> None:
    stamps = {path: path.stat().st_mtime_ns for path in demo["place"].glob("results/demo/runs/*/result.json")}
    total = 1 + 3 * demo["seeds"]
    assert len(stamps) == total
    command = [sys.executable, "-m", "sft.cli", "run-experiments", "etc/configs/jsonnet/demo.jsonnet"]
    again = subprocess.run(
        [*command, "--results-path", "results/demo"], cwd=demo["place"], capture_output=True, text=True, check=False
    )
    assert again.returncode == 0
    assert f"{total} of {total} done, nothing to run" in again.stdout
    assert "Report: results/demo/report.html · results/demo/aggregated_results.md" in again.stdout.splitlines()
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}


@pytest.mark.parametrize("name", ["scripts/demo", "scripts/test", "scripts/check", "scripts/format", ".ci/run"])
def test_scripts_are_executable_sh(repository: Path, name: str) -> None:
    script = repository / name
    assert os.access(script, os.X_OK)
    assert script.read_text(encoding="utf-8").startswith("#!/bin/sh\n")
    subprocess.run(["sh", "-n", str(script)], check=True)


def readme_block(repository: Path, language: str, holds: str) -> str:
    """The README's code block in a language that holds some text."""
    readme = (repository / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(rf"```{language}\n(.*?)```", readme, flags=re.DOTALL)
    return str(next(block for block in blocks if holds in block))


def test_the_readme_grid_is_valid(repository: Path, tmp_path: Path) -> None:
    from sft.sweep.check import load_plan

    grid = tmp_path / "mine.jsonnet"
    grid.write_text(readme_block(repository, "jsonnet", "grid({"), encoding="utf-8")
    plan = load_plan(grid, None, "run-experiment")
    assert (plan.configurations, len(plan.experiments)) == (20, 58)


def test_the_readme_initialiser_runs(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from sft.plugins import INITIALIZERS

    (tmp_path / "mine.py").write_text(readme_block(repository, "python", "def top_rows"), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    layer = torch.nn.Linear(6, 10)
    made = INITIALIZERS.resolve("mine:top_rows")(layer, 4, torch.float32)
    assert made["lora_A"].shape == (4, 6)
    assert made["lora_B"].shape == (10, 4)
    assert not made["lora_B"].any()
