"""Convert the status of an experiment's process and the files in its folder to a state and a failure."""

from __future__ import annotations

import signal

from sft.launchers.base import Resources, Status
from sft.results.schema import RunResult, RunState
from sft.results.store import RunFolder
from sft.sweep.outcome import Failure
from sft.sweep.planning.jobs import run_status


def state_after(folder: RunFolder, status: Status, limits: Resources) -> RunState:
    """Return the state to record for a process without a result: its own last state, else one from its exit status."""
    own = folder.state()
    halvings = own.halvings if own is not None else 0
    state = _state_of(status, limits)
    if state is None and own is not None and own.state not in ("running", "done"):
        return own.model_copy(update={"exit_code": own.exit_code or status.exit_code})
    if state is None:
        error = folder.last_error_line() or _without_output(status.exit_code)
        state = RunState(state="failed", error=error, exit_code=status.exit_code or 1)
    return state.model_copy(update={"halvings": halvings})


def _without_output(code: int) -> str:
    """Return the error of a process that printed nothing. A fork imports the program again before it opens its log."""
    if code == 0:
        return "ended with exit code 0 and no result"
    return f"ended with exit code {code} before it opened its log; has the program changed since the sweep started?"


def _state_of(status: Status, limits: Resources) -> RunState | None:
    """Return the state of a process that was ended, or None if it ended by itself."""
    code = status.exit_code
    if status.cause == "timeout":
        return RunState(state="timeout", error=f"took longer than {limits.seconds:g} s", exit_code=code)
    if status.cause == "limit" and limits.memory is not None:
        error = f"used more than {limits.memory / 2**30:.1f} GiB of memory (--memory-limit)"
        return RunState(state="oom", error=error, exit_code=code)
    if status.cause == "memory":
        return RunState(state="oom", error="killed by the system for lack of memory", exit_code=code)
    if code < 0 or code == 128 + signal.SIGKILL:  # the latter comes from a shell in between
        number = -code if code < 0 else code - 128
        name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
        hint = " (killed from outside, or by the system for lack of memory)" if name == "SIGKILL" else ""
        return RunState(state="failed", error=f"ended by {name}{hint}", exit_code=code)
    return None


def failure_of(name: str, folder: RunFolder, error: str = "") -> Failure:
    """Return the failure recorded in a run's folder, or `error` if it could not be recorded."""
    state = folder.state()
    if state is None or error:
        state = RunState(state="failed", error=error or "recorded no state", exit_code=2)
    return Failure(name, state.state, state.error, folder.log_file, retried=run_status(folder, False) == "to run")


def headline(result: RunResult) -> str:
    """Return the main figure of a result in a few words: `accuracy .812`."""
    for metric in ("accuracy", "exact_match", "macro_f1"):
        value = result.results.get(metric)
        if isinstance(value, float | int):
            return f"{metric} {value:.3f}"
    return "trained" if not result.results else ""
