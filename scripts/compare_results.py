"""Compare two results folders of the same grid, byte for byte but for what time and machine decide.

    python scripts/compare_results.py results/before results/after

Compared are all files of the run folders (logs and states left out) and the report's JSON and CSV. Left out of JSON:
timings, resources, environment, checksums of these files and everything called seconds; of absolute paths only the last
name counts. Exit code 1 where something differs.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# `files` and `checksum` are hashes of files that hold absolute paths; those files are compared themselves.
_OF_THE_MACHINE = frozenset({"timings", "resources", "environment", "checksum", "files"})
_NOT_COMPARED = ("log.txt", "state.json", "report.html", "plan.json")


def _names_time(key: str) -> bool:
    return key in _OF_THE_MACHINE or "seconds" in key or "memory" in key


def _without_time(value: Any) -> Any:
    """Return a JSON value without what time and machine decide."""
    if isinstance(value, dict):
        return {key: _without_time(item) for key, item in value.items() if not _names_time(key)}
    if isinstance(value, list):
        return [_without_time(item) for item in value]
    return Path(value).name if isinstance(value, str) and value.startswith("/") else value


def _content(path: Path) -> Any:
    if path.suffix == ".json":
        return _without_time(json.loads(path.read_text(encoding="utf-8")))
    if path.suffix == ".csv":
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
        return [{key: cell for key, cell in row.items() if not _names_time(key)} for row in rows]
    return path.read_bytes()


def _files(root: Path) -> dict[str, Path]:
    """Return the files that are compared, by their path in the results folder."""
    found = [path for path in (root / "runs").rglob("*") if path.is_file()]
    found += [path for path in root.glob("aggregated_results.*") if path.suffix in (".json", ".csv")]
    return {path.relative_to(root).as_posix(): path for path in found if path.name not in _NOT_COMPARED}


def differences(before: Path, after: Path) -> Iterator[str]:
    """Yield one line for each file that is only in one folder, or not the same in both."""
    old, new = _files(before), _files(after)
    for name in sorted(old.keys() ^ new.keys()):
        yield f"{name}: only in {before if name in old else after}"
    for name in sorted(old.keys() & new.keys()):
        if _content(old[name]) != _content(new[name]):
            yield f"{name}: differs"


def main() -> int:
    """Print the differences."""
    before, after = (Path(argument) for argument in sys.argv[1:3])
    compared = len(_files(before).keys() & _files(after).keys())
    found = list(differences(before, after))
    for line in found:
        print(line)
    print(f"{compared} files compared, {len(found)} differences")
    return bool(found) or not compared


if __name__ == "__main__":
    sys.exit(main())
