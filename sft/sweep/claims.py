"""Claims on experiments: which ones this sweep works on, and which ones another sweep works or has worked on."""

from __future__ import annotations

import time
from collections.abc import Sequence

from sft.config.experiment import Experiment
from sft.log import plain
from sft.results.locks import RunLock
from sft.results.store import ResultStore, RunFolder


def held_by(folder: RunFolder) -> str:
    """Return who works on a run claimed by another sweep, as far as known, and what to do if that process hangs."""
    state = folder.state()
    if state is None or state.pid is None:
        return "another sweep has claimed it, but not started it yet; waiting for that sweep"
    since = "" if state.started is None else time.strftime(" since %Y-%m-%d %H:%M:%S", time.localtime(state.started))
    host = plain(state.host) or "an unknown host"
    return (
        f"process {state.pid} on {host} has been running it{since}; waiting for that process. "
        f"If it hangs, end it there (kill -9 {state.pid}), and this command continues"
    )


class Claims:
    """The claims of a sweep on its experiments.

    Args:
        store: the results folder.
        experiments: the experiments to run.
    """

    def __init__(self, store: ResultStore, experiments: Sequence[Experiment]) -> None:
        self._store = store
        self._kept: dict[str, RunLock] = {}
        self._initial_updates = {experiment.id: self._last_update(experiment) for experiment in experiments}

    def folder(self, experiment: Experiment) -> RunFolder:
        """Return the folder of the experiment's run."""
        return self._store.folder(experiment.id, experiment.slug)

    def take(self, experiment: Experiment) -> RunLock | None:
        """Claim an experiment, or return the kept claim; return None while another sweep has it.

        Raises:
            UserError: the lock's file cannot be written.
        """
        if (kept := self._kept.pop(experiment.id, None)) is not None:
            if not kept.is_lost():
                return kept
            kept.release()
        claim = self._store.lock(experiment.id, "claim")
        return claim if claim.acquire() else None

    def keep(self, experiment: Experiment, claim: RunLock) -> None:
        """Keep the claim on an experiment for the next attempt, so that no other sweep takes it in between."""
        self._kept[experiment.id] = claim

    def release(self, experiment: Experiment, claim: RunLock) -> None:
        """Release a claim, unless it was kept."""
        if self._kept.get(experiment.id) is not claim:
            claim.release()

    def release_all(self) -> None:
        """Release the kept claims."""
        for claim in self._kept.values():
            claim.release()
        self._kept.clear()

    def is_ending(self, experiment: Experiment) -> bool:
        """Return whether a process still works on an unclaimed run, as briefly after its sweep was killed."""
        return not self._store.lock(experiment.id, "run").is_free()

    def has_failed_since(self, experiment: Experiment) -> bool:
        """Return whether another sweep has run this experiment and failed since this sweep started."""
        state = self.folder(experiment).state()
        failed = state is not None and state.state in ("failed", "oom", "timeout")
        return failed and self._last_update(experiment) != self._initial_updates[experiment.id]

    def _last_update(self, experiment: Experiment) -> float | None:
        """Return the time of the state's last update. Only compare it for equality, as hosts disagree on the time."""
        state = self.folder(experiment).state()
        return None if state is None else state.updated
