"""A cache of rows as they were read: large text files, and remote files for use without a network."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from sft.dataset.rows import Rows
from sft.log import get_logger

log = get_logger(__name__)

_ABOUT = "splits.json"


class CachedRows:
    """The cached splits of a data set.

    Args:
        folder: the cache folder of these rows only.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self) -> dict[str, Rows] | None:
        """Return the splits; None if they are missing or corrupt."""
        from datasets import load_from_disk

        try:
            splits = json.loads((self.folder / _ABOUT).read_text(encoding="utf-8"))
            return {
                name: Rows(load_from_disk(str(self.folder / str(index))), about["nested"], about["gaps"])
                for index, (name, about) in enumerate(splits.items())
            }
        except (OSError, ValueError, KeyError):
            return None

    def write(self, splits: Mapping[str, Rows]) -> None:
        """Write the splits; a cache that cannot be written does not stop the run."""
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.folder.parent, prefix=".new-") as folder:
                fresh = Path(folder) / "rows"
                fresh.mkdir()
                for index, rows in enumerate(splits.values()):
                    rows.table.save_to_disk(str(fresh / str(index)))
                about = {name: {"nested": sorted(rows.nested), "gaps": rows.gaps} for name, rows in splits.items()}
                (fresh / _ABOUT).write_text(json.dumps(about), encoding="utf-8")
                if self.folder.exists():
                    self.folder.rename(Path(folder) / "old")
                fresh.rename(self.folder)
        except OSError as error:
            log.debug("The rows are not cached: %s", error)
