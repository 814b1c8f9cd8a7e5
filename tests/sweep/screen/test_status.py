"""The progress of a sweep, read from its folder: running, abandoned, failed and missing experiments."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from sft.config.reading.load import Grid
from sft.config.sections.schema import ExperimentConfig
from sft.errors import UserError
from sft.results.schema import RunState
from sft.results.store import ResultStore, RunFolder
from sft.sweep.planning.jobs import Plan, make_plan, write_plan
from sft.sweep.screen import status as status_module
from sft.sweep.screen.status import describe_status, read_progress, show_status


@pytest.fixture
def plan() -> Plan:
    """Return a plan of six zero-shot experiments."""
    configs = {
        name: ExperimentConfig.model_validate(
            {
                "dataset": {"path": "hub/data", "task_type": "classification"},
                "model": {"name": "hub/model"},
                "prompting": {"input_columns": ["text"], "output_column": "label", "instruction": name},
                "inference": {},
            }
        )
        for name in "abcdef"
    }
    return make_plan(Grid(Path("grid.jsonnet"), configs), None)


@pytest.fixture
def store(plan: Plan, tmp_path: Path) -> ResultStore:
    """Return a store in which a is done, b runs, c was abandoned, d failed, e timed out, f waits."""
    store = ResultStore(tmp_path)
    write_plan(plan, store)
    a, b, c, d, e, _ = (folder_of(store, plan, name) for name in "abcdef")
    now = time.time()
    a.write_state(RunState(state="done", started=now - 20))
    a.result_file.write_text("{}")
    running = RunState(state="running", phase="train", done=3, total=40, note="loss 0.31", started=now - 15)
    b.write_state(running)
    c.write_state(running)
    d.write_state(RunState(state="failed", error="ValueError: boom"))
    e.write_state(RunState(state="timeout"))
    e.log_file.write_text("slow\nslower\n")
    return store


def folder_of(store: ResultStore, plan: Plan, name: str) -> RunFolder:
    experiment = next(e for e in plan.experiments if e.name == name)
    return store.folder(experiment.id, experiment.slug)


def text_of(store: ResultStore, width: int = 100) -> str:
    text = io.StringIO()
    Console(file=text, width=width).print(describe_status(store.root), soft_wrap=True)
    return text.getvalue()


def test_the_status_of_each_experiment_is_shown(plan: Plan, store: ResultStore) -> None:
    lock = store.lock(folder_of(store, plan, "b").id, "run")
    assert lock.acquire()
    output = text_of(store)
    lock.release()
    assert "1 done · 1 running · 3 failed · 1 waiting" in output
    assert [line.split() for line in output.splitlines() if line.startswith("b ")] == [
        ["b", "train", "3/40", "loss", "0.31", "15", "s"]
    ]
    assert "interrupted: c  its process is gone\n" in output
    assert "failed: d  ValueError: boom\n" in output
    assert "timed out: e  slower\n" in output
    assert str(folder_of(store, plan, "e").log_file) in output
    assert "4 of 6" in output
    assert "about 25 s left" in output  # 5 for b, then 20 for f


def test_a_run_that_a_sweep_is_about_to_start_is_not_abandoned(plan: Plan, store: ResultStore) -> None:
    claim = store.lock(folder_of(store, plan, "c").id, "claim")
    assert claim.acquire()
    assert [experiment.name for experiment in read_progress(store.root).running] == ["c"]
    claim.release()


def test_without_a_sweep_nothing_is_estimated(store: ResultStore) -> None:
    assert "nothing is running" in text_of(store)


def test_many_failures_are_counted(plan: Plan, store: ResultStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_module, "MOST_FAILURES", 1)
    assert "… and 3 more; `report` lists them all" in text_of(store)


def test_a_run_on_another_host_shows_its_host(plan: Plan, store: ResultStore) -> None:
    folder = folder_of(store, plan, "b")
    folder.write_state(RunState(state="running", host="node17", started=time.time()))
    lock = store.lock(folder.id, "run")
    assert lock.acquire()
    assert "b @node17" in text_of(store)
    lock.release()


def test_a_folder_without_a_sweep_gives_a_one_line_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no sweep was run here: there is no plan\.json"):
        read_progress(tmp_path / "nowhere")
    (tmp_path / "plan.json").write_text('{"experiments": [{"name": "a"}]}')
    with pytest.raises(UserError, match="is not a plan of this version"):
        read_progress(tmp_path)


def test_watching_ends_when_the_sweep_is_over(
    plan: Plan, store: ResultStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def finish_one(_: float) -> None:
        folder = next(
            one for one in (folder_of(store, plan, e.name) for e in plan.experiments) if not one.result_file.exists()
        )
        folder.path.mkdir(exist_ok=True)
        folder.result_file.write_text("{}")

    monkeypatch.setattr(status_module.time, "sleep", finish_one)
    show_status(store.root, watch=True)
    output = capsys.readouterr().out.splitlines()
    assert output[0] == "1 done · 0 running · 4 failed · 1 waiting, nothing is running"
    assert output[-1] == "6 done · 0 running · 0 failed · 0 waiting"
