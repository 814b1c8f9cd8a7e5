"""The project: tested versions satisfy the ranges, scripts can be started."""

from __future__ import annotations

import os
import subprocess
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


@pytest.mark.parametrize("name", ["scripts/demo", "scripts/test", "scripts/check", "scripts/format", ".ci/run"])
def test_scripts_are_executable_sh(repository: Path, name: str) -> None:
    script = repository / name
    assert os.access(script, os.X_OK)
    assert script.read_text(encoding="utf-8").startswith("#!/bin/sh\n")
    subprocess.run(["sh", "-n", str(script)], check=True)
