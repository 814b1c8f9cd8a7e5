"""What became of an experiment's process: from its status and what it left in its folder to a state, and a failure."""

from __future__ import annotations

import signal

from sft.launchers.base import Resources, Status
from sft.results.schema import RunResult, RunState
from sft.results.store import RunFolder
from sft.sweep.jobs import standing
from sft.sweep.outcome import Failure


def state_after(folder: RunFolder, status: Status, limits: Resources) -> RunState:
    """What to record of a process that ended without a result: its own last word, else what is seen from outside."""
    own = folder.state()
    halvings = own.halvings if own is not None else 0
    state = _seen_from_outside(status, limits)
    if state is None and own is not None and own.state not in ("running", "done"):
        return own.model_copy(update={"exit_code": own.exit_code or status.exit_code})
    if state is None:
        error = folder.last_error_line() or _silent(status.exit_code)
        state = RunState(state="failed", error=error, exit_code=status.exit_code or 1)
    return state.model_copy(update={"halvings": halvings})


def _silent(code: int) -> str:
    """Of a process that left no line either. A fork reads the program anew before it has a log of its own."""
    if code == 0:
        return "ended with exit code 0 and no result"
    return f"ended with exit code {code} before it had a log: has the program changed since the sweep was started?"


def _seen_from_outside(status: Status, limits: Resources) -> RunState | None:
    """Why a process was ended; None when it ended by itself."""
    code = status.exit_code
    if status.cause == "timeout":
        return RunState(state="timeout", error=f"took longer than {limits.seconds:g} s", exit_code=code)
    if status.cause == "limit" and limits.memory is not None:
        what = f"held more than {limits.memory / 2**30:.1f} GiB of memory (--memory-limit)"
        return RunState(state="oom", error=what, exit_code=code)
    if status.cause == "memory":
        return RunState(state="oom", error="the system ended it for lack of memory", exit_code=code)
    if code < 0 or code == 128 + signal.SIGKILL:  # which no process says of itself: a shell in between does
        number = -code if code < 0 else code - 128
        name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
        hint = " (killed from outside, or by the system for lack of memory)" if name == "SIGKILL" else ""
        return RunState(state="failed", error=f"ended by {name}{hint}", exit_code=code)
    return None


def failure_of(name: str, folder: RunFolder, error: str = "") -> Failure:
    """The failure that a run's folder tells of; `error` where it could not even be written there."""
    state = folder.state()
    if state is None or error:
        state = RunState(state="failed", error=error or "left no state", exit_code=2)
    return Failure(name, state.state, state.error, folder.log_file, retried=standing(folder, False) == "to run")


def headline(result: RunResult) -> str:
    """The leading figure of a result, for one line: `accuracy .812`."""
    for metric in ("accuracy", "exact_match", "macro_f1"):
        value = result.results.get(metric)
        if isinstance(value, float | int):
            return f"{metric} {value:.3f}"
    return "trained" if not result.results else ""
