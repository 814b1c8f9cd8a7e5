"""Files: atomic writes, strict JSON, hashes, and where the shipped files lie. Knows nothing of what is in them."""

from __future__ import annotations

import glob
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterable
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import Any

from sft.errors import UserError


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write `content` so that `path` holds either the old or the whole new content, whatever happens.

    A temporary file in the same folder, synced, then renamed; on a full disk the old file stays.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the platform can open folders."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass  # some network file systems refuse to sync a folder; the file itself is synced
    finally:
        os.close(handle)


def check_writable(folder: Path, advice: str) -> None:
    """Make the folder and write into it, before any work is done for it.

    Raises:
        UserError: it cannot be made or written; ends with the advice.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"probe")
    except OSError as error:
        raise UserError(f"the folder {folder} cannot be written: {error.strerror or error}; {advice}") from None


def write_json(path: Path, value: Any) -> None:
    """Write `value` atomically as indented JSON; numbers JSON lacks (NaN, infinities) become null."""
    write_atomic(path, json.dumps(finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def finite(value: Any) -> Any:
    """`value` with every NaN or infinite float replaced by None, so that it is JSON."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def parse_json(text: str) -> Any:
    """Parse JSON strictly: NaN, Infinity and duplicate keys, which Python's `json` lets through, are refused.

    Raises:
        ValueError: with the reason, and the line and column for a syntax error.
    """
    return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for key, value in pairs:
        if key in seen:
            raise ValueError(f'the key "{key}" stands twice in one object')
        seen[key] = value
    return seen


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def canonical_json(value: Any) -> str:
    """One spelling per value: sorted keys, no spaces, shortest floats (1.0 and 1 are the same number)."""
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
    """The first `length` hexadecimal digits of the SHA-256 of `text`."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:length]


def hash_path(path: Path) -> str:
    """SHA-256 of a file's bytes, or of a folder's files (relative names and bytes; hidden entries left out).

    The same content gives the same hash wherever it lies. Cached per file while size and time of change stay.
    """
    if path.is_dir():
        return _hash_files(path, _visible_files(path))
    stat = path.stat()
    return _hash_file(str(path), stat.st_size, stat.st_mtime_ns)


def hash_pattern(pattern: str) -> str | None:
    """SHA-256 of the files that an absolute pattern (`/data/part-*.csv`, `**` any folders) matches; None without one.

    Names count from the last folder without a wildcard on: the same files elsewhere give the same hash.
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
def _hash_file(path: str, size: int, mtime_ns: int) -> str:
    del size, mtime_ns  # part of the cache's key only
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def shipped_root() -> Path:
    """The folder that holds `etc/`: the package itself when installed, the checkout when run from one."""
    package = Path(__file__).resolve().parent
    return package if (package / "etc").is_dir() else package.parent
