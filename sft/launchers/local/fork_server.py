"""Start a job as a fork of a server process that has done the slow imports, in a few hundredths of a second.

Python's fork server does the forking. The server only imports modules: a child forked after a parallel region would
hang, and one forked after the initialisation of CUDA could not use it, so the server sees no device. Each child has its
own session, log, environment, memory and devices. It ends when the process that requested it ends.

Only jobs of the form `python -m MODULE ARGUMENTS` can be forked. Other jobs, and jobs that are not `forkable`, start as
new processes.
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
from sft.launchers.local.spawn import FreshProcess, SpawnStarter
from sft.launchers.local.streams import Log, redirect
from sft.log import get_logger

log = get_logger(__name__)

_SERVER_GONE = 255  # multiprocessing's exit code for a child whose server has ended
# In a child, multiprocessing first imports the program that requested it.
_NO_GUARD = (
    "A forked process ended with exit code %s before its job started; start the sweep under "
    '`if __name__ == "__main__":`. Experiments now start as new processes'
)
_TRIES = 2  # attempts to fork: the server may have just ended
# A terminal or a scheduler sends these to the whole process group of the sweep. They must not end the server.
_KEPT_FROM_SERVER = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
# PYTHONSAFEPATH is like -P, for processes whose command line multiprocessing sets.
_SERVER_ENVIRONMENT = {"CUDA_VISIBLE_DEVICES": "", "PYTORCH_NVML_BASED_CUDA_CHECK": "1", "PYTHONSAFEPATH": "1"}


class ForkedProcess:
    """A child of the fork server.

    Args:
        job: the job to run.
        server_gone: called when the server has ended.
    """

    lives_on = False

    def __init__(self, job: Job, server_gone: Callable[[], None]) -> None:
        self._server_gone = server_gone
        context = multiprocessing.get_context("forkserver")
        inherited = {name: os.environ.get(name) for name in _SERVER_ENVIRONMENT}
        with Log(job.log_file) as self._log:
            arguments = (job.argv[2:], Output(self._log.writer), {**inherited, **job.variables})
            self._process: ForkServerProcess = context.Process(target=run_module, args=arguments)
            self._process.start()
        self.pid = self._process.pid or 0

    def exit_code(self) -> int | None:
        """Return None while it runs, a negative number for the signal that ended it, or 255 if the server has ended.

        Without the server the exit code of a child is unknown, so the child is ended.
        """
        code = self._process.exitcode
        if code == _SERVER_GONE:
            self._server_gone()
            with suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, signal.SIGKILL)
        return code

    def close(self) -> None:
        """Complete the log of the ended process."""
        self._log.close()


class ForkStarter:
    """Start each job as a fork of the server, which starts on first use.

    Args:
        preload: modules that the server imports; a missing one fails only in the child that needs it.
        threads: threads of parallel regions in the children. Libraries read it when the server imports them.
    """

    def __init__(self, preload: Sequence[str] = (), threads: int | None = None) -> None:
        self._preload = ["sft.launchers.local.silence", *preload, "sft.launchers.local.freeze"]
        self._server_environment = {**_SERVER_ENVIRONMENT, **Resources(threads=threads).environment()}
        self._warming: threading.Thread | None = None
        self._works = True
        self._fresh = SpawnStarter()

    def ready(self) -> bool:
        """Return whether the server's imports are done. The first call starts the server."""
        if self._works and self._warming is None:
            warming = threading.Thread(target=self._warm_up, name="fork server", daemon=True)
            try:
                self._start_server()
                warming.start()
            except (
                OSError,
                RuntimeError,
            ) as error:  # TMPDIR is too long for a socket address, or there are too many threads
                if isinstance(error, RuntimeError) and NoProcessError.of(error) is None:
                    raise
                self._gone(error)
                return True
            self._warming = warming
        return self._warming is None or not self._warming.is_alive()

    def start(self, job: Job) -> ForkedProcess | FreshProcess:
        """Fork the job, after waiting for the server to be `ready`. Start a new process if the server does not work."""
        if not (job.is_module and job.forkable):
            return self._fresh.start(job)
        while not self.ready():
            time.sleep(0.02)
        if self._works:
            for tries_left in reversed(range(_TRIES)):
                try:
                    self._start_server()  # again, if it has ended
                    return ForkedProcess(job, self._forget_server)
                except (EOFError, OSError) as error:
                    if not tries_left:
                        self._gone(error)
        return self._fresh.start(job)

    def close(self) -> None:
        """Do nothing. The server ends with this process and the last child."""

    def _forget_server(self) -> None:
        """After the server has ended, be `ready` only when a new one is."""
        self._warming = None

    def _warm_up(self) -> None:
        """Wait for a first, empty child. The server starts it once its imports are done."""
        try:
            empty = multiprocessing.get_context("forkserver").Process(target=int)
            empty.start()
            empty.join()
        except (EOFError, OSError) as error:
            self._gone(error)
        else:
            if empty.exitcode and 0 < empty.exitcode != _SERVER_GONE:
                self._works = False
                log.warning(_NO_GUARD, empty.exitcode)

    def _gone(self, error: Exception) -> None:
        self._works = False
        log.warning("The fork server failed (%s). Experiments now start as new processes", error or "it ended")

    def _start_server(self) -> None:
        use_own_folder()
        multiprocessing.set_forkserver_preload(self._preload)
        with _environment(self._server_environment), _signals_blocked():
            multiprocessing.forkserver.ensure_running()


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for processes started inside, and restore them afterwards."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        _set(before)


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Block Ctrl-C and similar signals in processes started inside."""
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
    """A file descriptor that is passed to a forked child through the server."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Callable[[Any], Output], tuple[Any]]:
        return _output, (DupFd(self.number),)


def _output(duplicate: Any) -> Output:
    return Output(duplicate.detach())


def run_module(argv: tuple[str, ...], output: Output, variables: Mapping[str, str | None]) -> None:
    """Detach the forked child into its own session, then run the module like `python -m`.

    Args:
        argv: the module and its arguments.
        output: receives everything that the module prints.
        variables: environment variables; None: not set.
    """
    os.setsid()
    redirect(output.number)
    os.close(output.number)
    _set(variables)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _KEPT_FROM_SERVER)
    if (parent := multiprocessing.parent_process()) is not None:  # the sweep; for the kernel the parent is the server
        watch(parent.join)
    module, *arguments = argv
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
