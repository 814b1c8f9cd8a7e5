"""An experiment locked by a process: another process gets an error, and a damaged result is quarantined."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sft.config.experiment import Experiment
from sft.config.sections.schema import ExperimentConfig
from sft.results.locks import RunBusyError
from sft.results.store import ResultStore
from sft.sweep import single
from sft.sweep.single import held


@pytest.fixture
def experiment() -> Experiment:
    data: dict[str, Any] = {
        "dataset": {"path": "hub/data", "task_type": "classification"},
        "model": {"name": "hub/model"},
        "prompting": {"input_columns": ["text"], "output_column": "label"},
        "inference": {},
    }
    return Experiment("one", ExperimentConfig.model_validate(data))


def test_a_run_has_one_process_at_a_time(
    tmp_path: Path, experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(single, "SECONDS_FOR_LOCK", 0.0)
    store = ResultStore(tmp_path)
    with held(store, experiment):
        with pytest.raises(RunBusyError, match="another process is running it") as busy, held(store, experiment):
            pass
        assert busy.value.exit_code == 75
    with held(store, experiment):
        pass
    assert not list((tmp_path / ".locks").iterdir())


def test_an_error_releases_the_run(tmp_path: Path, experiment: Experiment) -> None:
    store = ResultStore(tmp_path)
    with pytest.raises(ValueError, match="boom"), held(store, experiment):
        raise ValueError("boom")
    assert store.lock(experiment.id, "run").is_free()


def test_a_damaged_result_is_quarantined(tmp_path: Path, experiment: Experiment) -> None:
    store = ResultStore(tmp_path)
    folder = store.folder(experiment.id, experiment.slug)
    folder.path.mkdir(parents=True)
    folder.result_file.write_text('{"checksum": "sha256:', encoding="utf-8")
    with held(store, experiment) as mine:
        assert mine.path == folder.path
        assert not folder.result_file.exists()
    (kept,) = (tmp_path / "quarantine").iterdir()
    assert kept.read_text(encoding="utf-8") == '{"checksum": "sha256:'
