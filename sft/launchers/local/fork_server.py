"""A job as a fork of a server process that has the heavy imports done: ready in some hundredths of a second.

Python's own fork server does the forking. The server only imports: a child forked after a parallel region would hang,
and one forked after CUDA was initialised could not use it, so the server sees no device. Each child is a process like
any other: its own session, log, environment, memory and devices. It ends when the process that asked for it ends.

Only jobs of the form `python -m MODULE ARGUMENTS` can be forked; others, and those that say that they are not
`forkable`, are started afresh.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.context import ForkServerProcess
from multiprocessing.reduction import DupFd
from typing import Any

from sft.launchers.base import Job, NoProcessError, Resources
from sft.launchers.local.lifetime import watch
from sft.launchers.local.sockets import use_own_folder
from sft.launchers.local.spawn import FreshProcess, Spawning
from sft.launchers.local.streams import Log, redirect
from sft.log import get_logger

log = get_logger(__name__)

_SERVER_GONE = 255  # what multiprocessing says of a child whose server can no longer tell
# What multiprocessing does first in a child is to import the program that asks for it.
_NO_GUARD = (
    "A forked process ended with exit code %s before it began: does the program that starts the sweep do so under "
    '`if __name__ == "__main__":`? Experiments start as fresh processes'
)
_TRIES = 2  # at a fork: the server may have been ended a moment ago
# What a terminal or a scheduler sends to the whole process group of the sweep: ending the server is not their business.
_KEPT_FROM_SERVER = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
# PYTHONSAFEPATH: as -P, for processes whose command line is multiprocessing's.
_SERVER_SEES = {"CUDA_VISIBLE_DEVICES": "", "PYTORCH_NVML_BASED_CUDA_CHECK": "1", "PYTHONSAFEPATH": "1"}


class ForkedProcess:
    """A child of the fork server.

    Args:
        job: to run.
        server_gone: called when the server turns out to have ended.
    """

    lives_on = False

    def __init__(self, job: Job, server_gone: Callable[[], None]) -> None:
        self._server_gone = server_gone
        context = multiprocessing.get_context("forkserver")
        outside = {name: os.environ.get(name) for name in _SERVER_SEES}
        with Log(job.log_file) as self._log:
            arguments = (job.argv[2:], Output(self._log.writer), {**outside, **job.variables})
            self._process: ForkServerProcess = context.Process(target=run_module, args=arguments)
            self._process.start()
        self.pid = self._process.pid or 0

    def exit_code(self) -> int | None:
        """None while it runs; negative for the signal that ended it; 255 when the server itself has gone.

        A child that nobody can tell of any more is ended.
        """
        code = self._process.exitcode
        if code == _SERVER_GONE:
            self._server_gone()
            with suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, signal.SIGKILL)
        return code

    def close(self) -> None:
        """It has ended: have all that it printed in its log."""
        self._log.close()


class Forking:
    """Starts each job as a fork of the server, which is started on first use.

    Args:
        preload: modules that it imports; one that is missing is left to the child that needs it.
        threads: of parallel regions in the children: the libraries read it when they are imported, by the server.
    """

    def __init__(self, preload: Sequence[str] = (), threads: int | None = None) -> None:
        self._preload = ["sft.launchers.local.silence", *preload, "sft.launchers.local.freeze"]
        self._server_sees = {**_SERVER_SEES, **Resources(threads=threads).environment()}
        self._warming: threading.Thread | None = None
        self._works = True
        self._fresh = Spawning()

    def ready(self) -> bool:
        """Whether the server's imports are done; the first call starts it."""
        if self._works and self._warming is None:
            warming = threading.Thread(target=self._warm_up, name="fork server", daemon=True)
            try:
                self._start_server()
                warming.start()
            except (OSError, RuntimeError) as error:  # a TMPDIR too long for a socket's address, or too many threads
                if isinstance(error, RuntimeError) and NoProcessError.of(error) is None:
                    raise
                self._gone(error)
                return True
            self._warming = warming
        return self._warming is None or not self._warming.is_alive()

    def start(self, job: Job) -> ForkedProcess | FreshProcess:
        """Fork it, waiting for the server where it is not `ready`; without one that works, start it afresh."""
        if not (job.is_module and job.forkable):
            return self._fresh.start(job)
        while not self.ready():
            time.sleep(0.02)
        if self._works:
            for tries_left in reversed(range(_TRIES)):
                try:
                    self._start_server()  # again, should it have ended
                    return ForkedProcess(job, self._forget_server)
                except (EOFError, OSError) as error:
                    if not tries_left:
                        self._gone(error)
        return self._fresh.start(job)

    def close(self) -> None:
        """Nothing to do: the server ends with this process and the last child."""

    def _forget_server(self) -> None:
        """It has ended: not `ready` before another one is."""
        self._warming = None

    def _warm_up(self) -> None:
        """The server answers once its imports are done: wait for a first child, which does nothing."""
        try:
            nothing = multiprocessing.get_context("forkserver").Process(target=int)
            nothing.start()
            nothing.join()
        except (EOFError, OSError) as error:
            self._gone(error)
        else:
            if nothing.exitcode and 0 < nothing.exitcode != _SERVER_GONE:
                self._works = False
                log.warning(_NO_GUARD, nothing.exitcode)

    def _gone(self, error: Exception) -> None:
        self._works = False
        log.warning("The fork server does not answer (%s): experiments start as fresh processes", error or "it ended")

    def _start_server(self) -> None:
        use_own_folder()
        multiprocessing.set_forkserver_preload(self._preload)
        with _environment(self._server_sees), _signals_blocked():
            multiprocessing.forkserver.ensure_running()


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Inside, a process that is started sees these; afterwards they are as they were."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        _set(before)


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Inside, a process that is started does not hear the terminal's Ctrl-C and the like."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _KEPT_FROM_SERVER)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


class Output:
    """A file descriptor on its way to a forked child, by way of the server."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Callable[[Any], Output], tuple[Any]]:
        return _output, (DupFd(self.number),)


def _output(handed_on: Any) -> Output:
    return Output(handed_on.detach())


def run_module(argv: tuple[str, ...], output: Output, variables: Mapping[str, str | None]) -> None:
    """In the forked child: become a process of its own, then do what `python -m` would.

    Args:
        argv: the module and its arguments.
        output: receives what it prints.
        variables: of the environment; None: not set.
    """
    os.setsid()
    redirect(output.number)
    os.close(output.number)
    _set(variables)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _KEPT_FROM_SERVER)
    if (parent := multiprocessing.parent_process()) is not None:  # the sweep; the kernel's would be the server
        watch(parent.join)
    module, *arguments = argv
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
