"""Write everything that a process prints to its log, through a pipe and without secrets.

Standard output and error of the process are a pipe at the level of file descriptors. So the output of library loggers,
C code, `os.write` and grandchildren goes through it too. A thread of the process that starts jobs reads the pipe.
"""

from __future__ import annotations

import os
import re
import threading
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path

from sft.io import open_to_append
from sft.log import open_streams
from sft.secrets import redact_text

SECONDS_TO_DRAIN = 2.0  # for a pipe to become empty after its process has ended
LONGEST_LINE = 1 << 20  # bytes; a longer line is split
LONGEST_KEY = 1 << 14  # bytes of a private key, which is redacted as a whole
_CHUNK = 1 << 16
# Colours, cursor movements and titles do not belong in a file, and they could split a secret.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")


def redirect(output: int) -> None:
    """Send standard output and error of this process to a file descriptor, and make standard input empty.

    Python's streams are opened again: the old ones remember whether their file was seekable, and fail if a pipe
    replaces it.
    """
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(null)
    open_streams()


class Log:
    """A pipe whose text is appended to a file, line by line and without secrets.

    Attributes:
        writer: end of the pipe for the process. It is closed here when the `with` block that starts the process ends.
    """

    def __init__(self, file: Path) -> None:
        self._file = open_to_append(file)
        try:
            self._reader, self.writer = os.pipe()
        except OSError:
            os.close(self._file)
            raise
        os.set_blocking(self._reader, False)
        self._pending = b""  # an incomplete line
        self._lock = threading.Lock()  # for reading and writing
        self._ended = False
        self._closed = False
        self._thread = threading.Thread(target=self._read, name=f"log {file.parent.name}", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            for number in (self._file, self._reader, self.writer):
                os.close(number)
            raise

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.writer)

    def flush(self) -> None:
        """Write everything that the process has printed so far."""
        with self._lock:
            self._drain()

    def switch_to(self, file: Path) -> None:
        """Write all further output to another file."""
        opened = open_to_append(file)
        with self._lock:
            self._drain()
            unused, self._file = (opened, self._file) if self._closed else (self._file, opened)
            with suppress(OSError):
                os.close(unused)

    def close(self) -> None:
        """Write the rest of the pipe after the process has ended. Do not wait for others that hold the pipe."""
        self._thread.join(SECONDS_TO_DRAIN)
        self._ended = True
        self._thread.join()

    def _read(self) -> None:
        try:
            while not self._ended:
                if wait([self._reader], SECONDS_TO_DRAIN / 4):
                    with self._lock:
                        self._ended |= self._take() == b""
        finally:
            with self._lock:
                self._drain()
                # From here on, the two file descriptors may be reused for other files.
                self._closed = True
                for number in (self._reader, self._file):
                    with suppress(OSError):  # a full network disk may report it only now
                        os.close(number)

    def _drain(self) -> None:
        if self._closed:
            return
        while self._take():
            pass
        self._write(self._pending)
        self._pending = b""

    def _take(self) -> bytes | None:
        """Read and return available data (empty at the end of the pipe, else None) and write its complete lines."""
        try:
            data = os.read(self._reader, _CHUNK)
        except BlockingIOError:
            return None
        self._pending += data
        complete = _complete(self._pending)
        self._write(self._pending[:complete])
        self._pending = self._pending[complete:]
        return data

    def _write(self, data: bytes) -> None:
        text = _ESCAPES.sub("", data.decode("utf-8", "backslashreplace"))
        if not text:
            return
        with suppress(OSError):  # a full disk must not fail the job
            redacted = memoryview(redact_text(text).encode("utf-8", "backslashreplace"))
            while redacted:
                redacted = redacted[os.write(self._file, redacted) :]


def _complete(data: bytes) -> int:
    """Return how many bytes can be written: complete lines, without the start of an incomplete private key."""
    end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
    if not end and len(data) > LONGEST_LINE:
        end = data.rfind(b" ") + 1 or len(data)
    begin = data.rfind(b"-----BEGIN ", 0, end)
    if begin >= 0 and b"-----END " not in data[begin:] and len(data) - begin < LONGEST_KEY:
        return begin
    return end
