"""Keep `state.json` up to date during a run: `running` with its phase, then `done` or the reason for its failure.

If the state cannot be written (a full disk), the run continues and the error is only logged.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sft.errors import UserError
from sft.io import remove_leftovers
from sft.log import Progress, get_logger
from sft.memory import halvings, is_out_of_memory
from sft.results.locks import RunBusyError
from sft.results.schema import Phase, RunState
from sft.results.store import RunFolder
from sft.secrets import redact_text

log = get_logger(__name__)

SECONDS_BETWEEN_WRITES = 0.5


@contextmanager
def recording(folder: RunFolder) -> Iterator[Progress]:
    """Set the state `running` inside, then `done`, or `oom`, `interrupted` or `failed` with the error's last line.

    It yields a `Progress` that writes phase and step to the state, at most twice per second. Exceptions propagate.
    Incomplete files of an earlier, killed process are removed.

    Args:
        folder: folder of the run, which only this process uses.
    """
    started = RunState(
        state="running",
        phase="starting",
        started=time.time(),
        pid=os.getpid(),
        host=socket.gethostname(),
        halvings=halvings(),
    )
    remove_leftovers(folder.path, older_than_seconds=0)
    _write_state(folder, started)
    try:
        yield _Recorder(folder, started)
    except RunBusyError:  # another process has taken the run over and writes the state now
        raise
    except BaseException as error:
        ended = {"state": _state_for(error), "error": _message_of(error), "exit_code": _exit_code_of(error)}
        _write_state(folder, started.model_copy(update=ended))
        raise
    _write_state(folder, started.model_copy(update={"state": "done", "phase": ""}))


def _write_state(folder: RunFolder, state: RunState) -> None:
    try:
        folder.write_state(state)
    except OSError as error:
        log.warning("%s", error)


def _message_of(error: BaseException) -> str:
    """Return the error in one line."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted (Ctrl-C)"
    if isinstance(error, SystemExit) and (name := _signal_name(error.code)):
        return f"terminated ({name})"
    text = redact_text(str(error))  # before truncating, as half a secret would not be recognised
    last_line = (text.strip() or type(error).__name__).splitlines()[-1][:500]
    return last_line if isinstance(error, UserError) else f"{type(error).__name__}: {last_line}"


def _signal_name(code: object) -> str:
    """Return the name of the signal for an exit code above 128, else an empty string."""
    names = {128 + number: number.name for number in signal.Signals}
    return names.get(code, "") if isinstance(code, int) else ""


def _exit_code_of(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return 128 + signal.SIGINT
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    return getattr(error, "exit_code", 1)


def _state_for(error: BaseException) -> Phase:
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return "interrupted"
    return "oom" if is_out_of_memory(error) else "failed"


class _Recorder:
    def __init__(self, folder: RunFolder, started: RunState) -> None:
        self._folder, self._started, self._written, self._phase = folder, started, 0.0, ""

    def __call__(self, phase: str, done: int, total: int, note: str = "") -> None:
        now = time.monotonic()
        if phase == self._phase and now - self._written < SECONDS_BETWEEN_WRITES:
            return
        self._phase, self._written = phase, now
        update = {"phase": phase, "done": done, "total": total, "note": note}
        _write_state(self._folder, self._started.model_copy(update=update))
