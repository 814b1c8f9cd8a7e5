"""Run what a plan still lacks: check the data once, start each experiment as its own process, collect what came of it.

The parent imports no torch and holds no GPU memory: experiments are `python -m sft.cli run-experiment` on the config in
their run folder. One that fails neither stops nor harms the others.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sft.config.experiment import Experiment
from sft.io import write_json
from sft.launchers import launcher_registry
from sft.launchers.base import Job, Launcher, RunningJob, Status
from sft.log import get_logger
from sft.results.schema import RunResult, RunState
from sft.results.store import ResultStore, RunFolder
from sft.sweep.display import Display, Line
from sft.sweep.jobs import Plan, config_of, plan_entries, standing
from sft.sweep.outcome import Failure, SweepOutcome
from sft.sweep.preflight import check_data

log = get_logger(__name__)

POLL_SECONDS = 0.1
PLAN_VERSION = 1


@dataclass(frozen=True)
class SweepOptions:
    """How a sweep is run.

    Args:
        plug_folder: the grid's folder, where `"module:function"` plugs are found.
        do_eval: judge each trained model.
        jobs: experiments at a time.
        timeout: seconds that one experiment may take; None: no limit.
        retry_failed: also run those that failed by themselves before.
        fail_fast: start nothing more after the first failure.
    """

    plug_folder: Path
    do_eval: bool = True
    jobs: int = 1
    timeout: float | None = None
    retry_failed: bool = False
    fail_fast: bool = False


@dataclass(frozen=True)
class _Running:
    experiment: Experiment
    folder: RunFolder
    job: RunningJob
    started: float


class Sweep:
    """One sweep.

    Args:
        plan: all experiments of the grid, for `plan.json`.
        chosen: those that are asked for now.
        store: where results go.
        options: how it is run.
    """

    def __init__(self, plan: Plan, chosen: Sequence[Experiment], store: ResultStore, options: SweepOptions) -> None:
        self._plan, self._store, self._options = plan, store, options
        self._launcher: Launcher = launcher_registry["local"]()
        standings = {e.id: standing(self._folder(e), options.retry_failed) for e in chosen}
        self.to_run = [e for e in chosen if standings[e.id] == "to run"]
        self.done = [e for e in chosen if standings[e.id] == "done"]
        self.failed_before = [e for e in chosen if standings[e.id] == "failed before"]
        self._waiting: deque[Experiment] = deque()
        self._running: list[_Running] = []
        self._succeeded: list[str] = []
        self._failed = list(self.failures_before)

    def run(self, display: Display) -> SweepOutcome:
        """Run what is left to run. Ctrl-C, SIGTERM and SIGHUP end the running ones and start no more."""
        start, stopped = time.monotonic(), 0
        write_plan(self._plan, self._store)
        self._waiting.extend(self.to_run)
        try:
            self._pass_preflight(display)
            while self._running or (self._waiting and not self._is_over()):
                while self._waiting and len(self._running) < self._options.jobs and not self._is_over():
                    self._start(self._waiting[0], display)
                time.sleep(POLL_SECONDS)
                self._collect(display)
        except KeyboardInterrupt:
            stopped = 128 + signal.SIGINT
        except SystemExit as end:  # what the command makes of SIGTERM and SIGHUP
            stopped = end.code if isinstance(end.code, int) else 1
        finally:  # a bug, too, leaves no process behind
            self._stop_running(display)
        return SweepOutcome(
            succeeded=tuple(self._succeeded),
            failed=tuple(self._failed),
            skipped=tuple(e.name for e in self.done),
            not_started=tuple(e.name for e in self._waiting),
            stopped=stopped,
            seconds=time.monotonic() - start,
        )

    @property
    def failures_before(self) -> tuple[Failure, ...]:
        """The failures of earlier sweeps that are not tried again."""
        return tuple(_failure_of(e.name, self._folder(e)) for e in self.failed_before)

    def _folder(self, experiment: Experiment) -> RunFolder:
        return self._store.folder(experiment.id, experiment.slug)

    def _is_over(self) -> bool:
        return self._options.fail_fast and len(self._failed) > len(self.failed_before)

    def _pass_preflight(self, display: Display) -> None:
        """Leave waiting the experiments whose data and tokenizer open; record the others as failed."""
        checked = check_data(self.to_run, self._options.plug_folder)
        if checked.breakdown:
            log.warning("Checking the data first did not work, starting without:\n%s", checked.breakdown)
        for experiment in self.to_run:
            if experiment.id in checked.problems:
                self._waiting.remove(experiment)
                self._refuse(experiment, checked.problems[experiment.id], display)

    def _refuse(self, experiment: Experiment, problem: str, display: Display) -> None:
        """Record an experiment that cannot run as failed, as if it had found out by itself."""
        folder = self._folder(experiment)
        folder.write_config(config_of(experiment))
        folder.write_state(RunState(state="failed", error=problem, exit_code=2))
        with folder.log_file.open("a", encoding="utf-8") as file:
            file.write(problem + "\n")
        self._failed.append(_failure_of(experiment.name, folder))
        display.failed(self._failed[-1])

    def _start(self, experiment: Experiment, display: Display) -> None:
        folder = self._folder(experiment)
        folder.write_config(config_of(experiment))
        folder.write_state(RunState(state="running", phase="starting", started=time.time()))
        evaluation = "--do-eval" if self._options.do_eval else "--no-do-eval"
        plugs = str(self._options.plug_folder)
        command = (sys.executable, "-m", "sft.cli", "run-experiment", str(folder.config_file))
        job = Job(
            argv=(*command, evaluation, "--results-path", str(self._store.root), "--plugs", plugs),
            log_file=folder.log_file,
            environment=_threads(self._options.jobs),
            timeout=self._options.timeout,
        )
        self._running.append(_Running(experiment, folder, self._launcher.start(job), time.monotonic()))
        self._waiting.remove(experiment)
        display.started(experiment.name)

    def _collect(self, display: Display) -> None:
        """Record the jobs that have ended; the others go on."""
        for one in tuple(self._running):
            if (status := one.job.poll()) is not None:
                self._running.remove(one)
                self._ended(one, status, display)
        now = time.monotonic()
        display.tick([Line(o.experiment.name, o.folder.state(), now - o.started) for o in self._running])

    def _stop_running(self, display: Display) -> None:
        """End what still runs. All are asked before any is waited for, and nothing is printed before all have ended:
        a second Ctrl-C, or a terminal that is gone, leaves none of them behind."""
        if not self._running:
            return
        with _deaf():
            for one in self._running:
                one.job.ask_to_end()
            for one in self._running:
                one.job.stop()
            ended, self._running = self._running, []
            finished = [one.folder.result() is not None for one in ended]
            for one, has_finished in zip(ended, finished, strict=True):
                if has_finished:
                    self._succeeded.append(one.experiment.name)
                else:
                    self._record(one, RunState(state="interrupted", error="the sweep was stopped"))
        for failure in self._failed[len(self._failed) - finished.count(False) :]:
            display.failed(failure)

    def _ended(self, one: _Running, status: Status, display: Display) -> None:
        result = one.folder.result()
        if status.exit_code == 0 and result is not None:
            self._succeeded.append(one.experiment.name)
            display.done(one.experiment.name, status.seconds, headline(result))
        else:
            self._record(one, _state_after(one.folder, status, self._options.timeout))
            display.failed(self._failed[-1], status.seconds)

    def _record(self, one: _Running, state: RunState) -> None:
        one.folder.write_state(state)
        self._failed.append(_failure_of(one.experiment.name, one.folder))


@contextmanager
def _deaf() -> Iterator[None]:
    """Inside, the signals that ask this process to end are ignored."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [(number, signal.signal(number, signal.SIG_IGN)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _threads(jobs: int) -> dict[str, str]:
    """The processors divided among jobs that run at once: more threads than cores make all of them slower."""
    if jobs == 1 or "OMP_NUM_THREADS" in os.environ:
        return {}
    return {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // jobs))}


def write_plan(plan: Plan, store: ResultStore) -> None:
    """Note which experiments the grid has: the report covers these."""
    write_json(store.plan_file, {"schema_version": PLAN_VERSION, "experiments": plan_entries(plan, store)})


def headline(result: RunResult) -> str:
    """The leading figure of a result, for one line: `accuracy .812`."""
    for metric in ("accuracy", "exact_match"):
        value = result.results.get(metric)
        if isinstance(value, float | int):
            return f"{metric} {value:.3f}"
    return "trained" if not result.results else ""


def _state_after(folder: RunFolder, status: Status, timeout: float | None) -> RunState:
    """What to record of a process that ended without a result: its own last word, else what is seen from outside."""
    own = folder.state()
    if status.timed_out:
        return RunState(state="timeout", error=f"took longer than {timeout:g} s", exit_code=status.exit_code)
    if own is not None and own.state != "running":
        return own.model_copy(update={"exit_code": own.exit_code or status.exit_code})
    if status.exit_code < 0:
        name = signal.Signals(-status.exit_code).name
        hint = " (killed from outside, or by the system for lack of memory)" if name == "SIGKILL" else ""
        return RunState(state="failed", error=f"ended by {name}{hint}", exit_code=status.exit_code)
    error = folder.last_error_line() or f"ended with exit code {status.exit_code} and no result"
    return RunState(state="failed", error=error, exit_code=status.exit_code or 1)


def _failure_of(name: str, folder: RunFolder) -> Failure:
    state = folder.state() or RunState(state="failed", error="left no state")
    return Failure(name, state.state, state.error, folder.log_file, retried=standing(folder, False) == "to run")
