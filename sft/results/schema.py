"""The versioned form of `result.json` and `state.json`. Knows nothing of how they are made or shown."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from sft.config.identity import ID_VERSION

Phase = Literal["running", "done", "failed", "oom", "timeout", "interrupted"]


class RunResult(BaseModel):
    """One finished run.

    Args:
        schema_version: of this form; results of version 1 have no checksum.
        id_version: of what ids are made of, and with it of how data files are read (`sft.config.identity.ID_VERSION`).
        name, id, seed: of the experiment.
        recipe_id: shared by the runs that differ only by seed.
        endpoint: the command that made it.
        config: the config as validated, without what equals the defaults.
        results: metrics of the test split by name; `validation` holds those of that split, `accuracy_by_scoring` the
            accuracy under each kind of label score, `calibration` how probabilities were calibrated, and `uncalibrated`
            what they were worth before; `undefined` says why a metric is null; `lm_eval` has the figures of the
            harness's tasks by task.
        shots: indices' counts, per label, what was asked for, held-out and dropped examples, cut tokens.
        labelled_examples: how many labelled rows the recipe used in all (trained on, shown or calibrated with).
        training: loss history, steps, and the batch as the device got it; empty when nothing was trained.
        timings: seconds per phase, and `total`.
        resources: peak memory in bytes, CPU seconds, device, threads; how often the batch was halved, if it was.
        environment: package versions, Python, platform, git commit.
        files: SHA-256 of each file of the run that reports compute from, by name; empty in results of before.
        data: path, content hash, rows of each split, rows that are the same (`sft.dataset.overlap`).
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
    """Where a run stands.

    Args:
        state: `running` until it ends.
        phase, done, total, note: how far it is, while it runs.
        error: the last meaningful line of a failure.
        exit_code: of the run's process, when it failed; negative: the signal that ended it.
        started, updated: seconds since 1970.
        pid, host: of the run's process, and where it runs.
        halvings: how often the batch was halved, after the run had run out of memory.
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
