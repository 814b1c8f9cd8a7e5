"""Checkpoints that a training can resume from: which are complete, which belong to this training, which can be removed.

A trainer writes many files in no guaranteed order. So the folder first gets `started.json`, which marks it as ours, and
last `complete.json` with the hash of every file. After a crash `complete.json` is missing, and after a change of the
files the hashes do not match. This module does not know trainers or the contents of the files.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from sft.errors import UserError
from sft.io import canonical_json, digest, parse_json, write_atomic
from sft.log import get_logger

STARTED, COMPLETE = "started.json", "complete.json"
VERSION = 2
_NAME = re.compile(r"checkpoint-(\d+)")
# Without one of these files a trainer would silently restart some of its parts.
_NEEDED = frozenset({"trainer_state.json", "optimizer.pt", "scheduler.pt", "rng_state.pth"})

log = get_logger(__name__)


class Marker(NamedTuple):
    """Contents of `complete.json`.

    Args:
        step: number of optimiser steps done.
        work: fingerprint of the training (see `fingerprint`).
        state: state that the trainer's own files lack.
        files: SHA-256 and size of each file, by its name within the folder.
    """

    step: int
    work: str
    state: Mapping[str, Any]
    files: Mapping[str, tuple[str, int]]


def fingerprint(parts: Mapping[str, Any]) -> str:
    """Return the fingerprint of everything that a training depends on. Resuming requires the same fingerprint."""
    return digest(canonical_json({"version": VERSION, **parts}))


def begin(folder: Path) -> None:
    """Create the folder of a checkpoint and replace an older checkpoint of ours there.

    Raises:
        UserError: the path exists and is not a checkpoint of ours.
    """
    _remove(folder)
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise UserError(
            f"{folder}: expected a free path for a checkpoint, got an existing file or folder; move it"
        ) from None
    write_atomic(folder / STARTED, json.dumps({"version": VERSION}) + "\n")


def complete(folder: Path, step: int, work: str, state: Mapping[str, Any]) -> None:
    """Sync the checkpoint to disk, then mark it as complete."""
    files = [{"name": name, "sha256": sha, "size": size} for name, (sha, size) in _hashes(folder).items()]
    marker = {"version": VERSION, "step": step, "work": work, "state": dict(state), "files": files}
    write_atomic(folder / COMPLETE, json.dumps({**marker, "checksum": digest(canonical_json(marker))}, indent=1) + "\n")


def newest_complete(work_dir: Path, work: str) -> Path | None:
    """Return the intact checkpoint of this training with the most steps; log the ones that were skipped.

    Args:
        work_dir: parent of the folders `checkpoint-<step>`.
        work: fingerprint of the training.
    """
    skipped: list[str] = []
    newest = None
    for folder in _folders(work_dir):
        defect = _defect(folder, work)
        if defect is None:
            newest = folder
            break
        skipped.append(f"{folder.name} ({defect})")
    if skipped:
        log.warning("Skipped checkpoints: %s", ", ".join(skipped))
    return newest


def read_marker(folder: Path) -> Marker | None:
    """Return the marker of a checkpoint; None if it is missing or invalid."""
    try:
        marker = parse_json((folder / COMPLETE).read_text(encoding="utf-8"))
        checksum = marker.pop("checksum")
        if marker["version"] != VERSION or checksum != digest(canonical_json(marker)):
            return None
        files = {str(file["name"]): (str(file["sha256"]), int(file["size"])) for file in marker["files"]}
        if any(Path(name).is_absolute() or ".." in Path(name).parts for name in files):
            return None
        return Marker(int(marker["step"]), str(marker["work"]), dict(marker["state"]), files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def remove_older(work_dir: Path, keep: int) -> None:
    """Remove our checkpoints except the `keep` with the most steps."""
    for folder in list(_folders(work_dir))[max(keep, 1) :]:
        _remove(folder)


def remove_all(work_dir: Path) -> None:
    """Remove our checkpoints, and the folder itself if it is then empty; log the ones that cannot be removed."""
    try:
        for folder in _folders(work_dir):
            _remove(folder)
    except OSError as error:  # the result exists already, so the run does not fail
        log.warning("Could not remove checkpoints: %s", error)
    with suppress(OSError):
        work_dir.rmdir()


def _folders(work_dir: Path) -> Iterator[Path]:
    """Yield the folders named like checkpoints, the one with the most steps first."""
    if not work_dir.is_dir():
        return
    numbered = [
        (int(match[1]), path) for path in work_dir.iterdir() if (match := _NAME.fullmatch(path.name)) and path.is_dir()
    ]
    yield from (path for _, path in sorted(numbered, reverse=True))


def _defect(folder: Path, work: str) -> str | None:
    """Return the reason why a checkpoint cannot be resumed from, or None."""
    marker = read_marker(folder)
    if marker is None:
        return "corrupt" if (folder / COMPLETE).exists() else "incomplete"
    if marker.work != work:
        return "from another training"
    if folder.name != f"checkpoint-{marker.step}" or not marker.files.keys() >= _NEEDED:
        return "incomplete"
    try:
        hashes = _hashes(folder)
    except OSError as error:
        return error.strerror or "unreadable"
    differing = sorted(name for name in {*hashes, *marker.files} if hashes.get(name) != marker.files.get(name))
    return f"{differing[0]} differs from what was written" if differing else None


def _hashes(folder: Path) -> dict[str, tuple[str, int]]:
    """Return the SHA-256 and size of every file except the markers, by name, and sync each file to disk."""
    hashes = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or (path.parent == folder and path.name in (STARTED, COMPLETE)):
            continue
        with path.open("rb") as file:
            sha = hashlib.file_digest(file, "sha256").hexdigest()
            with suppress(OSError):  # some file systems refuse to sync a file that is open for reading
                os.fsync(file.fileno())
        hashes[path.relative_to(folder).as_posix()] = (sha, path.stat().st_size)
    return hashes


def _remove(folder: Path) -> None:
    """Remove a checkpoint of ours. Files that others added to a complete one stay."""
    if not (folder / STARTED).is_file():
        return
    marker = read_marker(folder)
    if marker is None:  # incomplete or corrupt: a trainer wrote everything here
        shutil.rmtree(folder)
        return
    (folder / COMPLETE).unlink()  # first, so that a half-removed checkpoint is incomplete after a crash
    for name in marker.files:
        (folder / name).unlink(missing_ok=True)
    (folder / STARTED).unlink()
    for path in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        with suppress(OSError):
            path.rmdir()
    with suppress(OSError):
        folder.rmdir()
