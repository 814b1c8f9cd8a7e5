"""Keep `state.json` true while a run goes on: running with its phase, then done, or why not.

The state is only told of: where it cannot be written (a full disk) the run goes on, and what it fails of is its own.
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
    """State `running` inside, `done` after; on an exception `oom`, `interrupted` or `failed`, with its last line.

    Yields a `Progress` that keeps phase and step in the state, at most twice a second. Exceptions go on to the caller.
    What an earlier process left half written in the folder when it was killed is removed.

    Args:
        folder: of the run, which is this process's alone.
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
    _tell(folder, started)
    try:
        yield _Recorder(folder, started)
    except RunBusyError:  # taken over: the state is another process's now
        raise
    except BaseException as error:
        ended = {"state": _state_for(error), "error": _text_of(error), "exit_code": _exit_code_of(error)}
        _tell(folder, started.model_copy(update=ended))
        raise
    _tell(folder, started.model_copy(update={"state": "done", "phase": ""}))


def _tell(folder: RunFolder, state: RunState) -> None:
    try:
        folder.write_state(state)
    except OSError as error:
        log.warning("%s", error)


def _text_of(error: BaseException) -> str:
    """What happened, in one line."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted (Ctrl-C)"
    if isinstance(error, SystemExit) and (name := _signal_name(error.code)):
        return f"terminated ({name})"
    text = redact_text(str(error))  # before it is cut: half a secret is not known as one
    last_line = (text.strip() or type(error).__name__).splitlines()[-1][:500]
    return last_line if isinstance(error, UserError) else f"{type(error).__name__}: {last_line}"


def _signal_name(code: object) -> str:
    """The signal that an exit code of more than 128 stands for, else nothing."""
    known = {128 + number: number.name for number in signal.Signals}
    return known.get(code, "") if isinstance(code, int) else ""


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
        _tell(self._folder, self._started.model_copy(update=update))
