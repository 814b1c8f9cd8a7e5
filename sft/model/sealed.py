"""Folders of model files with hashes in `sft.json`, which is written last, so that incomplete folders are detected.

`sft.json` also holds a record of how the files were made. The libraries ignore it. A folder from another source has no
`sft.json`, and is not checked.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sft.errors import ModelError
from sft.io import hash_path, parse_json, write_atomic

RECORD = "sft.json"
FILES = "files"  # key in it: SHA-256 by name; empty while that file is being replaced


def read_record(path: str | Path) -> Mapping[str, Any] | None:
    """Return the record of how the folder's files were made; None if there is no readable one."""
    record = {key: value for key, value in _read_marker(path).items() if key != FILES}
    return record or None


def listed_files(path: str | Path) -> Mapping[str, str]:
    """Return names and hashes of the files written by this tool; empty for a folder from another source."""
    hashes = _read_marker(path).get(FILES)
    inside = hashes.items() if isinstance(hashes, dict) else ()
    return {name: value for name, value in inside if not Path(name).is_absolute() and ".." not in Path(name).parts}


def check_whole(key: str, path: str | Path, names: Collection[str] | None = None) -> None:
    """Compare files with their hashes; a folder from another source has none.

    Args:
        key: the config key, for the message.
        path: the folder.
        names: names of the files to check; None for all listed files.

    Raises:
        ModelError: a file is missing or differs.
    """
    for name, expected in listed_files(path).items():
        if names is not None and name not in names:
            continue
        file = Path(path) / name
        if not (file.is_file() and hash_path(file) == expected):
            problem = "differs from its recorded hash" if file.is_file() else "is missing"
            raise ModelError(
                f'{key}: "{path}" is incomplete or corrupt: {name} {problem}; train it again '
                f"(or delete its {RECORD}, if you changed it yourself)"
            )


@contextmanager
def filled(folder: Path, last: str, record: Mapping[str, Any] | None = None) -> Iterator[Path]:
    """Yield a temporary folder for new files, which then replace those that this tool wrote before.

    Each file is synced to disk and replaced atomically. `last` (without which nothing can be loaded) comes after all
    others, then `sft.json` with the hashes. Files from other sources are kept.

    Args:
        folder: the target folder.
        last: name of the file to replace last.
        record: the record for `read_record`; None removes an earlier one.
    """
    created = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".filling-") as temporary:
            yield Path(temporary)
            _move_in(Path(temporary), folder, last, record)
    except BaseException:
        with suppress(OSError):  # a folder with files stays
            for path in created:
                path.rmdir()
        raise


def _move_in(source: Path, folder: Path, last: str, record: Mapping[str, Any] | None) -> None:
    """Move all files of `source`; remove earlier files that have no replacement, if they are unchanged."""
    hashes = {path.relative_to(source).as_posix(): _hash(path) for path in _files(source) if path.name != RECORD}
    stale = {name: value for name, value in listed_files(folder).items() if name not in hashes}
    # The earlier record does not describe these files; this one marks an interrupted save.
    _write_marker(folder, {FILES: {**stale, **dict.fromkeys(hashes, "")}})
    for name, value in stale.items():
        if (folder / name).is_file() and value in ("", _hash(folder / name)):  # "": an earlier save was interrupted
            (folder / name).unlink()
    for name in sorted(hashes, key=lambda name: (name == last, name)):
        _sync(source / name)
        (folder / name).parent.mkdir(exist_ok=True)
        (source / name).replace(folder / name)
    _write_marker(folder, {**(record or {}), FILES: hashes})


def _hash(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _read_marker(path: str | Path) -> dict[str, Any]:
    try:
        marker = parse_json((Path(path) / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return marker if isinstance(marker, dict) else {}


def _write_marker(folder: Path, marker: Mapping[str, Any]) -> None:
    write_atomic(folder / RECORD, json.dumps(marker, indent=2) + "\n")


def _sync(file: Path) -> None:
    """Sync a file to disk, so that a power failure cannot lose its content."""
    with file.open("rb+") as opened:
        os.fsync(opened.fileno())
