"""Files: atomic writes, strict JSON, hashes, and the folder of the shipped files. Knows nothing of their content.

JSON is written without secrets (see `sft.secrets`); `write_atomic` writes its content unchanged.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import math
import os
import re
import secrets
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import Any

from sft.errors import UserError
from sft.secrets import redacted

_hashed: ContextVar[dict[Path, str] | None] = ContextVar("hashed", default=None)
_OURS = ".sft-"  # in the name of every temporary file: `.result.json.sft-k3x9w2ab.tmp`
_TEMPORARY = re.compile(r"\..+\.sft-[a-z0-9_]{8}\.tmp", re.DOTALL)
# Errors of file systems that cannot sync a folder, or open it for that; they do not indicate a failing disk.
_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EACCES, errno.EPERM)


# For folders that others may write to: links are not followed, and opening a FIFO does not block.
_NO_DETOURS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


LARGEST_FILE = 1 << 30  # bytes of a file that is read whole


class WriteError(UserError, OSError):
    """A file that cannot be written: a full, absent or broken disk, a quota, missing rights. Names the path.

    The user can fix it; code that can do without the file catches it as an OSError.
    """

    def __init__(self, message: str, number: int | None = None) -> None:
        super().__init__(message)
        self.errno = number


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write `content` so that `path` always holds either the old or the whole new content.

    A temporary file in the same folder is synced and then renamed; on a full disk the old file stays.

    Raises:
        WriteError: it cannot be written, or was written and not synced to disk.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_and_rename(path, data)
    except OSError as error:
        what = f"{path} cannot be written: {error.strerror or error}; nothing was changed there"
        raise WriteError(what, error.errno) from error
    try:
        _sync_folder(path.parent)
    except OSError as error:
        what = f"{path} was not synced to disk; a power failure could lose it: {error.strerror or error}"
        raise WriteError(what, error.errno) from error


def open_to_append(path: Path) -> int:
    """Return a file descriptor at the end of a file; create its folder. Links are not followed.

    Raises:
        WriteError: it cannot be opened.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _NO_DETOURS, 0o644)
    except OSError as error:
        raise WriteError(f"{path} cannot be written: {error.strerror or error}", error.errno) from error


def read_regular(path: Path, most: int = LARGEST_FILE, last: bool = False) -> bytes:
    """Return the bytes of a regular file. Links, FIFOs, devices and sockets are refused.

    Args:
        path: the file.
        most: its maximum size in bytes.
        last: return the last `most` bytes of a larger file instead of refusing it.

    Raises:
        FileNotFoundError: it does not exist.
        OSError: it cannot be read, is not a regular file, or is too large.
    """
    try:
        handle = os.open(path, os.O_RDONLY | _NO_DETOURS)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a link, and links are not followed here", str(path)) from None
        raise
    with os.fdopen(handle, "rb") as file:
        state = os.fstat(handle)
        if not stat.S_ISREG(state.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        if state.st_size > most:
            if not last:
                raise OSError(errno.EFBIG, f"expected at most {most:,} bytes, got {state.st_size:,}", str(path))
            file.seek(-most, os.SEEK_END)
        return file.read(most)


def _write_and_rename(path: Path, data: bytes) -> None:
    handle, temporary = _temporary_beside(path)
    try:
        try:
            _write_all(handle, data)
            os.fsync(handle)
        except BaseException:
            with suppress(OSError):  # the first error is more informative
                os.close(handle)
            raise
        os.close(handle)  # an error counts here: some network file systems report a full disk only on close
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _temporary_beside(path: Path) -> tuple[int, Path]:
    """Create a temporary file, open for writing. The umask decides who may read it: a team may share the folder."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    while True:
        temporary = path.with_name(f".{path.name}{_OURS}{secrets.token_hex(4)}.tmp")
        with suppress(FileExistsError):
            return os.open(temporary, flags, 0o666), temporary


def _write_all(handle: int, data: bytes) -> None:
    """Write all of `data`, even if the system takes only a part at a time."""
    rest = memoryview(data)
    while rest:
        written = os.write(handle, rest)
        if written == 0:
            raise OSError(errno.EIO, "the device takes no more data")
        rest = rest[written:]


def _sync_folder(folder: Path) -> None:
    """Sync the rename to disk, if the platform and the file system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise


def remove_leftovers(folder: Path, older_than_seconds: float) -> int:
    """Remove the temporary files of killed writers in `folder` and return their number.

    Only files with a name of `write_atomic` that have not changed for this long; files that cannot be removed stay.

    Args:
        folder: the folder, without its subfolders; it need not exist.
        older_than_seconds: 0 if no other process can be writing.
    """
    removed = 0
    try:
        entries = [entry for entry in os.scandir(folder) if _TEMPORARY.fullmatch(entry.name)]
    except OSError:
        return 0
    for entry in entries:
        with suppress(OSError):
            state = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(state.st_mode) and is_older(state.st_mtime, older_than_seconds):
                Path(entry.path).unlink()
                removed += 1
    return removed


def is_older(changed: float, seconds: float) -> bool:
    """Return whether a file has not changed for this many seconds.

    Also true if its time is as far in the future: the clock was set back since.

    Args:
        changed: the time of its last change.
        seconds: 0: any file.
    """
    return abs(time.time() - changed) >= seconds


def check_writable(folder: Path, advice: str) -> None:
    """Create the folder and write a probe into it, before any work.

    Raises:
        UserError: it cannot be created or written; the message ends with the advice.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"probe")
    except OSError as error:
        raise UserError(f"the folder {folder} cannot be written: {error.strerror or error}; {advice}") from None


def write_json(path: Path, value: Any) -> None:
    """Write `value` atomically as `json_text`."""
    write_atomic(path, json_text(value))


def json_text(value: Any) -> str:
    """Return `value` as indented JSON without secrets; numbers that JSON lacks (NaN, infinities) become null."""
    return json.dumps(redacted(finite(value)), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def json_line(value: Any) -> bytes:
    """Return `value` as one encoded line of JSON without secrets, for files with one record per line."""
    return json.dumps(redacted(finite(value)), ensure_ascii=False, allow_nan=False).encode("utf-8")


def finite(value: Any) -> Any:
    """Return `value` with every NaN or infinite float replaced by None, so that it is JSON."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def parse_json(text: str) -> Any:
    """Parse JSON strictly: NaN, Infinity and duplicate keys, which Python's `json` accepts, are refused.

    Raises:
        ValueError: with the reason, and the line and column for a syntax error.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for key, value in pairs:
        if key in seen:
            raise ValueError(f'duplicate key "{key}"')
        seen[key] = value
    return seen


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def canonical_json(value: Any) -> str:
    """Return the canonical JSON of a value: sorted keys, no spaces, shortest floats (1.0 and 1 are the same number)."""
    return json.dumps(_plain_numbers(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _plain_numbers(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, dict):
        return {key: _plain_numbers(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_numbers(item) for item in value]
    return value


def digest(text: str, length: int = 64) -> str:
    """Return the first `length` hexadecimal digits of the SHA-256 of `text`."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:length]


def hash_path(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, or of a folder's files (relative names and bytes; hidden entries excluded).

    The hash does not depend on the path. It is cached per file while its size, time stamps and inode stay the same.
    """
    known = _hashed.get()
    if known is not None and path in known:
        return known[path]
    if path.is_dir():
        result = _hash_files(path, _visible_files(path))
    else:
        state = path.stat()
        # a replaced file with the same size and mtime (rsync -t, tar) still has another ctime or inode
        result = _hash_file(str(path), (state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino))
    if known is not None:
        known[path] = result
    return result


@contextmanager
def hashed_once() -> Iterator[None]:
    """Cache the hashes of files and folders in the block: experiments of a large plan share them."""
    token = _hashed.set({})
    try:
        yield
    finally:
        _hashed.reset(token)


def hash_pattern(pattern: str) -> str | None:
    """Return the SHA-256 of the files that match an absolute pattern (`/data/part-*.csv`); None if none match.

    Names are relative to the last folder without a wildcard: the same files elsewhere give the same hash.
    """
    matches = (Path(name) for name in glob.glob(pattern, recursive=True))  # noqa: PTH207 - it is absolute
    root = Path(*takewhile(lambda part: not glob.has_magic(part), Path(pattern).parts))
    files = [path for path in matches if path.is_file()]
    return _hash_files(root, files) if files else None


def _hash_files(root: Path, files: Iterable[Path]) -> str:
    parts = [f"{file.relative_to(root).as_posix()}\0{hash_path(file)}" for file in sorted(files)]
    return digest("\n".join(parts))


def _visible_files(folder: Path) -> Iterable[Path]:
    for file in folder.rglob("*"):
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts):
            yield file


@lru_cache(maxsize=4096)
def _hash_file(path: str, state: tuple[int, int, int, int]) -> str:
    del state  # only part of the cache's key
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=1)
def shipped_root() -> Path:
    """Return the folder that holds `etc/`: the installed package, or the checkout."""
    package = Path(__file__).resolve().parent
    return package if (package / "etc").is_dir() else package.parent
