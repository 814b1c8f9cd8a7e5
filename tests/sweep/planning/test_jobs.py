"""Expanding a grid to experiments: seeds, duplicates, order, and the experiments left to run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sft.cli.main import app
from sft.config.reading.load import Grid
from sft.config.sections.schema import ExperimentConfig
from sft.errors import ConfigError, UserError
from sft.results.schema import RunState
from sft.results.store import ResultStore
from sft.sweep.planning.jobs import make_plan, only, plan_entries, run_status
from sft.sweep.screen.describe import describe, describe_dry_run, describe_duplicates, describe_names, parse_seeds


def config(shots: int = 4, **changes: Any) -> ExperimentConfig:
    data: dict[str, Any] = {
        "dataset": {"path": "hub/data", "task_type": "classification", "shots": shots},
        "model": {"name": "hub/model"},
        "lora": {"r": 8},
        "prompting": {"input_columns": ["text"], "output_column": "label"},
        "training": {},
        "inference": {},
    }
    return ExperimentConfig.model_validate({**data, **changes})


def grid(configs: dict[str, ExperimentConfig], seeds: tuple[int, ...] | None = None) -> Grid:
    return Grid(source=Path("grid.jsonnet"), configs=configs, seeds=seeds)


SHOTS = {f"shots={shots}": config(shots) for shots in (0, 4, 16)}


def test_random_experiments_run_with_every_seed_deterministic_ones_once() -> None:
    plan = make_plan(grid(SHOTS, (13, 14)), None)
    assert [e.name for e in plan.experiments] == [
        "shots=0", "shots=4 seed=13", "shots=4 seed=14", "shots=16 seed=13", "shots=16 seed=14",
    ]  # fmt: skip
    assert plan.configurations == 3
    assert describe(plan) == (
        "3 configurations, 2 seeds: 5 experiments (zero-shot without examples is deterministic, so it runs once). "
        "Varying: shots (0, 4, 16)"
    )


def test_seeds_that_are_all_overridden_are_one_run() -> None:
    fixed = config(seeds={"shots": 1, "init": 2, "training": 3})
    plan = make_plan(grid({"fixed": fixed, "free": config()}, (13, 14)), None)
    assert [e.name for e in plan.experiments] == ["fixed", "free seed=13", "free seed=14"]


def test_counts_are_singular_or_plural_and_an_empty_list_is_shown_as_none() -> None:
    assert describe(make_plan(grid({"a": config()}, (13, 14)), None)).startswith("1 configuration, 2 seeds: 2 exp")
    metrics = {"a": config(evaluation={"metrics": ["boom:met"]}), "b": config(evaluation={"metrics": []})}
    assert make_plan(grid(metrics), None).varying() == "metrics (boom:met, none)"


def test_names_are_listed_as_plain_text() -> None:
    plan = make_plan(grid({"a\x1b[2J": config(), "b": config(8), "c\x1b[2J": config(8)}), None)
    assert describe_names(plan) == ["  a[2J", "  b"]
    assert describe_duplicates(plan) == ['"c[2J" is the same as "b" and runs once']
    assert "\x1b" not in describe_dry_run(plan, plan.experiments, Path("results"), False)


def test_a_single_seed_is_not_added_to_the_name() -> None:
    assert [e.name for e in make_plan(grid({"a": config()}), [7]).experiments] == ["a"]


def test_equal_experiments_run_once() -> None:
    twice = {"first": config(), "second": config(description="the same")}
    plan = make_plan(grid(twice), None)
    assert [e.name for e in plan.experiments] == ["first"]
    assert plan.duplicates == (("second", "first"),)


def test_seeds_from_two_sources_are_rejected() -> None:
    with pytest.raises(ConfigError, match="cannot be combined with --seeds; choose one"):
        make_plan(grid(SHOTS, (13,)), [14])
    with pytest.raises(ConfigError, match="cannot be combined with a seed from the command"):
        make_plan(grid({"a": config(seed=5)}), [14])
    assert make_plan(grid({"a": config(seed=5)}), None).experiments[0].seed == 5


def test_only_accepts_names_and_ids() -> None:
    plan = make_plan(grid(SHOTS, (13, 14)), None)
    assert [e.name for e in only(plan, "shots=4*")] == ["shots=4 seed=13", "shots=4 seed=14"]
    assert only(plan, plan.experiments[0].id) == plan.experiments[:1]
    assert only(plan, None) == plan.experiments
    with pytest.raises(UserError, match=r'--only "shots=5" matches no experiment.*available: shots=0, shots=4 seed=13'):
        only(plan, "shots=5")


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (None, "to run"),
        (RunState(state="running"), "to run"),
        (RunState(state="interrupted"), "to run"),
        (RunState(state="failed", exit_code=-9), "to run"),
        (RunState(state="failed", exit_code=2), "to run"),
        (RunState(state="failed", exit_code=1), "failed before"),
        (RunState(state="oom", exit_code=1), "failed before"),
        (RunState(state="timeout", exit_code=-15), "failed before"),
    ],
)
def test_which_runs_are_retried_automatically(tmp_path: Path, state: RunState | None, status: str) -> None:
    folder = ResultStore(tmp_path).folder("0123456789ab", "run")
    if state is not None:
        folder.write_state(state)
    assert run_status(folder, retry_failed=False) == status
    assert run_status(folder, retry_failed=True) == "to run"


def test_a_run_whose_batch_can_be_halved_is_retried(tmp_path: Path) -> None:
    folder = ResultStore(tmp_path).folder("0123456789ab", "run")
    folder.write_state(RunState(state="oom", exit_code=1, halvings=2))
    assert [run_status(folder, False, most) for most in (0, 2, 3)] == ["failed before", "failed before", "to run"]


def test_adding_a_value_does_not_change_other_ids() -> None:
    small = make_plan(grid(SHOTS, (13, 14)), None)
    large = make_plan(grid({**SHOTS, "shots=8": config(8)}, (13, 14)), None)
    assert {e.id for e in small.experiments} < {e.id for e in large.experiments}


def test_a_child_config_gives_the_same_id(tmp_path: Path) -> None:
    plan = make_plan(grid(SHOTS, (13, 14)), None)
    for entry in plan_entries(plan, ResultStore(tmp_path)):
        again = ExperimentConfig.model_validate_json(json.dumps(entry["config"]))
        child = make_plan(grid({entry["name"]: again}), None).experiments[0]
        assert child.id == entry["id"]


def test_each_run_of_a_sweep_has_its_own_output_folder(tmp_path: Path) -> None:
    configs = {str(shots): config(shots, training={"trainer_args": {"output_dir": "out"}}) for shots in (4, 8)}
    plan = make_plan(grid(configs), None)
    folders = [
        entry["config"]["training"]["trainer_args"]["output_dir"] for entry in plan_entries(plan, ResultStore(tmp_path))
    ]
    assert folders == [f"out/{experiment.folder_name}" for experiment in plan.experiments]
    assert configs["4"].training is not None
    assert configs["4"].training.trainer_args == {"output_dir": "out"}


@pytest.mark.parametrize(
    ("text", "seeds"), [(None, None), ("13", (13,)), ("13, 14,13", (13, 14)), ("4294967295", (4294967295,))]
)
def test_seeds_are_parsed(text: str | None, seeds: tuple[int, ...] | None) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "1.5", "-1", "13;14", "²", "٣", "4294967296", "9" * 5000])
def test_invalid_seeds_are_rejected(text: str) -> None:
    with pytest.raises(UserError, match="expected integers from 0"):
        parse_seeds(text)


@pytest.mark.parametrize(("seed", "bound"), [("-1", "equal to 0"), ("4294967296", "equal to 4294967295")])
def test_a_seed_outside_the_range_of_generators_is_rejected(seed: str, bound: str) -> None:
    answer = CliRunner().invoke(app, ["show-prompt", "no.json", "--random-seed", seed])
    assert answer.exit_code == 2
    assert "Invalid value for '--random-seed': Input should be" in answer.output
    assert bound in answer.output
    largest = CliRunner().invoke(app, ["show-prompt", "no.json", "--random-seed", "4294967295"])
    assert "no such file" in str(largest.exception)
