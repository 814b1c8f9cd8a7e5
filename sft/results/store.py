"""Run folders: where each file of a run lies, written atomically, read with suspicion.

    RESULTS/runs/<slug>-<id>/  config.json  state.json  result.json  predictions.tsv  label_scores.safetensors
                               shots.json  prompts.json  log.txt  (adapter/)
    RESULTS/quarantine/        results that turned out to be cut off, changed, or of another run

A run is done when its `result.json` is valid and speaks of its own id. One that cannot be read at the moment, or that
is of a newer version, is neither done nor damaged: it stays, and the command says so.

Knows nothing of metrics or models.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from sft.errors import BUG, UserError
from sft.io import (
    check_writable,
    hash_path,
    is_older,
    parse_json,
    read_regular,
    remove_leftovers,
    write_atomic,
    write_json,
)
from sft.results.locks import Kind, RunBusyError, RunLock, locked_ids
from sft.results.markers import STALE_AFTER
from sft.results.names import RESULT, RESULT_HEAD, id_of
from sft.results.schema import RunResult, RunState
from sft.results.sealed import is_whole, seal, unsealed
from sft.results.tsv import to_tsv
from sft.secrets import redact_text

if TYPE_CHECKING:
    import numpy as np

RUNS = "runs"
QUARANTINE = "quarantine"
CHECKS = ".sft-check-"  # begins the name of a folder for questions about data and their answers
NEWEST_VERSION = 2  # of results, that this version can read
LOG_TAIL_BYTES = 20_000
# The files that reports compute from.
_SEALED = re.compile(r"(?:predictions(?:\.\w+)?\.tsv|label_scores(?:\.\w+)?\.safetensors|shots\.json|prompts\.json)")
SECONDS_OF_A_WRITE = 3600.0  # a temporary file older than that has no writer any more


class ResultAccessError(UserError):
    """A result that is there, may be good, and cannot be used here: left as it is. Names the file."""


class OddFileError(UserError):
    """A file of a run that is not the one that the run has written, or cannot be read as what it should be."""


@dataclass(frozen=True)
class RunFolder:
    """One run's folder.

    Args:
        path: of the folder.
        lock: the lock under which this process writes into it; None: nobody checks that.
    """

    path: Path
    lock: RunLock | None = field(default=None, compare=False, repr=False)

    @property
    def id(self) -> str:
        """The id at the end of the folder's name; of a renamed copy the one that is in its name, else in its result."""
        return id_of(self.path)

    @property
    def config_file(self) -> Path:
        """The config as it was run."""
        return self.path / "config.json"

    @property
    def result_file(self) -> Path:
        """What came of the run; there once it is done."""
        return self.path / RESULT

    @property
    def log_file(self) -> Path:
        """Everything the run's process printed."""
        return self.path / "log.txt"

    @property
    def adapter(self) -> Path:
        """Where the adapter goes when the config names no `output_dir`."""
        return self.path / "adapter"

    @property
    def model(self) -> Path:
        """Where the model goes when all its weights are trained."""
        return self.path / "model"

    @property
    def work(self) -> Path:
        """Intermediate checkpoints of the trainer."""
        return self.path / "checkpoints"

    def _check_lock(self) -> None:
        """Refuse to write over what another process writes, after this one was stopped for long and has woken up.

        Raises:
            RunBusyError: another process has taken the run over.
        """
        if self.lock is not None and self.lock.is_lost():
            raise RunBusyError(
                f"{self.path}: another process has taken this run over, because this one gave no sign of life; "
                "this one ends and writes nothing more"
            )

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Keep the config that the run is started with."""
        self._check_lock()
        write_json(self.config_file, dict(config))

    def write_shots(self, shots: Mapping[str, Any]) -> None:
        """Keep which rows were trained on and shown."""
        self._check_lock()
        write_json(self.path / "shots.json", dict(shots))

    def write_prompts(self, prompts: Sequence[Mapping[str, Any]]) -> None:
        """Keep some prompts to be looked at."""
        self._check_lock()
        write_json(self.path / "prompts.json", [dict(one) for one in prompts])

    def write_scores(self, tensors: Mapping[str, np.ndarray], split: str = "test") -> None:
        """Keep the label scores of a split."""
        from safetensors.numpy import save

        self._check_lock()
        write_atomic(self.scores_file(split), save(dict(tensors)))

    def scores_file(self, split: str = "test") -> Path:
        """The label scores: `label_scores.safetensors` of the test split, `label_scores.<split>…` of others."""
        return self.path / _of_split("label_scores.safetensors", split)

    def read_scores(self, split: str = "test", names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """The label scores of a split, by name; only those of `names`, where it is given and they are there.

        Raises:
            UserError: there are none, or they cannot be read.
        """
        from safetensors import SafetensorError, safe_open

        file = self.scores_file(split)
        self.check_file(file)
        try:
            with safe_open(file, framework="numpy") as scores:
                there = scores.keys()
                return {name: scores.get_tensor(name) for name in there if names is None or name in names}
        except FileNotFoundError:
            raise UserError(f"{file.name} is missing") from None
        except (OSError, SafetensorError) as error:
            raise UserError(f"{file.name} cannot be read: {error}") from None

    def predictions_file(self, split: str = "test") -> Path:
        """The predictions: `predictions.tsv` of the test split, `predictions.<split>.tsv` of others."""
        return self.path / _of_split("predictions.tsv", split)

    def write_predictions(self, columns: Mapping[str, Sequence[Any]], split: str = "test") -> None:
        """Keep the predictions of a split."""
        self._check_lock()
        write_atomic(self.predictions_file(split), to_tsv(columns))

    def write_result(self, result: RunResult) -> None:
        """Written once, last, with the hashes of the files that it stands on: from now on the run is done."""
        self._check_lock()
        files = {file.name: hash_path(file) for file in sorted(self.path.glob("*")) if _SEALED.fullmatch(file.name)}
        write_atomic(self.result_file, seal(result.model_copy(update={"files": files}).model_dump(mode="json")))

    def check_file(self, file: Path) -> bool:
        """Refuse a file of this run that is not the one that the run has written; whether that was recorded.

        Raises:
            OddFileError: it is not, or cannot be read.
        """
        try:
            expected = _sealed_files(self.result_file, self.result_file.stat().st_mtime_ns).get(file.name)
            if file.is_symlink() or not file.is_file():
                raise OddFileError(f"{file.name} is {'missing' if not file.exists() else 'not a regular file'}")
            if expected is not None and hash_path(file) != expected:
                raise OddFileError(f"{file.name} is not the file that the run has written (its hash is another one)")
            return expected is not None
        except OSError as error:
            raise OddFileError(f"{file.name} cannot be read: {error.strerror or error}") from None

    def write_state(self, state: RunState) -> None:
        """Say where the run stands."""
        self._check_lock()
        stamped = state.model_copy(update={"updated": time.time()})
        write_json(self.path / "state.json", stamped.model_dump(mode="json"))

    def config(self) -> dict[str, Any]:
        """The config that the run was started with.

        Raises:
            OSError: it cannot be read.
            ValueError: it is no JSON object.
        """
        data = parse_json(read_regular(self.config_file).decode("utf-8"))
        if not isinstance(data, dict):
            raise ValueError("it is no object")
        return data

    def state(self) -> RunState | None:
        """Where the run stands, or None when it never started (or the file is unreadable)."""
        try:
            return RunState.model_validate(parse_json(read_regular(self.path / "state.json").decode("utf-8")))
        except (OSError, ValueError):
            return None

    def result(self) -> RunResult | None:
        """The valid result, or None: there is none, or it is damaged.

        Raises:
            ResultAccessError: it cannot be read now, or not by this version.
        """
        try:
            return self._read_result()
        except (FileNotFoundError, ValueError):
            return None

    def is_done(self) -> bool:
        """Whether there is a valid result: by its checksum and its head, which is quicker where there are thousands.

        Raises:
            ResultAccessError: it cannot be read now, or not by this version.
        """
        try:
            data = self._result_bytes()
        except FileNotFoundError:
            return False
        head = RESULT_HEAD.match(data)
        if head is None or head[1].decode() != self.id:
            return self.result() is not None
        return is_whole(data)

    def damage(self) -> str | None:
        """Why the result that is there is not valid; None when it is, or when there is none.

        Raises:
            ResultAccessError: it cannot be read now, or not by this version.
        """
        try:
            self._read_result()
        except FileNotFoundError:
            return None
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"]))
            return f"it is not a result of this version ({where}: {error.errors()[0]['msg']})"
        except ValueError as error:
            return str(error)
        return None

    def _result_bytes(self) -> bytes:
        """The result's file; FileNotFoundError only where there is none: a network may fail for a moment."""
        try:
            return read_regular(self.result_file)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise FileNotFoundError(*error.args) from None
        except OSError as error:
            raise ResultAccessError(f"{self.result_file} cannot be read: {error.strerror or error}") from None

    def _read_result(self) -> RunResult:
        value = unsealed(self._result_bytes())
        version = value.get("schema_version")
        if isinstance(version, int) and version > NEWEST_VERSION:
            what = f"{self.result_file} was written by a newer version of sft ({version})"
            raise ResultAccessError(f"{what}: update, or choose another --results-path")
        result = RunResult.model_validate({"id_version": 1, **value})  # version 1 did not say so
        if result.id != self.id:
            raise ValueError(f"it is of another run ({result.id})")
        return result

    def tidy(self) -> None:
        """Remove files half written, and say `done` where there is a result: for who alone has the run in its hands."""
        remove_leftovers(self.path, older_than_seconds=0)
        state = self.state() or RunState(state="running")
        if state.state != "done" and self.result() is not None:  # killed in between, or the disk was full
            self.write_state(state.model_copy(update={"state": "done", "phase": "", "error": "", "exit_code": None}))

    def log_tail(self, lines: int = 20) -> list[str]:
        """The last lines that the run's process printed, without empty ones."""
        try:
            text = read_regular(self.log_file, LOG_TAIL_BYTES, last=True).decode("utf-8", errors="replace")
        except OSError:
            return []
        return [line for line in text.replace("\r", "\n").split("\n") if line.strip()][-lines:]

    def last_error_line(self) -> str:
        """The last line of the log that says something, for a failure that left no better word."""
        lines = [line.strip() for line in self.log_tail() if not line.startswith(BUG)]
        return redact_text(lines[-1])[:500] if lines else ""


class ResultStore:
    """A results folder: finds the run folder of an id, lists all.

    Args:
        root: the folder given as `--results-path`.
        stale_after: where the file system has no locks: seconds without a sign of life after which the holder of a run
            is taken over.
    """

    def __init__(self, root: Path, stale_after: float = STALE_AFTER) -> None:
        self.root = root
        self._stale_after = stale_after
        self._listed: tuple[int, dict[str, list[str]]] = (-1, {})

    def check_writable(self) -> None:
        """Make the folder and write into it, before any work is done for it.

        Raises:
            UserError: it cannot be made or written.
        """
        check_writable(self.root, "choose another --results-path")

    def folder(self, run_id: str, slug: str) -> RunFolder:
        """The folder of that id, whatever name it was made under; a new one is named `<slug>-<id>`.

        Of several (somebody has copied one) a finished one, if there is one, and the one of that name before others.
        """
        own = f"{slug}-{run_id}"
        names = self._names().get(run_id, [own])
        if len(names) > 1:
            names = sorted(names, key=lambda name: (self._is_unfinished(name), name != own, name))
        return RunFolder(self.root / RUNS / names[0])

    def _is_unfinished(self, name: str) -> bool:
        try:
            return not RunFolder(self.root / RUNS / name).is_done()
        except ResultAccessError:  # it may be a good one: whoever reads it says what is wrong
            return False

    def _names(self) -> dict[str, list[str]]:
        """Folder names by id; the listing is made anew when the folder has changed."""
        runs = self.root / RUNS
        try:
            changed = runs.stat().st_mtime_ns
            if changed != self._listed[0]:
                listed: dict[str, list[str]] = {}
                for name in sorted(one.name for one in os.scandir(runs) if not one.name.startswith(".")):
                    listed.setdefault(name.rpartition("-")[2], []).append(name)
                self._listed = (changed, listed)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            if self._listed[0] < 0:  # else what was there a moment ago will do until it can be read again
                raise UserError(f"{runs} cannot be read: {error.strerror or error}") from None
        return self._listed[1]

    def lock(self, run_id: str, kind: Kind) -> RunLock:
        """A lock of that run: see `sft.results.locks`."""
        return RunLock(self.root, run_id, kind, self._stale_after)

    def tidy(self) -> None:
        """Put in order what killed processes have left: locks, half written files, checks of data, old states."""
        remove_leftovers(self.root, SECONDS_OF_A_WRITE)
        for folder in self.root.glob(f"{CHECKS}*"):
            with suppress(OSError):  # a sweep of now may be about to remove it
                if not folder.is_symlink() and is_older(folder.stat().st_mtime, SECONDS_OF_A_WRITE):
                    shutil.rmtree(folder, ignore_errors=True)
        for run_id in locked_ids(self.root):
            claim = self.lock(run_id, "claim")
            with suppress(UserError, OSError):
                if claim.acquire() and self.lock(run_id, "run").is_free():
                    for name in self._names().get(run_id, []):
                        RunFolder(self.root / RUNS / name).tidy()
            claim.release()

    def quarantine(self, folder: RunFolder) -> str | None:
        """Move a damaged result of that run out of the way; what was wrong and where it is now, None when nothing was.

        Only for the holder of the run's claim or run lock.

        Raises:
            ResultAccessError: nobody can tell what it is; it stays.
        """
        reason = folder.damage()
        if reason is None:
            return None
        place = self.root / QUARANTINE
        place.mkdir(parents=True, exist_ok=True)
        number = next(n for n in count(1) if not (place / f"{folder.path.name}.{n}.json").exists())
        target = place / f"{folder.path.name}.{number}.json"
        folder.result_file.replace(target)
        return f"{folder.result_file} is damaged ({reason}); it is now {target}, and its experiment runs again"

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
        experiments: list[dict[str, Any]] | None = self.plan_record().get("experiments")
        return experiments

    def plan_record(self) -> dict[str, Any]:
        """All of `plan.json`: the experiments of the last grid and its threads; empty when no grid was run here."""
        try:
            plan = parse_json(read_regular(self.plan_file).decode("utf-8"))
        except (OSError, ValueError):
            return {}
        return plan if isinstance(plan, dict) and isinstance(plan.get("experiments"), list) else {}


@lru_cache(maxsize=1024)
def _sealed_files(result_file: Path, changed: int) -> Mapping[str, str]:
    """The hashes that a result holds; none where it is of before, or cannot be used."""
    del changed  # part of the cache's key only
    try:
        files = unsealed(read_regular(result_file)).get("files")
    except (OSError, ValueError):
        return {}
    return files if isinstance(files, dict) else {}


def _of_split(name: str, split: str) -> str:
    stem, dot, suffix = name.partition(".")
    return name if split == "test" else f"{stem}.{split}{dot}{suffix}"
