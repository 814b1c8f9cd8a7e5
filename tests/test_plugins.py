"""The specs agree with the plugins, and reading them imports nothing heavy."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from sft.plugins import (
    BACKENDS,
    CALIBRATIONS,
    DATA_FORMATS,
    INITIALIZERS,
    LAUNCHERS,
    METHODS,
    METRICS,
    PLUGIN_SETTINGS,
    SELECTIONS,
)
from sft.registry import Registry

REGISTRIES: list[Registry[Any]] = [
    BACKENDS,
    CALIBRATIONS,
    DATA_FORMATS,
    INITIALIZERS,
    LAUNCHERS,
    METHODS,
    METRICS,
    SELECTIONS,
]
SPECS = [(registry, name) for registry in REGISTRIES for name, spec in registry.items() if spec.target]


@pytest.mark.parametrize(("registry", "name"), SPECS, ids=[f"{one.kind} {name}" for one, name in SPECS])
def test_every_target_exists(registry: Registry[Any], name: str) -> None:
    assert callable(registry.resolve(name))


@pytest.mark.parametrize("path", PLUGIN_SETTINGS)
def test_a_setting_that_names_a_plugin_takes_a_users_own(path: str) -> None:
    assert PLUGIN_SETTINGS[path]("my_module:my_function") is None
    assert "unknown" in str(PLUGIN_SETTINGS[path]("nothing of that name"))


def test_reading_the_specs_imports_nothing_heavy() -> None:
    code = (
        "import sys; import sft.plugins; "
        "heavy = {'torch', 'numpy', 'pydantic', 'transformers', 'datasets', 'sklearn'} & sys.modules.keys(); "
        "sys.exit(', '.join(sorted(heavy)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
