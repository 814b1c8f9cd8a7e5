"""Run the unfinished experiments of a plan: check the data once, start a process per experiment, collect the outcomes.

The parent imports no torch and uses no GPU memory. An experiment is `python -m sft.cli run-experiment` with the config
in its run folder. A failure does not affect other experiments. Several sweeps can share a results folder: one of them
claims an experiment, and the others wait for it.
"""

from __future__ import annotations

import errno
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from sft.config.experiment import Experiment
from sft.errors import UserError
from sft.launchers.base import Launcher, NoProcessError, RunningJob, Status
from sft.log import get_logger
from sft.plugins import LAUNCHERS
from sft.results.locks import RunBusyError, RunLock, has_markers
from sft.results.schema import RunState
from sft.results.store import ResultStore, RunFolder
from sft.secrets import redact_text
from sft.sweep.claims import Claims, held_by
from sft.sweep.endings import failure_of, headline, state_after
from sft.sweep.outcome import Failure, SweepOutcome
from sft.sweep.planning.jobs import Plan, by_model, run_status, write_plan
from sft.sweep.planning.options import SweepOptions
from sft.sweep.planning.slots import Slot
from sft.sweep.preflight import check_data
from sft.sweep.processes import job_of, launcher_of, most_halvings, public_config
from sft.sweep.screen.display import Display, Line
from sft.sweep.stopping import StopSignals

log = get_logger(__name__)

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
POLL_SECONDS = 0.05
SECONDS_TO_DIE = 3.0  # for a killed process; one that waits for a device cannot end
SECONDS_BETWEEN_CHECKS = 1.0  # of the experiments of other sweeps
SECONDS_OF_SILENCE = 10.0  # without a message while only other sweeps work


@dataclass(frozen=True)
class _Running:
    experiment: Experiment
    folder: RunFolder
    job: RunningJob
    started: float
    slot: Slot
    claim: RunLock


class Sweep:
    """A sweep.

    Args:
        plan: all experiments of the grid, for `plan.json`.
        chosen: the requested experiments.
        store: the results folder.
        options: options of the sweep.
        launcher: starts the processes; None: the launcher in the options.
    """

    def __init__(
        self,
        plan: Plan,
        chosen: Sequence[Experiment],
        store: ResultStore,
        options: SweepOptions,
        launcher: Launcher | None = None,
    ) -> None:
        self._plan, self._store, self._options = plan, store, options
        self._launcher = launcher or launcher_of(options)
        store.tidy()  # even if nothing is left to run: a killed sweep may have finished everything
        statuses = {e.id: run_status(self._folder(e), options.retry_failed, self._most_halvings(e)) for e in chosen}
        self.to_run = by_model([e for e in chosen if statuses[e.id] == "to run"])
        self.done = [e for e in chosen if statuses[e.id] == "done"]
        self.failed_before = [e for e in chosen if statuses[e.id] == "failed before"]
        self._waiting: deque[Experiment] = deque()
        self._elsewhere: list[Experiment] = []
        self._running: list[_Running] = []
        self._free = list(reversed(options.slots))
        self._halvings: dict[str, int] = {}
        self._claims = Claims(store, self.to_run)
        self._stuck = False
        self._crowded = False  # no process can be started before a running one ends
        self._was_crowded = False
        self._succeeded: list[str] = []
        self._failed = list(self.failures_before)
        self._elsewhere_checked = 0.0
        self._idle_since: float | None = None  # start of the time in which only other sweeps work
        self._reported_holders: set[str] = set()  # ids of experiments whose holder was reported

    def note_plan(self) -> None:
        """Write the experiments and threads of the sweep.

        Raises:
            UserError: the plan cannot be written.
        """
        write_plan(self._plan, self._store, self._options.threads)

    def run(self, display: Display) -> SweepOutcome:
        """Run the remaining experiments. Ctrl-C, SIGTERM, SIGHUP and SIGUSR1/2 end the running ones and the sweep."""
        start = time.monotonic()
        self._waiting.extend(self.to_run)
        with StopSignals() as stop:
            try:
                self._pass_preflight(display, stop)
                while self._has_work() and not stop.asked:
                    self._fill(display)
                    self._collect(display)
                    self._check_elsewhere(display)
                    time.sleep(POLL_SECONDS)
            finally:  # even a bug must leave no process behind
                self._end_running(display, stop)
                self._launcher.close()
                self._claims.release_all()
            if not stop.hurried:
                self._store.tidy()
        return SweepOutcome(
            succeeded=tuple(self._succeeded),
            failed=tuple(self._failed),
            skipped=tuple(e.name for e in self.done),
            not_started=tuple(e.name for e in [*self._waiting, *self._elsewhere]),
            stopped=stop.exit_code,
            hurried=stop.hurried,
            seconds=time.monotonic() - start,
        )

    @property
    def failures_before(self) -> tuple[Failure, ...]:
        """Return the failures of earlier sweeps that are not retried."""
        return tuple(failure_of(e.name, self._folder(e)) for e in self.failed_before)

    def _folder(self, experiment: Experiment) -> RunFolder:
        return self._store.folder(experiment.id, experiment.slug)

    def _has_work(self) -> bool:
        return bool(self._running) or (bool(self._waiting or self._elsewhere) and not self._is_over())

    def _is_over(self) -> bool:
        most = self._options.max_failures
        return self._stuck or (most is not None and len(self._failed) - len(self.failed_before) >= most)

    def _pass_preflight(self, display: Display, stop: StopSignals) -> None:
        """Record experiments whose data or tokenizer cannot be opened as failed."""
        display.info("Loading the libraries and checking the data")
        local = self._launcher if LAUNCHERS.spec(self._options.launcher).is_local else None
        checked = check_data(self.to_run, self._options, local, lambda: stop.asked, self._store.root)
        if checked.breakdown:
            log.warning("The data check failed; starting without it:\n%s", checked.breakdown)
        for note in checked.notes:
            log.info("%s", note)
        for experiment in self.to_run:
            problem = checked.problems.get(experiment.id)
            # experiments claimed by another sweep stay waiting, as they may work there
            if problem is not None and (claim := self._claims.take(experiment)) is not None:
                self._waiting.remove(experiment)
                self._reject(experiment, problem, display)
                claim.release()

    def _reject(self, experiment: Experiment, problem: str, display: Display) -> None:
        """Record an experiment that cannot run as failed, as its own process would."""
        folder = self._folder(experiment)
        with suppress(UserError, OSError):  # the message below matters more
            folder.write_config(public_config(experiment))
            folder.write_state(RunState(state="failed", error=problem, exit_code=2))
            with folder.log_file.open("a", encoding="utf-8") as file:
                file.write(redact_text(problem) + "\n")
        self._failed.append(failure_of(experiment.name, folder, problem))
        display.failed(self._failed[-1])

    def _fill(self, display: Display) -> None:
        """Start an experiment in every free slot."""
        while self._waiting and self._free and not (self._is_over() or self._crowded) and self._launcher.ready():
            experiment = self._waiting.popleft()
            claim = None
            try:
                claim = self._claims.take(experiment)
                if claim is None:
                    self._elsewhere.append(experiment)
                elif self._is_ours(experiment, display):
                    self._start(experiment, claim, display)
                    continue
            except (UserError, OSError) as error:
                self._could_not_start(experiment, error, display)
            if claim is not None:
                claim.release()

    def _could_not_start(self, experiment: Experiment, error: Exception, display: Display) -> None:
        """Stop or wait if the next experiment would have the same error; otherwise record this one as failed."""
        number = getattr(error, "errno", None)
        if number in NoProcessError.NUMBERS and self._running:
            if not self._was_crowded:
                display.warning(f"{error}. The next experiment waits until a running one ends")
            self._crowded = self._was_crowded = True
            self._put_back(experiment, error)
        elif number in (*NoProcessError.NUMBERS, *_NO_SPACE):
            self._stuck = True
            self._put_back(experiment, error)
            display.warning(f"{error}. No more experiments are started")
        else:
            self._reject(experiment, str(error), display)

    def _put_back(self, experiment: Experiment, error: Exception) -> None:
        """Let an experiment that could not be started wait."""
        self._waiting.appendleft(experiment)
        halvings = self._halvings.get(experiment.id, 0)
        with suppress(UserError, OSError):
            self._folder(experiment).write_state(RunState(state="interrupted", error=str(error), halvings=halvings))

    def _is_ours(self, experiment: Experiment, display: Display) -> bool:
        """Return whether a claimed experiment is still to run. Another sweep may have run it or may be ending it."""
        if (result := self._folder(experiment).result()) is not None:
            self.done.append(experiment)
            display.done(experiment.name, None, headline(result))
        elif self._claims.is_ending(experiment):
            self._elsewhere.append(experiment)
        elif (
            experiment.id not in self._halvings
            and self._claims.has_failed_since(experiment)
            and not self._waits_for_halving(experiment)
        ):
            self._failed.append(failure_of(experiment.name, self._folder(experiment)))
            display.failed(self._failed[-1])
        else:
            return True
        return False

    def _start(self, experiment: Experiment, claim: RunLock, display: Display) -> None:
        folder, slot = self._folder(experiment), self._free[-1]
        if damage := self._store.quarantine(folder):
            display.warning(damage)
        before = folder.state()
        if before is not None and before.state in ("running", "interrupted"):  # continue with its smaller batch
            self._halvings[experiment.id] = before.halvings
        elif before is not None and experiment.id not in self._halvings and self._waits_for_halving(experiment):
            # with --retry-failed the user may have freed memory: try the full batch first
            self._halvings[experiment.id] = 0 if self._options.retry_failed else before.halvings + 1
        halvings = self._halvings.get(experiment.id, 0)
        folder.write_config(public_config(experiment))
        folder.write_state(RunState(state="running", phase="starting", started=time.time(), halvings=halvings))
        job = job_of(experiment, folder, self._store.root, self._options, slot, halvings)
        running = _Running(experiment, folder, self._launcher.start(job), time.monotonic(), slot, claim)
        self._running.append(running)
        self._free.pop()
        display.started(experiment.name)

    def _collect(self, display: Display, stopping: bool = False) -> None:
        """Record the jobs that have ended."""
        for running in tuple(self._running):
            if (status := running.job.poll()) is not None:
                self._running.remove(running)
                self._crowded = False
                self._free.append(running.slot)
                self._ended(running, status, display, stopping)
                self._claims.release(running.experiment, running.claim)
        now = time.monotonic()
        lines = [Line(r.experiment.name, r.folder, now - r.started) for r in self._running]
        display.tick(lines, len(self._elsewhere))

    def _check_elsewhere(self, display: Display) -> None:
        """Check experiments claimed by other sweeps again: they may be done, still claimed, or abandoned."""
        now = time.monotonic()
        if self._running:
            self._idle_since = None
        elif self._elsewhere:
            self._idle_since = self._idle_since or now
            if now - self._idle_since > SECONDS_OF_SILENCE:
                self._report_holders(display)
        if self._elsewhere and now - self._elsewhere_checked > SECONDS_BETWEEN_CHECKS:
            self._elsewhere_checked = now
            self._waiting.extend(self._elsewhere)
            self._elsewhere.clear()

    def _report_holders(self, display: Display) -> None:
        """Report the holder of each experiment once, so that the user notices a process that hangs."""
        seconds = f"{self._options.stale_after:g}"
        takeover = f". It is taken over {seconds} s after its last heartbeat" if has_markers(self._store.root) else ""
        for experiment in self._elsewhere:
            if experiment.id not in self._reported_holders:
                self._reported_holders.add(experiment.id)
                display.warning(f"{experiment.name}: {held_by(self._folder(experiment))}{takeover}")

    def _end_running(self, display: Display, stop: StopSignals) -> None:
        """End the running experiments: send all a signal, wait, then kill the remaining ones."""
        for running in self._running:
            running.job.ask_to_end(stop.for_children)
        deadline = time.monotonic() + stop.grace
        try:
            while self._running and time.monotonic() < deadline and not stop.hurried:
                self._collect(display, stopping=True)
                time.sleep(POLL_SECONDS)
        finally:  # also if the display fails, as after the terminal has closed
            for running in self._running:
                running.job.kill()
        deadline = time.monotonic() + SECONDS_TO_DIE
        while self._running and time.monotonic() < deadline:
            self._collect(display, stopping=True)
            time.sleep(POLL_SECONDS / 5)

    def _ended(self, running: _Running, status: Status, display: Display, stopping: bool) -> None:
        name = running.experiment.name
        try:
            result = running.folder.result()
        except UserError as error:  # unreadable now; if it is valid, the same command finds it later
            self._record(running, RunState(state="failed", error=str(error), exit_code=2), status, display)
            return
        if result is not None:  # whatever the process did after writing it
            with suppress(UserError, OSError):
                if not running.claim.is_lost():
                    running.folder.tidy()
            self._succeeded.append(name)
            display.done(name, status.seconds, headline(result))
        elif status.exit_code == RunBusyError.exit_code or running.claim.is_lost():
            self._elsewhere.append(running.experiment)
        elif stopping:
            self._record(running, RunState(state="interrupted", error="the sweep was stopped"), status, display)
        else:
            state = state_after(running.folder, status, self._options.limits)
            if state.state == "oom" and self._may_halve(running.experiment):
                self._retry(running, state, display)
            else:
                self._record(running, state, status, display)

    def _most_halvings(self, experiment: Experiment) -> int:
        return most_halvings(experiment.config) if self._options.oom_retry else 0

    def _may_halve(self, experiment: Experiment) -> bool:
        return self._halvings.get(experiment.id, 0) < self._most_halvings(experiment)

    def _waits_for_halving(self, experiment: Experiment) -> bool:
        """Return whether a run was out of memory and its sweep was killed before the next attempt."""
        state = self._folder(experiment).state()
        return state is not None and state.state == "oom" and state.halvings < self._most_halvings(experiment)

    def _retry(self, running: _Running, state: RunState, display: Display) -> None:
        """Retry an experiment that was out of memory with half the batch, in this sweep or a later one."""
        experiment = running.experiment
        halvings = self._halvings[experiment.id] = self._halvings.get(experiment.id, 0) + 1
        self._claims.keep(experiment, running.claim)
        self._waiting.appendleft(experiment)
        with suppress(UserError, OSError):
            running.folder.write_state(RunState(state="interrupted", error=state.error, halvings=halvings))
        display.retried(experiment.name, f"{state.error}; retrying with a batch 1/{2**halvings} as large")

    def _record(self, running: _Running, state: RunState, status: Status, display: Display) -> None:
        try:
            running.folder.write_state(state)
            failure = failure_of(running.experiment.name, running.folder)
        except (UserError, OSError) as error:
            log.warning("%s", error)
            failure = failure_of(running.experiment.name, running.folder, state.error)
        self._failed.append(failure)
        display.failed(failure, status.seconds)
