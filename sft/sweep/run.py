"""Run what a plan still lacks: check the data once, start each experiment as its own process, collect what came of it.

The parent imports no torch and holds no GPU memory: experiments are `python -m sft.cli run-experiment` on the config in
their run folder. One that fails neither stops nor harms the others. Several sweeps may share a results folder: each
experiment is claimed by one of them, and the others wait for it.
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
from sft.sweep.display import Display, Line
from sft.sweep.endings import failure_of, headline, state_after
from sft.sweep.jobs import Plan, by_model, standing, write_plan
from sft.sweep.options import SweepOptions
from sft.sweep.outcome import Failure, SweepOutcome
from sft.sweep.preflight import check_data
from sft.sweep.processes import job_of, launcher_of, most_halvings, public_config
from sft.sweep.slots import Slot
from sft.sweep.stopping import StopSignals

log = get_logger(__name__)

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
POLL_SECONDS = 0.05
SECONDS_TO_DIE = 3.0  # for a process that was killed; one that waits for a device cannot
SECONDS_BETWEEN_LOOKS = 1.0  # at what other sweeps run
SECONDS_OF_SILENCE = 10.0  # while only others have work


@dataclass(frozen=True)
class _Running:
    experiment: Experiment
    folder: RunFolder
    job: RunningJob
    started: float
    slot: Slot
    claim: RunLock


class Sweep:
    """One sweep.

    Args:
        plan: all experiments of the grid, for `plan.json`.
        chosen: those that are asked for now.
        store: where results go.
        options: how it is run.
        launcher: starts the processes; None: the one that the options name.
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
        store.tidy()  # also where nothing is left to run: what was killed may have done it all
        standings = {e.id: standing(self._folder(e), options.retry_failed, self._most_halvings(e)) for e in chosen}
        self.to_run = by_model([e for e in chosen if standings[e.id] == "to run"])
        self.done = [e for e in chosen if standings[e.id] == "done"]
        self.failed_before = [e for e in chosen if standings[e.id] == "failed before"]
        self._waiting: deque[Experiment] = deque()
        self._elsewhere: list[Experiment] = []
        self._running: list[_Running] = []
        self._free = list(reversed(options.slots))
        self._halvings: dict[str, int] = {}
        self._claims = Claims(store, self.to_run)
        self._stuck = False
        self._crowded = False  # no process can be started before one that runs has ended
        self._was_crowded = False
        self._succeeded: list[str] = []
        self._failed = list(self.failures_before)
        self._looked = 0.0
        self._idle_since: float | None = None  # since then others alone have work
        self._held: set[str] = set()  # ids of experiments of which it was said who has them

    def note_plan(self) -> None:
        """Write which experiments the sweep has, and its threads.

        Raises:
            UserError: the plan cannot be written.
        """
        write_plan(self._plan, self._store, self._options.threads)

    def run(self, display: Display) -> SweepOutcome:
        """Run what is left to run. Ctrl-C, SIGTERM, SIGHUP and SIGUSR1/2 end the running ones and start no more."""
        start = time.monotonic()
        self._waiting.extend(self.to_run)
        with StopSignals() as stop:
            try:
                self._pass_preflight(display, stop)
                while self._has_work() and not stop.asked:
                    self._fill(display)
                    self._collect(display)
                    self._look_elsewhere(display)
                    time.sleep(POLL_SECONDS)
            finally:  # a bug, too, leaves no process behind
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
        """The failures of earlier sweeps that are not tried again."""
        return tuple(failure_of(e.name, self._folder(e)) for e in self.failed_before)

    def _folder(self, experiment: Experiment) -> RunFolder:
        return self._store.folder(experiment.id, experiment.slug)

    def _has_work(self) -> bool:
        return bool(self._running) or (bool(self._waiting or self._elsewhere) and not self._is_over())

    def _is_over(self) -> bool:
        most = self._options.max_failures
        return self._stuck or (most is not None and len(self._failed) - len(self.failed_before) >= most)

    def _pass_preflight(self, display: Display, stop: StopSignals) -> None:
        """Leave waiting the experiments whose data and tokenizer open; record the others as failed."""
        display.says("Loading the libraries and checking the data")
        here = self._launcher if LAUNCHERS.spec(self._options.launcher).is_local else None
        checked = check_data(self.to_run, self._options, here, lambda: stop.asked, self._store.root)
        if checked.breakdown:
            log.warning("Checking the data first did not work, starting without:\n%s", checked.breakdown)
        for note in checked.notes:
            log.info("%s", note)
        for experiment in self.to_run:
            problem = checked.problems.get(experiment.id)
            # what another sweep has claimed stays waiting: it may have got beyond what was wrong here
            if problem is not None and (claim := self._claims.take(experiment)) is not None:
                self._waiting.remove(experiment)
                self._refuse(experiment, problem, display)
                claim.release()

    def _refuse(self, experiment: Experiment, problem: str, display: Display) -> None:
        """Record an experiment that cannot run as failed, as if it had found out by itself."""
        folder = self._folder(experiment)
        with suppress(UserError, OSError):  # what is said below matters more
            folder.write_config(public_config(experiment))
            folder.write_state(RunState(state="failed", error=problem, exit_code=2))
            with folder.log_file.open("a", encoding="utf-8") as file:
                file.write(redact_text(problem) + "\n")
        self._failed.append(failure_of(experiment.name, folder, problem))
        display.failed(self._failed[-1])

    def _fill(self, display: Display) -> None:
        """Give every free slot an experiment."""
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
        """Start no more where the next would meet the same error, or wait for room; else this experiment has failed."""
        number = getattr(error, "errno", None)
        if number in NoProcessError.NUMBERS and self._running:
            if not self._was_crowded:
                display.warns(f"{error}. The next experiment waits until one that runs has ended")
            self._crowded = self._was_crowded = True
            self._put_back(experiment, error)
        elif number in (*NoProcessError.NUMBERS, *_NO_ROOM):
            self._stuck = True
            self._put_back(experiment, error)
            display.warns(f"{error}. No more experiments are started")
        else:
            self._refuse(experiment, str(error), display)

    def _put_back(self, experiment: Experiment, error: Exception) -> None:
        """Have an experiment wait that could not be started."""
        self._waiting.appendleft(experiment)
        halvings = self._halvings.get(experiment.id, 0)
        with suppress(UserError, OSError):
            self._folder(experiment).write_state(RunState(state="interrupted", error=str(error), halvings=halvings))

    def _is_ours(self, experiment: Experiment, display: Display) -> bool:
        """Whether a claimed experiment is still to be run: another sweep may have, or may just be ending it."""
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
            display.warns(damage)
        before = folder.state()
        if before is not None and before.state in ("running", "interrupted"):  # on its way with a smaller batch
            self._halvings[experiment.id] = before.halvings
        elif before is not None and experiment.id not in self._halvings and self._waits_for_halving(experiment):
            # --retry-failed is for those who have made room: the whole batch first
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
        """Record the jobs that have ended; the others go on."""
        for one in tuple(self._running):
            if (status := one.job.poll()) is not None:
                self._running.remove(one)
                self._crowded = False
                self._free.append(one.slot)
                self._ended(one, status, display, stopping)
                self._claims.release(one.experiment, one.claim)
        now = time.monotonic()
        lines = [Line(o.experiment.name, o.folder, now - o.started) for o in self._running]
        display.tick(lines, len(self._elsewhere))

    def _look_elsewhere(self, display: Display) -> None:
        """Take up again what other sweeps had claimed: it is done by now, or theirs still, or left behind."""
        now = time.monotonic()
        if self._running:
            self._idle_since = None
        elif self._elsewhere:
            self._idle_since = self._idle_since or now
            if now - self._idle_since > SECONDS_OF_SILENCE:
                self._say_who_has_them(display)
        if self._elsewhere and now - self._looked > SECONDS_BETWEEN_LOOKS:
            self._looked = now
            self._waiting.extend(self._elsewhere)
            self._elsewhere.clear()

    def _say_who_has_them(self, display: Display) -> None:
        """Once of each: a process that hangs would be waited for silently."""
        seconds = f"{self._options.stale_after:g}"
        later = f". It is taken over {seconds} s after its last sign of life" if has_markers(self._store.root) else ""
        for experiment in self._elsewhere:
            if experiment.id not in self._held:
                self._held.add(experiment.id)
                display.warns(f"{experiment.name}: {held_by(self._folder(experiment))}{later}")

    def _end_running(self, display: Display, stop: StopSignals) -> None:
        """End what still runs. All are asked before any is waited for; those that do not hear are ended."""
        for one in self._running:
            one.job.ask_to_end(stop.for_children)
        deadline = time.monotonic() + stop.grace
        try:
            while self._running and time.monotonic() < deadline and not stop.hurried:
                self._collect(display, stopping=True)
                time.sleep(POLL_SECONDS)
        finally:  # nobody may be left to show anything to
            for one in self._running:
                one.job.kill()
        deadline = time.monotonic() + SECONDS_TO_DIE
        while self._running and time.monotonic() < deadline:
            self._collect(display, stopping=True)
            time.sleep(POLL_SECONDS / 5)

    def _ended(self, one: _Running, status: Status, display: Display, stopping: bool) -> None:
        name = one.experiment.name
        try:
            result = one.folder.result()
        except UserError as error:  # it cannot be read now; where it is good, the same command finds it done
            self._record(one, RunState(state="failed", error=str(error), exit_code=2), status, display)
            return
        if result is not None:  # whatever the process did after it was written
            with suppress(UserError, OSError):
                if not one.claim.is_lost():
                    one.folder.tidy()
            self._succeeded.append(name)
            display.done(name, status.seconds, headline(result))
        elif status.exit_code == RunBusyError.exit_code or one.claim.is_lost():
            self._elsewhere.append(one.experiment)
        elif stopping:
            self._record(one, RunState(state="interrupted", error="the sweep was stopped"), status, display)
        else:
            state = state_after(one.folder, status, self._options.limits)
            if state.state == "oom" and self._may_halve(one.experiment):
                self._retry(one, state, display)
            else:
                self._record(one, state, status, display)

    def _most_halvings(self, experiment: Experiment) -> int:
        return most_halvings(experiment.config) if self._options.oom_retry else 0

    def _may_halve(self, experiment: Experiment) -> bool:
        return self._halvings.get(experiment.id, 0) < self._most_halvings(experiment)

    def _waits_for_halving(self, experiment: Experiment) -> bool:
        """Return whether a run is out of memory and its sweep was killed before it could start the next try."""
        state = self._folder(experiment).state()
        return state is not None and state.state == "oom" and state.halvings < self._most_halvings(experiment)

    def _retry(self, one: _Running, state: RunState, display: Display) -> None:
        """Have an experiment that ran out of memory tried again with half of its batch, by a later sweep if need be."""
        halvings = self._halvings[one.experiment.id] = self._halvings.get(one.experiment.id, 0) + 1
        self._claims.keep(one.experiment, one.claim)
        self._waiting.appendleft(one.experiment)
        with suppress(UserError, OSError):
            one.folder.write_state(RunState(state="interrupted", error=state.error, halvings=halvings))
        display.retried(one.experiment.name, f"{state.error}; again with a batch 1/{2**halvings} as large")

    def _record(self, one: _Running, state: RunState, status: Status, display: Display) -> None:
        try:
            one.folder.write_state(state)
            failure = failure_of(one.experiment.name, one.folder)
        except (UserError, OSError) as error:
            log.warning("%s", error)
            failure = failure_of(one.experiment.name, one.folder, state.error)
        self._failed.append(failure)
        display.failed(failure, status.seconds)
