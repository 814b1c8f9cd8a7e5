"""Jobs that share something dear to load run one after the other in one process, which keeps it.

Such a job names what it shares (`Job.shares`). Its module offers a command `serve`, which reads requests on standard
input (`serving.py`). A process takes another job only after one that went well and left it fit; every other job, and
those that share nothing, get a process of their own.
"""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import suppress
from typing import Any

from sft.launchers.base import Job
from sft.launchers.local.spawn import FreshProcess, Spawning, watched
from sft.launchers.local.streams import Log

SECONDS_TO_CLOSE = 5.0


class _Server:
    """A process that serves, and what its jobs share."""

    def __init__(self, job: Job) -> None:
        self.shares = (job.shares, job.resources.devices)
        with Log(job.log_file) as self._log:
            self.process = subprocess.Popen(  # noqa: S603 - argv list, no shell
                watched((*job.argv[:3], "serve")),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log.writer,
                env={**os.environ, **job.resources.environment()},
                start_new_session=True,
            )
        if self.process.stdin is None or self.process.stdout is None:
            raise OSError("a process was started without its pipes")
        self._requests, self._answers = self.process.stdin, self.process.stdout
        os.set_blocking(self._answers.fileno(), False)
        self._read = b""

    def ask(self, job: Job) -> None:
        """Have it do another job."""
        self._log.turn_to(job.log_file)
        request = {"argv": list(job.argv[3:]), "environment": dict(job.environment)}
        with suppress(BrokenPipeError):  # it has ended: its exit code tells
            self._requests.write(json.dumps(request).encode() + b"\n")
            self._requests.flush()

    def answer(self) -> dict[str, Any] | None:
        """What it has answered to the last request; None where it has not, or not yet to its end."""
        with suppress(BlockingIOError):
            self._read += os.read(self._answers.fileno(), 65536)
        if not self._read.endswith(b"\n"):
            return None
        answer, self._read = json.loads(self._read), b""
        self._log.settle()
        return dict(answer)

    def close(self) -> None:
        """No more requests: it ends by itself."""
        with suppress(BrokenPipeError):
            self._requests.close()
        try:
            self.process.wait(SECONDS_TO_CLOSE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._answers.close()

    def close_log(self) -> None:
        """It has ended: have all that it printed in the log of its last job."""
        self._log.close()


class ServedJob:
    """A job in a process that may outlive it."""

    def __init__(self, server: _Server, keeper: Keeping) -> None:
        self._server, self._keeper = server, keeper
        self.pid = server.process.pid
        self._code: int | None = None
        self.lives_on = False

    def exit_code(self) -> int | None:
        """None while it runs; that of the process where it ended without an answer."""
        if self._code is None:
            self._look()
        return self._code

    def close(self) -> None:
        """Have all that it printed in its log."""
        if not self.lives_on:
            self._server.close_log()

    def _look(self) -> None:
        ended = self._server.process.poll()  # before the answer is read: it may have been the last thing it did
        answer = self._server.answer()
        if answer is not None:
            self._code, self.lives_on = answer["exit_code"], answer["fit"]
            if self.lives_on:
                self._keeper.idle.append(self._server)
            else:
                self._server.close()
        elif ended is not None:
            self._code = ended
            self._server.close()


class Keeping:
    """Starts jobs in processes that are kept for those that share the same."""

    def __init__(self) -> None:
        self.idle: list[_Server] = []
        self._fresh = Spawning()

    def ready(self) -> bool:
        """Always."""
        return True

    def start(self, job: Job) -> ServedJob | FreshProcess:
        """Hand it to an idle process that fits, else to a new one, for which others on the same devices make room."""
        if job.shares is None or not job.is_module:
            return self._fresh.start(job)
        shares = (job.shares, job.resources.devices)
        fitting = [server for server in self.idle if server.shares == shares and server.process.poll() is None]
        if fitting:
            server = fitting[0]
            self.idle.remove(server)
        else:
            for other in [one for one in self.idle if one.shares[1] == job.resources.devices]:
                self.idle.remove(other)
                other.close()
                other.close_log()
            server = _Server(job)
        server.ask(job)
        return ServedJob(server, self)

    def close(self) -> None:
        """End the processes that wait for more."""
        for server in self.idle:
            server.close()
            server.close_log()
        self.idle.clear()
