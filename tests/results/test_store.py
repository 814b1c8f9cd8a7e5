"""Run folders: atomic writes, verified reads, and lookup by id whatever their name."""

from __future__ import annotations

import errno
import json
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sft.errors import UserError
from sft.io import WriteError, write_atomic
from sft.memory import halved
from sft.results.names import id_of
from sft.results.recording import recording
from sft.results.schema import RunResult, RunState
from sft.results.store import ResultStore, RunFolder


def result(run_id: str = "0123456789ab", **changes: Any) -> RunResult:
    fields: dict[str, Any] = {
        "name": "a run", "id": run_id, "recipe_id": "recipe", "seed": 13, "endpoint": "evaluate", "config": {},
        "results": {"accuracy": 0.5}, "shots": {}, "labelled_examples": 0, "training": {}, "timings": {},
        "resources": {}, "environment": {}, "data": {},
    }  # fmt: skip
    return RunResult(**{**fields, **changes})


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return ResultStore(tmp_path).folder("0123456789ab", "a-run")


def test_a_result_survives_the_round_trip(folder: RunFolder) -> None:
    assert folder.result() is None
    folder.write_result(result())
    assert folder.result() == result()


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace("0123456789ab", "ba9876543210"),
        lambda text: text.replace('"schema_version": 2', '"schema_version": 99'),
        lambda text: text.replace('"seed": 13', '"seed": NaN'),
        lambda text: "",
    ],
)
def test_a_damaged_or_foreign_result_is_none(folder: RunFolder, damage: Any) -> None:
    folder.write_result(result())
    file = folder.path / "result.json"
    damaged = damage(file.read_text())
    assert damaged != file.read_text()
    file.write_text(damaged)
    assert folder.result() is None


def test_nan_becomes_null(folder: RunFolder) -> None:
    folder.write_result(result(results={"auroc": float("nan")}))
    assert json.loads((folder.path / "result.json").read_text())["results"] == {"auroc": None}


def test_a_renamed_experiment_uses_its_old_folder(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    store.folder("0123456789ab", "old-name").write_result(result())
    assert store.folder("0123456789ab", "new-name").path.name == "old-name-0123456789ab"


def test_a_temporarily_unreadable_folder_is_not_treated_as_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ResultStore(tmp_path)
    store.folder("0123456789ab", "old-name").write_result(result())
    other = ResultStore(tmp_path)
    assert other.folder("0123456789ab", "new-name").path.name == "old-name-0123456789ab"

    def fails(*_: object, **__: object) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", fails)
        assert other.folder("0123456789ab", "new-name").path.name == "old-name-0123456789ab"
        with pytest.raises(UserError, match="runs cannot be read: Stale file handle"):
            store.folder("0123456789ab", "new-name")
    assert store.folder("0123456789ab", "new-name").is_done()


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file.txt"
    write_atomic(file, "old")

    def disk_full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", disk_full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(file, "new")
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]


def test_scores_are_stored_per_split(folder: RunFolder) -> None:
    from safetensors.numpy import load_file

    scores = {"sum_logprob": np.array([[-1.0, -2.0]], dtype=np.float32)}
    folder.write_scores(scores)
    folder.write_scores({"sum_logprob": scores["sum_logprob"] * 2}, "validation")
    assert load_file(folder.path / "label_scores.safetensors")["sum_logprob"].tolist() == [[-1.0, -2.0]]
    assert load_file(folder.path / "label_scores.validation.safetensors")["sum_logprob"].tolist() == [[-2.0, -4.0]]


def test_recording_ends_in_done(folder: RunFolder) -> None:
    with recording(folder) as progress:
        progress("train", 3, 40, "loss 0.31")
        state = folder.state()
        assert state is not None
        assert (state.state, state.phase, state.done, state.total, state.note) == (
            "running", "train", 3, 40, "loss 0.31",
        )  # fmt: skip
    assert _ended(folder).state == "done"


@pytest.mark.parametrize(
    ("error", "state"),
    [(ValueError("first\nlast"), "failed"), (MemoryError("full"), "oom"), (KeyboardInterrupt(), "interrupted")],
)
def test_recording_distinguishes_failures(folder: RunFolder, error: BaseException, state: str) -> None:
    with pytest.raises(type(error)), recording(folder):
        raise error
    assert _ended(folder).state == state


def test_recording_keeps_the_last_line_of_the_error(folder: RunFolder) -> None:
    with pytest.raises(ValueError, match="first"), recording(folder):
        raise ValueError("first\nlast")
    assert _ended(folder).error == "ValueError: last"


@pytest.mark.parametrize(
    ("error", "text", "code"),
    [
        (SystemExit(143), "terminated (SIGTERM)", 143),
        (SystemExit(129), "terminated (SIGHUP)", 129),
        (KeyboardInterrupt(), "interrupted (Ctrl-C)", 130),
        (UserError("no column"), "no column", 2),
        (ValueError("boom"), "ValueError: boom", 1),
    ],
)
def test_recording_records_signals_and_exit_codes(
    folder: RunFolder, error: BaseException, text: str, code: int
) -> None:
    with pytest.raises(type(error)), recording(folder):
        raise error
    ended = _ended(folder)
    assert (ended.error, ended.exit_code) == (text, code)


def test_the_check_of_a_writable_store_leaves_no_files(tmp_path: Path) -> None:
    root = tmp_path / "new" / "results"
    ResultStore(root).check_writable()
    assert list(root.iterdir()) == []


def test_an_unwritable_store_gives_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UserError, match=r"the folder .*taken cannot be written: File exists; choose another"):
        ResultStore(tmp_path / "taken").check_writable()

    def read_only(**_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", read_only)
    with pytest.raises(UserError, match="cannot be written: Read-only file system; choose another --results-path"):
        ResultStore(tmp_path).check_writable()


def _ended(folder: RunFolder) -> RunState:
    state = folder.state()
    assert state is not None
    return state


def test_a_full_disk_prevents_only_writing_the_state(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def disk_full(*_: object) -> None:
        raise WriteError("state.json cannot be written: No space left on device", 28)

    monkeypatch.setattr("sft.results.store.write_json", disk_full)
    monkeypatch.setattr(logging.getLogger("sft"), "propagate", True)
    with recording(folder) as progress:
        progress("train", 1, 2)
    with pytest.raises(ZeroDivisionError), recording(folder):  # the run's own error is raised
        raise ZeroDivisionError
    assert "state.json cannot be written" in caplog.text


def test_recording_removes_incomplete_files_of_a_killed_writer(folder: RunFolder) -> None:
    folder.write_state(RunState(state="running"))
    half, other = folder.path / ".result.json.sft-abcd1234.tmp", folder.path / ".hidden"
    half.write_text("{")
    other.write_text("of somebody else")
    with recording(folder):
        assert not half.exists()
    assert other.exists()


def test_an_out_of_memory_error_within_a_library_is_recognised(folder: RunFolder) -> None:
    class OutOfMemoryError(RuntimeError):
        """Named as in torch."""

    with pytest.raises(RuntimeError), halved(2), recording(folder):
        raise RuntimeError("training failed") from OutOfMemoryError("CUDA out of memory")
    assert (_ended(folder).state, _ended(folder).halvings) == ("oom", 2)


def test_reading_the_id_of_a_renamed_folder_does_not_block(tmp_path: Path) -> None:
    folder = tmp_path / "renamed"
    folder.mkdir()
    os.mkfifo(folder / "result.json")
    assert id_of(folder) == "renamed"


def test_a_config_that_is_no_object_is_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "x-0123456789abcdef")
    folder.path.mkdir()
    with pytest.raises(FileNotFoundError):
        folder.config()
    folder.write_config({"name": "x"})
    assert folder.config() == {"name": "x"}
    for text in ("[]", "{", '{"a": NaN}'):
        folder.config_file.write_text(text)
        with pytest.raises(ValueError, match=r"."):
            folder.config()
