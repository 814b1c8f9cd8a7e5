"""Files: strict JSON, one spelling for equal values, hashes of content; writes that fail change nothing and say so."""

from __future__ import annotations

import errno
import json
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sft.errors import UserError
from sft.io import (
    WriteError,
    canonical_json,
    finite,
    hash_path,
    parse_json,
    remove_leftovers,
    write_atomic,
    write_json,
)


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a": -Infinity}', '{"a": 1, "a": 2}', '{"a": ', ""])
def test_invalid_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_json(text)


def test_equal_values_have_one_spelling() -> None:
    assert (
        canonical_json({"b": 1.0, "a": [1, 2.5]}) == canonical_json({"a": [1.0, 2.5], "b": 1}) == '{"a":[1,2.5],"b":1}'
    )
    assert canonical_json(True) != canonical_json(1)


def test_infinities_become_null() -> None:
    assert finite({"a": [float("nan"), (float("inf"), 1.5)]}) == {"a": [None, [None, 1.5]]}


def test_hashes_depend_on_content_not_on_the_path(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "inner").mkdir(parents=True)
        (tmp_path / name / "inner" / "file.txt").write_text("content")
        (tmp_path / name / ".hidden").write_text(name)
    assert hash_path(tmp_path / "one") == hash_path(tmp_path / "two")
    (tmp_path / "two" / "inner" / "file.txt").rename(tmp_path / "two" / "inner" / "renamed.txt")
    assert hash_path(tmp_path / "one") != hash_path(tmp_path / "two")


def test_a_changed_file_is_hashed_again(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("aa")
    before = hash_path(file)
    file.write_text("bb")
    os.utime(file, ns=(1, 1))
    assert hash_path(file) != before


def test_a_file_replaced_with_size_and_time_stamp_kept_is_hashed_again(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("aa")
    stat, before = file.stat(), hash_path(file)
    file.write_text("bb")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert hash_path(file) != before


def test_atomic_writes_make_folders_and_leave_no_trace(tmp_path: Path) -> None:
    write_atomic(tmp_path / "new" / "file.txt", "ü")
    assert (tmp_path / "new" / "file.txt").read_bytes() == "ü".encode()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file.txt"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_the_umask_decides_who_may_read_a_file(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write_atomic(tmp_path / "file", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


def test_a_temporary_name_that_is_taken_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = iter(["aaaaaaaa", "bbbbbbbb"])
    monkeypatch.setattr("secrets.token_hex", lambda length: next(names))
    taken = tmp_path / ".file.sft-aaaaaaaa.tmp"
    taken.write_text("another writer's")
    write_atomic(tmp_path / "file", "x")
    assert (taken.read_text(), (tmp_path / "file").read_text()) == ("another writer's", "x")


ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.EACCES)


class Faults:
    """Lets the system calls of a write through one by one; the Nth fails, and from then on all, where it is `lasting`.

    A write takes seven bytes at a time, so that there are many.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, self.fails_at, self.number, self.lasting = 0, 0, errno.ENOSPC, False
        write = os.write
        self._wrap(monkeypatch, "os.write", lambda handle, data: write(handle, data[:7]))
        self._wrap(monkeypatch, "os.fsync", os.fsync)
        self._wrap(monkeypatch, "os.open", os.open)
        self._wrap(monkeypatch, "os.rename", os.rename)
        self._wrap(monkeypatch, "os.replace", os.replace)
        self._wrap(monkeypatch, "os.mkdir", os.mkdir)
        self._wrap(monkeypatch, "os.unlink", os.unlink)
        self._wrap(monkeypatch, "os.close", os.close, also=True)

    def _wrap(self, monkeypatch: pytest.MonkeyPatch, name: str, call: Callable[..., Any], also: bool = False) -> None:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.count += 1
            if self.count == self.fails_at or (self.lasting and self.count > self.fails_at > 0):
                if also:  # a handle that reports an error is closed all the same
                    call(*args, **kwargs)
                raise OSError(self.number, os.strerror(self.number))
            return call(*args, **kwargs)

        monkeypatch.setattr(name, counted)


@pytest.mark.parametrize("lasting", [False, True])
@pytest.mark.parametrize("existing", [False, True])
def test_after_any_failing_call_the_file_is_old_or_new(tmp_path: Path, lasting: bool, existing: bool) -> None:
    old, new = "old" if existing else None, "all of the new content, which is longer"
    failed = 0
    for at in range(1, 100):
        folder = tmp_path / str(at)
        path = folder / "result.json"
        if old is not None:
            folder.mkdir()
            path.write_text(old)
        with pytest.MonkeyPatch.context() as patch:
            faults = Faults(patch)
            faults.fails_at, faults.lasting, faults.number = at, lasting, ERRORS[at % 5]
            try:
                write_atomic(path, new)
                error = None
            except UserError as caught:
                error = caught
            reached = faults.count >= at
        found = path.read_text() if path.exists() else None
        assert found in (old, new)
        if error is not None:
            failed += 1
            assert str(path) in str(error)
            assert os.strerror(faults.number) in str(error)
            assert error.exit_code == 2
            assert "\n" not in str(error)
            assert ("nothing was changed" in str(error)) == (found == old)
        else:
            assert found == new
        if not lasting and folder.exists():
            assert [entry.name for entry in folder.iterdir()] in ([], ["result.json"])
        if not reached:
            break
    assert not reached
    assert failed >= 10


def test_a_failed_write_is_a_user_error_and_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    path = tmp_path / "taken" / "result.json"
    with pytest.raises(UserError, match=r"result\.json cannot be written: .*; nothing was changed there") as caught:
        write_atomic(path, "x")
    assert isinstance(caught.value, OSError)
    assert isinstance(caught.value, WriteError)
    assert caught.value.errno in (errno.ENOTDIR, errno.EEXIST)
    with pytest.raises(WriteError, match="folder cannot be written"):
        (tmp_path / "folder" / "full").mkdir(parents=True)
        write_atomic(tmp_path / "folder", "x")


@pytest.mark.parametrize("step", ["close", "unlink"])
def test_clearing_up_does_not_hide_the_first_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def broken(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch, pytest.raises(WriteError, match="No space left"):
        patch.setattr("os.fsync", full)
        patch.setattr(f"os.{step}", broken)
        write_atomic(tmp_path / "file", "x")


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EACCES])
def test_a_file_system_that_cannot_sync_folders_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def cannot(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        calls = iter([os.fsync, cannot])
        patch.setattr("os.fsync", lambda handle, sync=os.fsync: cannot() if next(calls) is cannot else sync(handle))
        write_atomic(tmp_path / "file", "x")
    assert (tmp_path / "file").read_text() == "x"


def test_json_is_written_without_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever their text: it stays JSON, and numbers stay as they are."""
    monkeypatch.setenv("A_TOKEN", '": 1, "x\\')
    monkeypatch.setenv("B_TOKEN", "12345678")
    write_json(tmp_path / "file", {"n": 12345678, "text": 'a ": 1, "x\\ b', "digits": "12345678", "hf_token": "abc"})
    assert json.loads((tmp_path / "file").read_text()) == {
        "n": 12345678,
        "text": "a <redacted> b",
        "digits": "<redacted>",
        "hf_token": "<redacted>",
    }


def test_leftovers_of_killed_writers_are_removed_and_nothing_else(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(WriteError):
        patch.setattr("os.fsync", _killed)
        patch.setattr("os.unlink", _killed)
        write_atomic(tmp_path / "result.json", "x")
    (leftover,) = tmp_path.iterdir()
    mine = [
        ".other.json.abcdefgh.tmp",
        ".sft-abcdefgh.tmp",
        "result.json",
        "x.sft-abcdefgh.tmp",
        ".x.sft-abcdefgh.tmp2",
    ]
    for name in mine:
        (tmp_path / name).write_text("x")
    (tmp_path / ".folder.sft-abcdefgh.tmp").mkdir()
    (tmp_path / ".link.sft-abcdefgh.tmp").symlink_to(tmp_path / "result.json")
    assert remove_leftovers(tmp_path, older_than_seconds=60) == 0
    os.utime(leftover, (time.time() - 100, time.time() - 100))
    assert remove_leftovers(tmp_path, older_than_seconds=60) == 1
    names = {entry.name for entry in tmp_path.iterdir()}
    assert names == {*mine, ".folder.sft-abcdefgh.tmp", ".link.sft-abcdefgh.tmp"}
    assert remove_leftovers(tmp_path / "absent", 0) == 0


def test_leftovers_are_removed_after_the_clock_was_set_back(tmp_path: Path) -> None:
    leftover = tmp_path / ".result.json.sft-abcdefgh.tmp"
    for ahead, seconds, removed in ((5, 3600, 0), (5, 0, 1), (7200, 3600, 1)):
        leftover.write_text("x")
        os.utime(leftover, (time.time() + ahead, time.time() + ahead))
        assert remove_leftovers(tmp_path, seconds) == removed


def _killed(*_: object, **__: object) -> None:
    raise OSError(errno.EIO, "stands for a process that is gone")
