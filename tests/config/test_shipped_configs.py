"""Every shipped config loads, fits the JSON Schema, and names it for editors."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from sft.config.reading.load import check_endpoint, load_config, load_grid

CONFIGS = Path(__file__).resolve().parent.parent.parent / "etc" / "configs"
SINGLE = sorted((CONFIGS / "json").rglob("*.json"))
GRIDS = sorted((CONFIGS / "jsonnet").rglob("*.jsonnet"))


def test_shipped_configs_exist() -> None:
    assert len(SINGLE) >= 6
    assert len(GRIDS) >= 4
    files = {path for path in CONFIGS.rglob("*") if path.is_file()}
    assert files - set(SINGLE) - set(GRIDS) == {CONFIGS / "jsonnet" / "lib" / "grid.libsonnet"}


@pytest.mark.parametrize("path", SINGLE, ids=lambda path: path.stem)
def test_a_config_runs_as_it_is(path: Path) -> None:
    config = load_config(path)
    assert config.name == path.stem
    assert check_endpoint(config, "run-experiment") == []


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_every_experiment_of_a_grid_runs_as_it_is(path: Path) -> None:
    grid = load_grid(path)
    assert len(grid.configs) > 1
    assert grid.seeds
    for config in grid.configs.values():
        assert check_endpoint(config, "run-experiment") == []


@pytest.mark.parametrize("path", SINGLE, ids=lambda path: path.stem)
def test_a_config_names_the_schema_and_fits_it(path: Path) -> None:
    data = json.loads(path.read_text(encoding="utf-8"))
    schema = (path.parent / data["$schema"]).resolve()
    assert schema == CONFIGS.parent / "schema.json"
    jsonschema.validate(data, json.loads(schema.read_text(encoding="utf-8")))


def test_the_configs_cover_the_main_features() -> None:
    data = [json.loads(path.read_text(encoding="utf-8")) for path in SINGLE]
    assert {config["dataset"]["task_type"] for config in data} == {"classification", "generation", "multilabel"}
    assert any(len(config["prompting"]["input_columns"]) == 2 for config in data)
    assert any("quantization" in config["model"] for config in data)
    assert any(config["model"]["name"].endswith("-AWQ") for config in data)
