"""Checkpoints that a training can go on from: which are whole, which belong to this training, which may be removed.

A trainer writes many files, in no order that could be relied on. So the folder gets `started.json` first, which says
that it is ours, and `complete.json` last, with every file's hash; a folder that a crash has cut short lacks it, and
one whose files have changed does not match it. Knows nothing of trainers and of what the files hold.
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
# Without one of these a trainer would start some of its parts anew, silently.
_NEEDED = frozenset({"trainer_state.json", "optimizer.pt", "scheduler.pt", "rng_state.pth"})

log = get_logger(__name__)


class Marker(NamedTuple):
    """What `complete.json` says.

    Args:
        step: optimiser steps done.
        work: fingerprint of the training that it belongs to (see `fingerprint`).
        state: what the trainer's own files lack.
        files: SHA-256 and size of each file, by its name within the folder.
    """

    step: int
    work: str
    state: Mapping[str, Any]
    files: Mapping[str, tuple[str, int]]


def fingerprint(parts: Mapping[str, Any]) -> str:
    """One word for all that a training depends on: checkpoints of another one are of no use to it."""
    return digest(canonical_json({"version": VERSION, **parts}))


def begin(folder: Path) -> None:
    """Make the folder of a checkpoint, in place of one of ours.

    Raises:
        UserError: something else lies there.
    """
    _remove(folder)
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise UserError(f"{folder} is in the way of a checkpoint, and not one of ours: move it away") from None
    write_atomic(folder / STARTED, json.dumps({"version": VERSION}) + "\n")


def complete(folder: Path, step: int, work: str, state: Mapping[str, Any]) -> None:
    """Say that everything has been written, after making it durable."""
    files = [{"name": name, "sha256": sha, "size": size} for name, (sha, size) in _hashes(folder).items()]
    said = {"version": VERSION, "step": step, "work": work, "state": dict(state), "files": files}
    write_atomic(folder / COMPLETE, json.dumps({**said, "checksum": digest(canonical_json(said))}, indent=1) + "\n")


def newest_complete(work_dir: Path, work: str) -> Path | None:
    """The checkpoint of this work with the most steps of which every byte is as written; others are named in the log.

    Args:
        work_dir: folder of the folders `checkpoint-<step>`.
        work: fingerprint of the training.
    """
    passed_over: list[str] = []
    found = None
    for folder in _folders(work_dir):
        trouble = _trouble(folder, work)
        if trouble is None:
            found = folder
            break
        passed_over.append(f"{folder.name} ({trouble})")
    if passed_over:
        log.warning("Not resumed from: %s", ", ".join(passed_over))
    return found


def read_marker(folder: Path) -> Marker | None:
    """The marker of a checkpoint; None where there is none, or none that holds together."""
    try:
        said = parse_json((folder / COMPLETE).read_text(encoding="utf-8"))
        checksum = said.pop("checksum")
        if said["version"] != VERSION or checksum != digest(canonical_json(said)):
            return None
        files = {str(file["name"]): (str(file["sha256"]), int(file["size"])) for file in said["files"]}
        if any(Path(name).is_absolute() or ".." in Path(name).parts for name in files):
            return None
        return Marker(int(said["step"]), str(said["work"]), dict(said["state"]), files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def remove_older(work_dir: Path, keep: int) -> None:
    """Remove all checkpoints of ours but the `keep` with the most steps."""
    for folder in list(_folders(work_dir))[max(keep, 1) :]:
        _remove(folder)


def remove_all(work_dir: Path) -> None:
    """Remove the checkpoints of ours, and the folder itself if nothing else lies there; what cannot go is named."""
    try:
        for folder in _folders(work_dir):
            _remove(folder)
    except OSError as error:  # no reason for the run to fail: its result is there
        log.warning("Checkpoints could not be removed: %s", error)
    with suppress(OSError):
        work_dir.rmdir()


def _folders(work_dir: Path) -> Iterator[Path]:
    """Folders that are named like checkpoints, those with the most steps first."""
    if not work_dir.is_dir():
        return
    numbered = [
        (int(found[1]), path) for path in work_dir.iterdir() if (found := _NAME.fullmatch(path.name)) and path.is_dir()
    ]
    yield from (path for _, path in sorted(numbered, reverse=True))


def _trouble(folder: Path, work: str) -> str | None:
    """Why a checkpoint cannot be resumed from, in a few words."""
    marker = read_marker(folder)
    if marker is None:
        return "damaged" if (folder / COMPLETE).exists() else "incomplete"
    if marker.work != work:
        return "of another training"
    if folder.name != f"checkpoint-{marker.step}" or not marker.files.keys() >= _NEEDED:
        return "incomplete"
    try:
        found = _hashes(folder)
    except OSError as error:
        return error.strerror or "unreadable"
    differing = sorted(name for name in {*found, *marker.files} if found.get(name) != marker.files.get(name))
    return f"{differing[0]} differs from what was written" if differing else None


def _hashes(folder: Path) -> dict[str, tuple[str, int]]:
    """SHA-256 and size of every file but the marks, by name. Each is on the disk afterwards."""
    hashes = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or (path.parent == folder and path.name in (STARTED, COMPLETE)):
            continue
        with path.open("rb") as file:
            sha = hashlib.file_digest(file, "sha256").hexdigest()
            with suppress(OSError):  # some file systems refuse to sync what is open for reading
                os.fsync(file.fileno())
        hashes[path.relative_to(folder).as_posix()] = (sha, path.stat().st_size)
    return hashes


def _remove(folder: Path) -> None:
    """Remove a checkpoint that we began. What was put into a complete one later, and not by us, stays."""
    if not (folder / STARTED).is_file():
        return
    marker = read_marker(folder)
    if marker is None:  # cut short or damaged: all that lies here came from a trainer
        shutil.rmtree(folder)
        return
    (folder / COMPLETE).unlink()  # first, so that what is left of it after a crash is no checkpoint
    for name in marker.files:
        (folder / name).unlink(missing_ok=True)
    (folder / STARTED).unlink()
    for path in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        with suppress(OSError):
            path.rmdir()
    with suppress(OSError):
        folder.rmdir()
