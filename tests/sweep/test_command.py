"""The summary of a sweep: what happened, and what to do about unfinished experiments."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sft.cli.main import run_command
from sft.config.reading.load import Grid
from sft.config.sections.schema import ExperimentConfig
from sft.errors import UserError
from sft.results.schema import RunState
from sft.results.store import ResultStore
from sft.sweep import command
from sft.sweep import run as sweep_module
from sft.sweep.outcome import Failure, SweepOutcome
from sft.sweep.planning.jobs import Plan, make_plan
from sft.sweep.preflight import Checked
from sft.sweep.run import SweepOptions


@pytest.fixture
def plan() -> Plan:
    """Return a plan of three zero-shot experiments."""
    configs = {
        name: ExperimentConfig.model_validate(
            {
                "dataset": {"path": "hub/data", "task_type": "classification"},
                "model": {"name": "hub/model"},
                "prompting": {"input_columns": ["text"], "output_column": "label", "instruction": name},
                "inference": {},
            }
        )
        for name in "abc"
    }
    return make_plan(Grid(Path("grid.jsonnet"), configs), None)


def failure(retried: bool) -> Failure:
    return Failure("a", "failed", "boom", Path("log.txt"), retried)


@pytest.mark.parametrize(
    ("outcome", "lines"),
    [
        (SweepOutcome(("a",), (), ()), []),
        (
            SweepOutcome((), (failure(True), failure(True)), (), not_started=("c",)),
            ["Run the same command again to try the 3 experiments that failed or did not run"],
        ),
        (
            SweepOutcome((), (failure(False),), ()),
            ["Add --retry-failed to try the 1 experiment that failed by itself as well"],
        ),
        (
            SweepOutcome((), (failure(True), failure(False), failure(False)), ()),
            [
                "Run the same command again to try the 1 experiment that failed or did not run",
                "Add --retry-failed to try the 2 experiments that failed by themselves as well",
            ],
        ),
    ],
)
def test_the_advice_distinguishes_automatic_retries(outcome: SweepOutcome, lines: list[str]) -> None:
    assert command._advice(outcome) == lines


def test_a_sweep_of_failures(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = ResultStore(tmp_path / "results")
    first, *others = plan.experiments
    folder = store.folder(first.id, first.slug)
    folder.write_state(RunState(state="failed", error="ValueError: boom", exit_code=1))
    problems = {experiment.id: "no column" for experiment in others}
    monkeypatch.setattr(sweep_module, "check_data", lambda *_: Checked(problems))
    assert command.run(plan, plan.experiments, store.root, SweepOptions(tmp_path)) == 1
    printed = capsys.readouterr().out
    assert "3 configurations, 1 seed · 0 done, 3 failed" in printed
    assert "try the 2 experiments that failed" in printed
    assert "Add --retry-failed to try the 1 experiment" in printed
    assert f"Report: {store.root}/report.html · {store.root}/aggregated_results.md\n" in printed
    positions = [
        printed.index(part) for part in ("labelled", "Failed: a (ValueError: boom)", "Report: ", "Run the same")
    ]
    assert positions == sorted(positions)  # the table, failures, paths, advice


def test_quiet_prints_only_the_comparison(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    problems = {experiment.id: "no column" for experiment in plan.experiments}
    monkeypatch.setattr(sweep_module, "check_data", lambda *_: Checked(problems))
    assert command.run(plan, plan.experiments, tmp_path / "results", SweepOptions(tmp_path), quiet=True) == 1
    assert capsys.readouterr().out.startswith("3 configurations, 1 seed · 0 done, 3 failed · ")


def test_if_the_report_cannot_be_written_everything_else_is_printed(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: ResultStore, print_line: Callable[[str], None]) -> int:
        print_line("instruction  labelled")
        return 2

    problems = {experiment.id: "no column" for experiment in plan.experiments}
    monkeypatch.setattr(sweep_module, "check_data", lambda *_: Checked(problems))
    monkeypatch.setattr(command, "report_of", full)
    assert command.run(plan, plan.experiments, tmp_path / "results", SweepOptions(tmp_path)) == 1
    printed = capsys.readouterr().out
    assert "instruction  labelled" in printed
    assert "Run the same command again to try the 3 experiments" in printed
    assert f"Runs, with their logs: {tmp_path / 'results' / 'runs'}" in printed
    assert "Report:" not in printed


def test_damaged_results_are_listed_at_the_end(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = ResultStore(tmp_path / "results")
    damaged = store.folder(plan.experiments[0].id, "a")
    damaged.path.mkdir(parents=True)
    damaged.result_file.write_text("{")

    def move(*_: object) -> Checked:  # as the sweep does when it starts an experiment
        store.quarantine(damaged)
        return Checked({experiment.id: "no column" for experiment in plan.experiments})

    monkeypatch.setattr(sweep_module, "check_data", move)
    command.run(plan, plan.experiments, store.root, SweepOptions(tmp_path))
    printed = capsys.readouterr().out
    assert f"1 damaged result moved to {store.root / 'quarantine'}, and run again: {damaged.path.name}.1" in printed


def test_an_unwritable_results_folder_is_reported_before_anything_runs(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> Checked:
        raise AssertionError("the data was opened")

    monkeypatch.setattr(sweep_module, "check_data", never)
    taken = tmp_path / "taken"
    taken.write_text("a file")
    with pytest.raises(UserError, match=r"the folder .*taken cannot be written: .*; choose another --results"):
        command.run(plan, plan.experiments, taken, SweepOptions(tmp_path))


@pytest.mark.parametrize(("given", "seconds"), [([], 900.0), (["--stale-after", "60"], 60.0)])
def test_stale_after_reaches_the_sweep(
    monkeypatch: pytest.MonkeyPatch, repository: Path, tmp_path: Path, given: list[str], seconds: float
) -> None:
    monkeypatch.chdir(repository)
    options: list[SweepOptions] = []
    monkeypatch.setattr("sft.sweep.command.run", lambda *values: options.append(values[3]) or 0)
    grid = str(repository / "etc/configs/jsonnet/demo.jsonnet")
    assert run_command(["run-experiments", grid, "--results-path", str(tmp_path), *given]) == 0
    assert [option.stale_after for option in options] == [seconds]
