"""The versioned schema of `result.json` and `state.json`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from sft.config.identity import ID_VERSION

Phase = Literal["running", "done", "failed", "oom", "timeout", "interrupted"]


class RunResult(BaseModel):
    """The result of a finished run.

    Args:
        schema_version: version of this schema; results of version 1 have no checksum.
        id_version: version of the id's ingredients and of the reading of data files (`sft.config.identity.ID_VERSION`).
        name, id, seed: name, id and seed of the experiment.
        recipe_id: id shared by runs that differ only in their seed.
        endpoint: the command that created the result.
        config: the validated config, without values that equal the defaults.
        results: metrics of the test split by name. `validation` has those of the validation split,
            `accuracy_by_scoring` the accuracy with each kind of label score, `calibration` the calibration method,
            `uncalibrated` the metrics before calibration, `undefined` the reason for each null metric, and `lm_eval`
            the figures of the harness by task.
        shots: counts of indices, in all and per label, requested, held-out and dropped examples, truncated tokens.
        labelled_examples: number of labelled rows used by the recipe (for training, as shots or for calibration).
        training: loss history, steps, and the device's batch size; empty if nothing was trained.
        timings: seconds per phase, and `total`.
        resources: peak memory in bytes, CPU seconds, device, threads, and the number of times the batch was halved.
        environment: package versions, Python, platform, git commit.
        files: SHA-256 of each file that reports use, by name; empty in older results.
        data: path, content hash, rows of each split, duplicate rows (`sft.dataset.overlap`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1, 2] = 2
    name: str
    id: str
    id_version: int = ID_VERSION
    recipe_id: str
    seed: int
    endpoint: str
    config: dict[str, Any]
    results: dict[str, Any]
    shots: dict[str, Any]
    labelled_examples: int
    training: dict[str, Any]
    timings: dict[str, float]
    resources: dict[str, Any]
    environment: dict[str, Any]
    data: dict[str, Any]
    files: dict[str, str] = {}


class RunState(BaseModel):
    """The state of a run.

    Args:
        state: `running` until it ends.
        phase, done, total, note: progress, while it runs.
        error: last informative line of a failure.
        exit_code: exit code of the run's process if it failed; negative for a signal.
        started, updated: seconds since 1970.
        pid, host: id and host of the run's process.
        halvings: number of times the batch was halved after the run was out of memory.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    state: Phase
    phase: str = ""
    done: int = 0
    total: int = 0
    note: str = ""
    error: str = ""
    exit_code: int | None = None
    started: float | None = None
    updated: float | None = None
    pid: int | None = None
    host: str = ""
    halvings: int = 0
