"""Run folders: where each file of a run lies, written atomically, read with suspicion.

    RESULTS/runs/<slug>-<id>/  config.json  state.json  result.json  predictions.tsv  label_scores.safetensors
                               shots.json  log.txt  (adapter/)

A run is done when its `result.json` is valid and speaks of its own id. Knows nothing of metrics or models.
"""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from sft.io import check_writable, parse_json, write_atomic, write_json
from sft.results.schema import RunResult, RunState

if TYPE_CHECKING:
    import numpy as np

RUNS = "runs"


@dataclass(frozen=True)
class RunFolder:
    """One run's folder."""

    path: Path

    @property
    def id(self) -> str:
        """The id at the end of the folder's name."""
        return self.path.name.rpartition("-")[2]

    @property
    def config_file(self) -> Path:
        """The config as it was run."""
        return self.path / "config.json"

    @property
    def log_file(self) -> Path:
        """Everything the run's process printed."""
        return self.path / "log.txt"

    @property
    def adapter(self) -> Path:
        """Where the adapter goes when the config names no `output_dir`."""
        return self.path / "adapter"

    @property
    def work(self) -> Path:
        """Intermediate checkpoints of the trainer."""
        return self.path / "checkpoints"

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Keep the config that the run is started with."""
        write_json(self.config_file, dict(config))

    def write_shots(self, shots: Mapping[str, Any]) -> None:
        """Keep which rows were trained on and shown."""
        write_json(self.path / "shots.json", dict(shots))

    def write_scores(self, tensors: Mapping[str, np.ndarray], split: str = "test") -> None:
        """Keep the label scores: `label_scores.safetensors` of the test split, `label_scores.<split>…` of others."""
        from safetensors.numpy import save

        write_atomic(self.path / _of_split("label_scores.safetensors", split), save(dict(tensors)))

    def write_predictions(self, columns: Mapping[str, Sequence[Any]], split: str = "test") -> None:
        """Keep the predictions: `predictions.tsv` of the test split, `predictions.<split>.tsv` of others."""
        write_atomic(self.path / _of_split("predictions.tsv", split), to_tsv(columns))

    def write_result(self, result: RunResult) -> None:
        """Written once, last: from now on the run is done."""
        write_json(self.path / "result.json", result.model_dump(mode="json"))

    def write_state(self, state: RunState) -> None:
        """Say where the run stands."""
        stamped = state.model_copy(update={"updated": time.time()})
        write_json(self.path / "state.json", stamped.model_dump(mode="json"))

    def state(self) -> RunState | None:
        """Where the run stands, or None when it never started (or the file is unreadable)."""
        try:
            return RunState.model_validate(parse_json((self.path / "state.json").read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return None

    def result(self) -> RunResult | None:
        """The valid result, or None: absent, cut off, of another version, or of another run."""
        try:
            result = RunResult.model_validate(parse_json((self.path / "result.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, ValidationError):
            return None
        return result if result.id == self.id else None

    def last_error_line(self) -> str:
        """The last line of the log that says something, for a failure that left no better word."""
        try:
            tail = self.log_file.read_bytes()[-20_000:].decode("utf-8", errors="replace")
        except OSError:
            return ""
        lines = [line.strip() for line in tail.replace("\r", "\n").split("\n") if line.strip()]
        return lines[-1][:500] if lines else ""


class ResultStore:
    """A results folder: finds the run folder of an id, lists all.

    Args:
        root: the folder given as `--results-path`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def check_writable(self) -> None:
        """Make the folder and write into it, before any work is done for it.

        Raises:
            UserError: it cannot be made or written.
        """
        check_writable(self.root, "choose another --results-path")

    def folder(self, run_id: str, slug: str) -> RunFolder:
        """The folder of that id, whatever name it was made under; a new one is named `<slug>-<id>`."""
        existing = sorted((self.root / RUNS).glob(f"*-{run_id}"))
        return RunFolder(existing[0] if existing else self.root / RUNS / f"{slug}-{run_id}")

    def folders(self) -> Iterator[RunFolder]:
        """Every run folder, by name."""
        if (self.root / RUNS).is_dir():
            for path in sorted((self.root / RUNS).iterdir()):
                if path.is_dir() and not path.name.startswith("."):
                    yield RunFolder(path)

    @property
    def plan_file(self) -> Path:
        """The experiments of the last grid."""
        return self.root / "plan.json"

    def plan(self) -> list[dict[str, Any]] | None:
        """The experiments of the last grid, or None when no grid was run here."""
        try:
            plan = parse_json(self.plan_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        experiments = plan.get("experiments") if isinstance(plan, dict) else None
        return experiments if isinstance(experiments, list) else None


def to_tsv(columns: Mapping[str, Sequence[Any]]) -> str:
    """A tab-separated table with a header; fields that hold tabs, quotes or newlines are quoted as in CSV."""
    rows = [list(columns), *([_cell(value) for value in row] for row in zip(*columns.values(), strict=True))]
    return "".join(map(_line, rows))


def _line(cells: Sequence[str]) -> str:
    buffer = io.StringIO()
    # a writer quotes the characters of its own line end only: with both, a lone carriage return stays inside its field
    csv.writer(buffer, delimiter="\t", lineterminator="\r\n").writerow(cells)
    return buffer.getvalue().removesuffix("\r\n") + "\n"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _of_split(name: str, split: str) -> str:
    stem, dot, suffix = name.partition(".")
    return name if split == "test" else f"{stem}.{split}{dot}{suffix}"
