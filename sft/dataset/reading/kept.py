"""Rows kept in a cache as they were read: of large text files, and of remote ones for when there is no network."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from sft.dataset.rows import Rows
from sft.log import get_logger

log = get_logger(__name__)

_ABOUT = "splits.json"


class KeptRows:
    """The splits of a data set in a folder of a cache.

    Args:
        folder: for these rows alone.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self) -> dict[str, Rows] | None:
        """Return the splits; None where there are none, or they are damaged."""
        from datasets import load_from_disk

        try:
            splits = json.loads((self.folder / _ABOUT).read_text(encoding="utf-8"))
            return {
                name: Rows(load_from_disk(str(self.folder / str(place))), about["nested"], about["gaps"])
                for place, (name, about) in enumerate(splits.items())
            }
        except (OSError, ValueError, KeyError):
            return None

    def write(self, splits: Mapping[str, Rows]) -> None:
        """Keep the splits; a cache that cannot be written costs the run nothing."""
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.folder.parent, prefix=".new-") as folder:
                fresh = Path(folder) / "rows"
                fresh.mkdir()
                for place, rows in enumerate(splits.values()):
                    rows.table.save_to_disk(str(fresh / str(place)))
                about = {name: {"nested": sorted(rows.nested), "gaps": rows.gaps} for name, rows in splits.items()}
                (fresh / _ABOUT).write_text(json.dumps(about), encoding="utf-8")
                if self.folder.exists():
                    self.folder.rename(Path(folder) / "old")
                fresh.rename(self.folder)
        except OSError as error:
            log.debug("The rows are not kept: %s", error)
