"""Which experiments this sweep has in its hands, and which another one has, or has had since this one began."""

from __future__ import annotations

import time
from collections.abc import Sequence

from sft.config.experiment import Experiment
from sft.log import plain
from sft.results.locks import RunLock
from sft.results.store import ResultStore, RunFolder


def held_by(folder: RunFolder) -> str:
    """Who has a run that another sweep has claimed, as far as its state says, and what to do should that one hang."""
    state = folder.state()
    if state is None or state.pid is None:
        return "another sweep has it, and has not started it yet; this command waits for that one"
    started = "" if state.started is None else time.strftime(" since %Y-%m-%d %H:%M:%S", time.localtime(state.started))
    host = plain(state.host) or "an unknown host"
    return (
        f"process {state.pid} on {host} has it{started}, and this command waits for that one. "
        f"If it hangs, end it there (kill -9 {state.pid}): then this command goes on"
    )


class Claims:
    """The claims on the experiments of one sweep.

    Args:
        store: where their runs are.
        experiments: those that are to run.
    """

    def __init__(self, store: ResultStore, experiments: Sequence[Experiment]) -> None:
        self._store = store
        self._kept: dict[str, RunLock] = {}
        self._seen = {experiment.id: self._last_word(experiment) for experiment in experiments}

    def folder(self, experiment: Experiment) -> RunFolder:
        """The folder of its run."""
        return self._store.folder(experiment.id, experiment.slug)

    def take(self, experiment: Experiment) -> RunLock | None:
        """The claim on an experiment: the one that was kept, or a new one; None while another sweep has it.

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
        """Hold on to an experiment that is to be tried again: no other sweep shall see it between two attempts."""
        self._kept[experiment.id] = claim

    def release(self, experiment: Experiment, claim: RunLock) -> None:
        """Let go of an experiment, unless it was kept."""
        if self._kept.get(experiment.id) is not claim:
            claim.release()

    def release_all(self) -> None:
        """Let go of those that were kept."""
        for claim in self._kept.values():
            claim.release()
        self._kept.clear()

    def is_ending(self, experiment: Experiment) -> bool:
        """Whether a process still has the run that no sweep claims: one that was killed leaves such for a moment."""
        return not self._store.lock(experiment.id, "run").is_free()

    def has_failed_since(self, experiment: Experiment) -> bool:
        """Whether another sweep has tried this run, in vain, since this one began."""
        state = self.folder(experiment).state()
        failed = state is not None and state.state in ("failed", "oom", "timeout")
        return failed and self._last_word(experiment) != self._seen[experiment.id]

    def _last_word(self, experiment: Experiment) -> float | None:
        """When the run's state was last written. Only compared with itself: hosts do not agree on the time."""
        state = self.folder(experiment).state()
        return None if state is None else state.updated
