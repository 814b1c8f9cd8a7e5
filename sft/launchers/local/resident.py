"""Run jobs that share data that is expensive to load one after the other in one process, which keeps the data.

Such a job names the data that it shares (`Job.shares`). Its module has a command `serve`, which reads requests from
standard input (`serving.py`). A process takes another job only after one that succeeded and left it fit. Other jobs,
and jobs that share nothing, get a new process.
"""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import suppress
from typing import Any

from sft.launchers.base import Job
from sft.launchers.local.spawn import FreshProcess, SpawnStarter, watched
from sft.launchers.local.streams import Log

SECONDS_TO_CLOSE = 5.0


class _Server:
    """A process that serves jobs, and the name of the data that they share."""

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
            raise OSError("a process started without its pipes")
        self._requests, self._answers = self.process.stdin, self.process.stdout
        os.set_blocking(self._answers.fileno(), False)
        self._buffer = b""

    def ask(self, job: Job) -> None:
        """Send another job to the process."""
        self._log.switch_to(job.log_file)
        request = {"argv": list(job.argv[3:]), "environment": dict(job.environment)}
        with suppress(BrokenPipeError):  # it has ended, which its exit code shows
            self._requests.write(json.dumps(request).encode() + b"\n")
            self._requests.flush()

    def answer(self) -> dict[str, Any] | None:
        """Return the answer to the last request, or None if it is not complete yet."""
        with suppress(BlockingIOError):
            self._buffer += os.read(self._answers.fileno(), 65536)
        if not self._buffer.endswith(b"\n"):
            return None
        answer, self._buffer = json.loads(self._buffer), b""
        self._log.flush()
        return dict(answer)

    def close(self) -> None:
        """Close the requests, so that the process ends."""
        with suppress(BrokenPipeError):
            self._requests.close()
        try:
            self.process.wait(SECONDS_TO_CLOSE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._answers.close()

    def close_log(self) -> None:
        """Complete the log of the last job of the ended process."""
        self._log.close()


class ServedJob:
    """A job in a process that may outlive it."""

    def __init__(self, server: _Server, starter: ResidentStarter) -> None:
        self._server, self._starter = server, starter
        self.pid = server.process.pid
        self._code: int | None = None
        self.lives_on = False

    def exit_code(self) -> int | None:
        """Return None while it runs, else the exit code of the job, or of the process if it ended without an answer."""
        if self._code is None:
            self._update()
        return self._code

    def close(self) -> None:
        """Complete the log if the process has ended."""
        if not self.lives_on:
            self._server.close_log()

    def _update(self) -> None:
        ended = self._server.process.poll()  # before reading the answer, which may have been its last action
        answer = self._server.answer()
        if answer is not None:
            self._code, self.lives_on = answer["exit_code"], answer["fit"]
            if self.lives_on:
                self._starter.idle.append(self._server)
            else:
                self._server.close()
        elif ended is not None:
            self._code = ended
            self._server.close()


class ResidentStarter:
    """Start jobs in processes that are kept for other jobs that share the same data."""

    def __init__(self) -> None:
        self.idle: list[_Server] = []
        self._fresh = SpawnStarter()

    def ready(self) -> bool:
        """Return True."""
        return True

    def start(self, job: Job) -> ServedJob | FreshProcess:
        """Send the job to an idle process with the same data, or to a new one after ending others on its devices."""
        if job.shares is None or not job.is_module:
            return self._fresh.start(job)
        shares = (job.shares, job.resources.devices)
        matching = [server for server in self.idle if server.shares == shares and server.process.poll() is None]
        if matching:
            server = matching[0]
            self.idle.remove(server)
        else:
            for other in [server for server in self.idle if server.shares[1] == job.resources.devices]:
                self.idle.remove(other)
                other.close()
                other.close_log()
            server = _Server(job)
        server.ask(job)
        return ServedJob(server, self)

    def close(self) -> None:
        """End the idle processes."""
        for server in self.idle:
            server.close()
            server.close_log()
        self.idle.clear()
