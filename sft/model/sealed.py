"""Folders of model files that say of themselves whether they are whole: beside the files lies `sft.json`, written last.

It holds each file's hash, and what those who made the files say of how. The libraries do not look at it. A folder that
came from elsewhere has none, and is taken as it is. Knows nothing of what the files are.
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
FILES = "files"  # in it: SHA-256 by name; empty while that file is being replaced


def read_record(path: str | Path) -> Mapping[str, Any] | None:
    """What was said of how the folder's files were made; None where nothing readable is said."""
    record = {key: value for key, value in _read_marker(path).items() if key != FILES}
    return record or None


def listed_files(path: str | Path) -> Mapping[str, str]:
    """Names and hashes of the files that were written there by us; empty for a folder from elsewhere."""
    hashes = _read_marker(path).get(FILES)
    inside = hashes.items() if isinstance(hashes, dict) else ()
    return {name: known for name, known in inside if not Path(name).is_absolute() and ".." not in Path(name).parts}


def check_whole(key: str, path: str | Path, names: Collection[str] | None = None) -> None:
    """Compare files with their hashes; a folder that came from elsewhere has none.

    Args:
        key: the config's key, for the message.
        path: the folder.
        names: of the files that are going to be read; None: all that are listed.

    Raises:
        ModelError: a file is missing or differs.
    """
    for name, expected in listed_files(path).items():
        if names is not None and name not in names:
            continue
        file = Path(path) / name
        if not (file.is_file() and hash_path(file) == expected):
            trouble = "differs from what was written" if file.is_file() else "is missing"
            raise ModelError(
                f'{key}: "{path}" is incomplete or damaged: {name} {trouble}; train it again '
                f"(or remove {RECORD} there, if you changed it yourself)"
            )


@contextmanager
def filled(folder: Path, last: str, record: Mapping[str, Any] | None = None) -> Iterator[Path]:
    """A temporary folder to write files into, which then take the place of those that were written here before.

    Each file is replaced in one move, once it is on the disk: `last` (without which nothing there can be loaded) after
    all others, and then `sft.json`, with everything's hash. Files that nobody here wrote stay.

    Args:
        folder: where the files go.
        last: name of the file that makes the others what they are.
        record: what `read_record` shall find; None: nothing, not even what was said of earlier files.
    """
    made_here = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".filling-") as temporary:
            yield Path(temporary)
            _move_in(Path(temporary), folder, last, record)
    except BaseException:
        with suppress(OSError):  # not where files have been moved into it already
            for place in made_here:
                place.rmdir()
        raise


def _move_in(source: Path, folder: Path, last: str, record: Mapping[str, Any] | None) -> None:
    """Move all files of `source`; what was written here before and has no successor is removed, if it is as it was."""
    hashes = {path.relative_to(source).as_posix(): _hash(path) for path in _files(source) if path.name != RECORD}
    stale = {name: known for name, known in listed_files(folder).items() if name not in hashes}
    # The earlier record would lie beside these files; this one tells of a save that was cut short.
    _write_marker(folder, {FILES: {**stale, **dict.fromkeys(hashes, "")}})
    for name, known in stale.items():
        if (folder / name).is_file() and known in ("", _hash(folder / name)):  # "": an earlier save was cut short
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
    """A power cut leaves no name without its content."""
    with file.open("rb+") as opened:
        os.fsync(opened.fileno())
