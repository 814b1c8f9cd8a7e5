"""Which run a folder is of, by its name: `<slug>-<id>`, or a copy that somebody has renamed.

A copy is a run folder with an id in its name that is not at the end (`x-97698e7aa610 (copy)`, `x-97698e7aa610.bak`), or
with none, whose result then says which run it is of.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from sft.io import read_regular

RESULT = "result.json"
# How a result begins: the id of its run.
RESULT_HEAD = re.compile(
    rb'\A\{\s*"checksum": "sha256:[0-9a-f]{64}",\s*"schema_version": 2,\s*"name": "(?:[^"\\]|\\.)*",'
    rb'\s*"id": "([0-9a-f]+)"'
)
_ID = re.compile(r"(?<![0-9A-Za-z])[0-9a-f]{12}(?![0-9A-Za-z])")


def id_of(folder: Path) -> str:
    """The id of the run that a folder is of; the end of its name, where nothing better is known."""
    tail = folder.name.rpartition("-")[2]
    if _ID.fullmatch(tail):
        return tail
    if found := _ID.findall(folder.name):
        return str(found[-1])
    return _recorded_id(folder) or tail


def is_named_by_id(folder: Path) -> bool:
    """Whether the name ends with the id, as those do that runs are made under."""
    return folder.name.endswith(f"-{id_of(folder)}")


def _recorded_id(folder: Path) -> str:
    with suppress(OSError):
        if head := RESULT_HEAD.match(read_regular(folder / RESULT)):
            return head[1].decode()
    return ""
