"""Run folders: the paths of a run's files, which are written atomically and verified when read.

    RESULTS/runs/<slug>-<id>/  config.json  state.json  result.json  predictions.tsv  label_scores.safetensors
                               shots.json  prompts.json  log.txt  (adapter/)
    RESULTS/quarantine/        results that were truncated, changed, or of another run

A run is done when its `result.json` is valid and has the run's id. A result that cannot be read at the moment, or has a
newer version, is neither done nor damaged: it stays, and the command reports it.
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
from sft.results.sealed import is_intact, seal, unsealed
from sft.results.tsv import to_tsv
from sft.secrets import redact_text

if TYPE_CHECKING:
    import numpy as np

RUNS = "runs"
QUARANTINE = "quarantine"
CHECKS = ".sft-check-"  # prefix of the folders for requests and answers of data checks
NEWEST_VERSION = 2  # the newest version of results that can be read
LOG_TAIL_BYTES = 20_000
# The files that reports use.
_SEALED = re.compile(r"(?:predictions(?:\.\w+)?\.tsv|label_scores(?:\.\w+)?\.safetensors|shots\.json|prompts\.json)")
SECONDS_OF_A_WRITE = 3600.0  # an older temporary file is abandoned


class ResultAccessError(UserError):
    """A result exists and may be valid, but cannot be used here. It is left unchanged. The message names the file."""


class OddFileError(UserError):
    """A file of a run is not the one that the run wrote, or cannot be read."""


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run.

    Args:
        path: path of the folder.
        lock: the lock that this process must hold for writing; None: unchecked.
    """

    path: Path
    lock: RunLock | None = field(default=None, compare=False, repr=False)

    @property
    def id(self) -> str:
        """Return the run id from the end of the folder's name, or for a renamed copy from its name or result."""
        return id_of(self.path)

    @property
    def config_file(self) -> Path:
        """Return the path of the config of the run."""
        return self.path / "config.json"

    @property
    def result_file(self) -> Path:
        """Return the path of the result, which exists once the run is done."""
        return self.path / RESULT

    @property
    def log_file(self) -> Path:
        """Return the path of the log of the run's process."""
        return self.path / "log.txt"

    @property
    def adapter(self) -> Path:
        """Return the folder of the adapter if the config has no `output_dir`."""
        return self.path / "adapter"

    @property
    def model(self) -> Path:
        """Return the folder of the model if all its weights are trained."""
        return self.path / "model"

    @property
    def work(self) -> Path:
        """Return the folder of the trainer's intermediate checkpoints."""
        return self.path / "checkpoints"

    def _check_lock(self) -> None:
        """Raise if this process was suspended and another one now writes the run.

        Raises:
            RunBusyError: another process has taken the run over.
        """
        if self.lock is not None and self.lock.is_lost():
            raise RunBusyError(
                f"{self.path}: another process has taken this run over, because this one sent no heartbeat; "
                "this process ends and writes nothing more"
            )

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write the config of the run."""
        self._check_lock()
        write_json(self.config_file, dict(config))

    def write_shots(self, shots: Mapping[str, Any]) -> None:
        """Write the indices of the rows used for training and as shots."""
        self._check_lock()
        write_json(self.path / "shots.json", dict(shots))

    def write_prompts(self, prompts: Sequence[Mapping[str, Any]]) -> None:
        """Write some prompts for inspection."""
        self._check_lock()
        write_json(self.path / "prompts.json", [dict(prompt) for prompt in prompts])

    def write_scores(self, tensors: Mapping[str, np.ndarray], split: str = "test") -> None:
        """Write the label scores of a split."""
        from safetensors.numpy import save

        self._check_lock()
        write_atomic(self.scores_file(split), save(dict(tensors)))

    def scores_file(self, split: str = "test") -> Path:
        """Return the path of the scores: `label_scores.safetensors` for test, `label_scores.<split>…` for others."""
        return self.path / _of_split("label_scores.safetensors", split)

    def read_scores(self, split: str = "test", names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Return the label scores of a split by name; with `names`, only those of them that exist.

        Raises:
            UserError: they are missing or cannot be read.
        """
        from safetensors import SafetensorError, safe_open

        file = self.scores_file(split)
        self.check_file(file)
        try:
            with safe_open(file, framework="numpy") as scores:
                available = scores.keys()
                return {name: scores.get_tensor(name) for name in available if names is None or name in names}
        except FileNotFoundError:
            raise UserError(f"{file.name} is missing") from None
        except (OSError, SafetensorError) as error:
            raise UserError(f"{file.name} cannot be read: {error}") from None

    def predictions_file(self, split: str = "test") -> Path:
        """Return the path of the predictions: `predictions.tsv` for test, `predictions.<split>.tsv` for others."""
        return self.path / _of_split("predictions.tsv", split)

    def write_predictions(self, columns: Mapping[str, Sequence[Any]], split: str = "test") -> None:
        """Write the predictions of a split."""
        self._check_lock()
        write_atomic(self.predictions_file(split), to_tsv(columns))

    def write_result(self, result: RunResult) -> None:
        """Write the result with the hashes of the files that it depends on. Written last, it makes the run done."""
        self._check_lock()
        files = {file.name: hash_path(file) for file in sorted(self.path.glob("*")) if _SEALED.fullmatch(file.name)}
        write_atomic(self.result_file, seal(result.model_copy(update={"files": files}).model_dump(mode="json")))

    def check_file(self, file: Path) -> bool:
        """Raise if a file is not the one that the run wrote; return whether its hash was recorded.

        Raises:
            OddFileError: the file has changed, is missing or cannot be read.
        """
        try:
            expected = _sealed_files(self.result_file, self.result_file.stat().st_mtime_ns).get(file.name)
            if file.is_symlink() or not file.is_file():
                raise OddFileError(f"{file.name} is {'missing' if not file.exists() else 'not a regular file'}")
            if expected is not None and hash_path(file) != expected:
                raise OddFileError(f"{file.name} is not the file that the run wrote (its hash differs)")
            return expected is not None
        except OSError as error:
            raise OddFileError(f"{file.name} cannot be read: {error.strerror or error}") from None

    def write_state(self, state: RunState) -> None:
        """Write the state of the run."""
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
        """Return the state of the run, or None if it never started or the file is unreadable."""
        try:
            return RunState.model_validate(parse_json(read_regular(self.path / "state.json").decode("utf-8")))
        except (OSError, ValueError):
            return None

    def result(self) -> RunResult | None:
        """Return the result, or None if it is missing or damaged.

        Raises:
            ResultAccessError: it cannot be read at the moment, or not by this version.
        """
        try:
            return self._read_result()
        except (FileNotFoundError, ValueError):
            return None

    def is_done(self) -> bool:
        """Return whether there is a valid result. It checks only the checksum and the id, which is fast for thousands.

        Raises:
            ResultAccessError: it cannot be read at the moment, or not by this version.
        """
        try:
            data = self._result_bytes()
        except FileNotFoundError:
            return False
        head = RESULT_HEAD.match(data)
        if head is None or head[1].decode() != self.id:
            return self.result() is not None
        return is_intact(data)

    def damage(self) -> str | None:
        """Return the reason why the result is invalid, or None if it is valid or missing.

        Raises:
            ResultAccessError: it cannot be read at the moment, or not by this version.
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
        """Read the result's file. FileNotFoundError means that it is missing, not that the network failed."""
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
            reason = f"{self.result_file} was written by a newer version of sft ({version})"
            raise ResultAccessError(f"{reason}; update sft, or choose another --results-path")
        result = RunResult.model_validate({"id_version": 1, **value})  # version 1 did not record it
        if result.id != self.id:
            raise ValueError(f"it is of another run ({result.id})")
        return result

    def tidy(self) -> None:
        """Remove incomplete files, and set the state to `done` if there is a result. Call it only with the lock."""
        remove_leftovers(self.path, older_than_seconds=0)
        state = self.state() or RunState(state="running")
        if (
            state.state != "done" and self.result() is not None
        ):  # the process was killed in between, or the disk was full
            self.write_state(state.model_copy(update={"state": "done", "phase": "", "error": "", "exit_code": None}))

    def log_tail(self, lines: int = 20) -> list[str]:
        """Return the last lines printed by the run's process, without empty ones."""
        try:
            text = read_regular(self.log_file, LOG_TAIL_BYTES, last=True).decode("utf-8", errors="replace")
        except OSError:
            return []
        return [line for line in text.replace("\r", "\n").split("\n") if line.strip()][-lines:]

    def last_error_line(self) -> str:
        """Return the last informative line of the log, for a failure without a recorded error."""
        lines = [line.strip() for line in self.log_tail() if not line.startswith(BUG)]
        return redact_text(lines[-1])[:500] if lines else ""


class ResultStore:
    """A results folder, which finds the run folder of an id and lists all run folders.

    Args:
        root: the folder of `--results-path`.
        stale_after: seconds without a heartbeat after which the holder of a run is replaced, on a file system without
            locks.
    """

    def __init__(self, root: Path, stale_after: float = STALE_AFTER) -> None:
        self.root = root
        self._stale_after = stale_after
        self._listed: tuple[int, dict[str, list[str]]] = (-1, {})

    def check_writable(self) -> None:
        """Create the folder and check that it is writable, before any work starts.

        Raises:
            UserError: it cannot be created or written.
        """
        check_writable(self.root, "choose another --results-path")

    def folder(self, run_id: str, slug: str) -> RunFolder:
        """Return the folder of a run id, whatever its name; a new folder is named `<slug>-<id>`.

        Of several folders (copies), it prefers finished ones, then the one with that name.
        """
        own = f"{slug}-{run_id}"
        names = self._names().get(run_id, [own])
        if len(names) > 1:
            names = sorted(names, key=lambda name: (self._is_unfinished(name), name != own, name))
        return RunFolder(self.root / RUNS / names[0])

    def _is_unfinished(self, name: str) -> bool:
        try:
            return not RunFolder(self.root / RUNS / name).is_done()
        except ResultAccessError:  # it may be valid; reading it will report the problem
            return False

    def _names(self) -> dict[str, list[str]]:
        """Return folder names by id, listing the folder again if it has changed."""
        runs = self.root / RUNS
        try:
            changed = runs.stat().st_mtime_ns
            if changed != self._listed[0]:
                listed: dict[str, list[str]] = {}
                for name in sorted(entry.name for entry in os.scandir(runs) if not entry.name.startswith(".")):
                    listed.setdefault(name.rpartition("-")[2], []).append(name)
                self._listed = (changed, listed)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            if self._listed[0] < 0:  # otherwise the previous listing serves until the folder can be read again
                raise UserError(f"{runs} cannot be read: {error.strerror or error}") from None
        return self._listed[1]

    def lock(self, run_id: str, kind: Kind) -> RunLock:
        """Return a lock of a run (see `sft.results.locks`)."""
        return RunLock(self.root, run_id, kind, self._stale_after)

    def tidy(self) -> None:
        """Clean up after killed processes: locks, incomplete files, data checks, outdated states."""
        remove_leftovers(self.root, SECONDS_OF_A_WRITE)
        for folder in self.root.glob(f"{CHECKS}*"):
            with suppress(OSError):  # a running sweep may remove it at the same time
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
        """Move a damaged result of a run to the quarantine and return a message; return None if it is not damaged.

        Only for the process that holds the claim or the run lock.

        Raises:
            ResultAccessError: it is unknown whether it is damaged, so it stays.
        """
        reason = folder.damage()
        if reason is None:
            return None
        quarantine = self.root / QUARANTINE
        quarantine.mkdir(parents=True, exist_ok=True)
        number = next(n for n in count(1) if not (quarantine / f"{folder.path.name}.{n}.json").exists())
        target = quarantine / f"{folder.path.name}.{number}.json"
        folder.result_file.replace(target)
        return f"{folder.result_file} is damaged ({reason}); moved to {target}, and its experiment runs again"

    def folders(self) -> Iterator[RunFolder]:
        """Yield every run folder, ordered by name."""
        if (self.root / RUNS).is_dir():
            for path in sorted((self.root / RUNS).iterdir()):
                if path.is_dir() and not path.name.startswith("."):
                    yield RunFolder(path)

    @property
    def plan_file(self) -> Path:
        """Return the path of the last plan."""
        return self.root / "plan.json"

    def plan(self) -> list[dict[str, Any]] | None:
        """Return the experiments of the last grid, or None if no grid was run here."""
        experiments: list[dict[str, Any]] | None = self.plan_record().get("experiments")
        return experiments

    def plan_record(self) -> dict[str, Any]:
        """Return `plan.json`: the experiments of the last grid and its threads; empty if no grid was run here."""
        try:
            plan = parse_json(read_regular(self.plan_file).decode("utf-8"))
        except (OSError, ValueError):
            return {}
        return plan if isinstance(plan, dict) and isinstance(plan.get("experiments"), list) else {}


@lru_cache(maxsize=1024)
def _sealed_files(result_file: Path, changed: int) -> Mapping[str, str]:
    """Return the hashes recorded in a result; none if it is older or cannot be used."""
    del changed  # only part of the cache key
    try:
        files = unsealed(read_regular(result_file)).get("files")
    except (OSError, ValueError):
        return {}
    return files if isinstance(files, dict) else {}


def _of_split(name: str, split: str) -> str:
    stem, dot, suffix = name.partition(".")
    return name if split == "test" else f"{stem}.{split}{dot}{suffix}"
