"""Truncated, changed or swapped results: each is detected, moved to the quarantine, and run again."""

from __future__ import annotations

import errno
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from sft.errors import UserError
from sft.results.schema import RunResult, RunState
from sft.results.sealed import seal, unsealed
from sft.results.store import ResultAccessError, ResultStore, RunFolder

ID, OTHER = "0123456789ab", "ba9876543210"


def result(run_id: str = ID, **changes: Any) -> RunResult:
    fields: dict[str, Any] = {
        "name": "a run", "id": run_id, "recipe_id": "recipe", "seed": 13, "endpoint": "evaluate",
        "config": {"prompting": {"instruction": "Wie wär es?"}}, "results": {"accuracy": 0.5, "auroc": None},
        "shots": {}, "labelled_examples": 0, "training": {}, "timings": {}, "resources": {}, "environment": {},
        "data": {},
    }  # fmt: skip
    return RunResult(**{**fields, **changes})


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(tmp_path)


@pytest.fixture
def folder(store: ResultStore) -> RunFolder:
    folder = store.folder(ID, "a-run")
    folder.write_result(result())
    return folder


def is_accepted(data: bytes) -> bool:
    try:
        RunResult.model_validate(unsealed(data))
    except ValueError:
        return False
    return True


def test_a_sealed_value_is_read_back() -> None:
    value = {"a": [1, 2.5, None], "schema_version": 2}
    assert unsealed(seal(value).encode()) == value


def test_truncation_at_any_length_is_detected(folder: RunFolder) -> None:
    data = folder.result_file.read_bytes()
    assert is_accepted(data)
    assert [length for length in range(len(data)) if is_accepted(data[:length])] == []
    assert not is_accepted(data + b"\n")


def test_any_flipped_bit_is_detected(folder: RunFolder) -> None:
    data = folder.result_file.read_bytes()
    missed = [at for at in range(8 * len(data)) if is_accepted(flipped(data, at))]
    assert missed == []


def test_random_flipped_bits_of_a_large_result_are_detected(folder: RunFolder) -> None:
    numbers = random.Random(1)  # noqa: S311
    data = seal(result(training={"loss": [numbers.random() for _ in range(5000)]}).model_dump(mode="json")).encode()
    assert is_accepted(data)
    missed = [at for at in numbers.sample(range(8 * len(data)), 1000) if is_accepted(flipped(data, at))]
    assert missed == []


def flipped(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at // 8] ^= 1 << at % 8
    return bytes(changed)


def test_a_result_of_version_1_is_still_accepted(folder: RunFolder) -> None:
    old = {**result().model_dump(mode="json"), "schema_version": 1}
    folder.result_file.write_text(json.dumps(old), encoding="utf-8")
    assert folder.result() == result(schema_version=1)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (seal(result(OTHER).model_dump(mode="json")).encode(), f"it is of another run ({OTHER})"),
        (json.dumps(result().model_dump(mode="json")).encode(), "it does not start with a checksum"),
        (seal({"schema_version": 2}).encode(), "it is not a result of this version"),
        (seal({**result().model_dump(mode="json"), "schema_version": 0}).encode(), "not a result of this version"),
        (b"", "Expecting value"),
        (b"\xff\xfe\x00", "codec can't decode"),
        (b"[" * 100_000, "it is nested too deeply"),
        (b"[]", "it does not start with a checksum"),
    ],
)
def test_an_invalid_result_is_quarantined_and_reported(
    store: ResultStore, folder: RunFolder, content: bytes, reason: str
) -> None:
    folder.result_file.write_bytes(content)
    assert folder.result() is None
    message = store.quarantine(folder)
    assert message is not None
    assert reason in message
    (moved,) = (store.root / "quarantine").iterdir()
    assert str(moved) in message
    assert moved.read_bytes() == content
    assert not folder.result_file.exists()
    assert store.quarantine(folder) is None


def test_a_result_of_a_newer_version_is_neither_used_nor_moved(store: ResultStore, folder: RunFolder) -> None:
    content = seal({**result().model_dump(mode="json"), "schema_version": 3, "new": {}})
    folder.result_file.write_text(content)
    for use in (folder.result, folder.is_done, folder.damage, folder.tidy, lambda: store.quarantine(folder)):
        with pytest.raises(
            ResultAccessError, match=r"result\.json was written by a newer version of sft \(3\); update sft"
        ):
            use()
    store.tidy()
    assert folder.result_file.read_text() == content
    folder.result_file.write_text(content.replace("accuracy", "xccuracy"))
    assert store.quarantine(folder) is not None, "after a random change even the version is unknown"


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.EACCES, errno.ETIMEDOUT])
def test_a_temporarily_unreadable_result_stays(
    store: ResultStore, folder: RunFolder, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fails(path: Path, *_: object, **__: object) -> bytes:
        raise OSError(number, os.strerror(number), str(path))

    with monkeypatch.context() as patch:
        patch.setattr("sft.results.store.read_regular", fails)
        for use in (folder.result, folder.is_done, folder.damage, lambda: store.quarantine(folder)):
            with pytest.raises(UserError, match=rf"result\.json cannot be read: {os.strerror(number)}$"):
                use()
        store.tidy()
    assert folder.result() == result()
    assert not (store.root / "quarantine").exists()


@pytest.mark.parametrize("content", [None, "a file instead of the folder"])
def test_a_missing_result_is_none(store: ResultStore, content: str | None) -> None:
    folder = store.folder(OTHER, "b-run")
    if content is not None:
        folder.path.parent.mkdir(parents=True)
        folder.path.write_text(content)
    assert (folder.result(), folder.is_done(), folder.damage(), store.quarantine(folder)) == (None, False, None, None)


def test_a_second_damaged_result_does_not_overwrite_the_first(store: ResultStore, folder: RunFolder) -> None:
    for content in (b"first", b"second"):
        folder.result_file.write_bytes(content)
        store.quarantine(folder)
    assert sorted(path.read_bytes() for path in (store.root / "quarantine").iterdir()) == [b"first", b"second"]


def test_a_valid_result_is_not_moved(store: ResultStore, folder: RunFolder) -> None:
    assert store.quarantine(folder) is None
    assert folder.result() == result()


def test_tidying_up_after_a_kill(store: ResultStore, folder: RunFolder) -> None:
    """As after a kill between writing the result and the state: a lock file, an incomplete file, an outdated state."""
    folder.write_state(RunState(state="running", phase="test", halvings=1))
    half = folder.path / ".state.json.sft-abcd1234.tmp"
    half.write_text("{")
    (store.root / ".locks").mkdir()
    (store.root / ".locks" / f"{ID}.run").touch()
    old, running = store.root / ".sft-check-old", store.root / ".sft-check-running"
    for check in (old, running):
        check.mkdir()
        (check / "request.json").write_text("{}")
    os.utime(old, (1e9, 1e9))
    store.tidy()
    assert running.exists()
    assert not old.exists()
    state = folder.state()
    assert state is not None
    assert (state.state, state.phase, state.halvings) == ("done", "", 1)
    assert not half.exists()
    assert list((store.root / ".locks").iterdir()) == []


def test_tidying_up_does_not_touch_locked_runs(store: ResultStore, folder: RunFolder) -> None:
    folder.write_state(RunState(state="running"))
    lock = store.lock(ID, "run")
    assert lock.acquire()
    store.tidy()
    state = folder.state()
    assert state is not None
    assert state.state == "running"
    assert not store.lock(ID, "run").is_free()
    lock.release()
    assert store.lock(ID, "run").is_free()
