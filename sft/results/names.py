"""Find the run id of a folder from its name: `<slug>-<id>`, or the name of a renamed copy.

A copy is a run folder with the id elsewhere in its name (`x-97698e7aa610 (copy)`, `x-97698e7aa610.bak`), or without it;
then its result has the id.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from sft.io import read_regular

RESULT = "result.json"
# The first keys of a result, up to the id of its run.
RESULT_HEAD = re.compile(
    rb'\A\{\s*"checksum": "sha256:[0-9a-f]{64}",\s*"schema_version": 2,\s*"name": "(?:[^"\\]|\\.)*",'
    rb'\s*"id": "([0-9a-f]+)"'
)
_ID = re.compile(r"(?<![0-9A-Za-z])[0-9a-f]{12}(?![0-9A-Za-z])")


def id_of(folder: Path) -> str:
    """Return the run id of a folder, or the end of its name if the id is unknown."""
    tail = folder.name.rpartition("-")[2]
    if _ID.fullmatch(tail):
        return tail
    if ids := _ID.findall(folder.name):
        return str(ids[-1])
    return _recorded_id(folder) or tail


def is_named_by_id(folder: Path) -> bool:
    """Return whether the name ends with the id, as the name of every new run folder does."""
    return folder.name.endswith(f"-{id_of(folder)}")


def _recorded_id(folder: Path) -> str:
    with suppress(OSError):
        if head := RESULT_HEAD.match(read_regular(folder / RESULT)):
            return head[1].decode()
    return ""
