"""What a process prints, by any route, on its way to its log: through a pipe, and past what keeps secrets out.

Standard output and error of the process are a pipe at the level of file descriptors. So what libraries' own loggers, C
code, `os.write` and grandchildren print goes this way too. A thread of the process that starts jobs reads the pipe.
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

SECONDS_FOR_THE_REST = 2.0  # for a pipe to become empty after its process has ended
LONGEST_LINE = 1 << 20  # bytes; a longer line is taken as several
LONGEST_KEY = 1 << 14  # bytes of a private key, which is hidden as a whole
_CHUNK = 1 << 16
# Colours, cursor movements and titles: nothing for a file, and they could stand within a secret.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")


def redirect(output: int) -> None:
    """Send standard output and error of this process to a file descriptor, and have nothing on standard input.

    Python's streams are opened again: those that there are know whether the file that they were opened on can be
    sought in, and fail where a pipe has taken its place.
    """
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(nothing)
    open_streams()


class Log:
    """A pipe whose text goes to the end of a file, line by line and without secrets.

    Attributes:
        writer: the end of the pipe that a process gets. It is closed here when the block that starts it ends.
    """

    def __init__(self, file: Path) -> None:
        self._file = open_to_append(file)
        try:
            self._reader, self.writer = os.pipe()
        except OSError:
            os.close(self._file)
            raise
        os.set_blocking(self._reader, False)
        self._held = b""  # the start of a line
        self._lock = threading.Lock()  # of all that is read and written
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

    def settle(self) -> None:
        """Write all that the process has printed so far."""
        with self._lock:
            self._drain()

    def turn_to(self, file: Path) -> None:
        """Let what comes from now on go to another file."""
        following = open_to_append(file)
        with self._lock:
            self._drain()
            before, self._file = (following, self._file) if self._closed else (self._file, following)
            with suppress(OSError):
                os.close(before)

    def close(self) -> None:
        """The process has ended: write what is left in the pipe. Others that still hold the pipe are not waited for."""
        self._thread.join(SECONDS_FOR_THE_REST)
        self._ended = True
        self._thread.join()

    def _read(self) -> None:
        try:
            while not self._ended:
                if wait([self._reader], SECONDS_FOR_THE_REST / 4):
                    with self._lock:
                        self._ended |= self._take() == b""
        finally:
            with self._lock:
                self._drain()
                # From here on the two numbers may be those of other files.
                self._closed = True
                for number in (self._reader, self._file):
                    with suppress(OSError):  # what a full network disk says only now
                        os.close(number)

    def _drain(self) -> None:
        if self._closed:
            return
        while self._take():
            pass
        self._write(self._held)
        self._held = b""

    def _take(self) -> bytes | None:
        """Read what is there, and write its whole lines; empty at the end, None where nothing is there yet."""
        try:
            data = os.read(self._reader, _CHUNK)
        except BlockingIOError:
            return None
        self._held += data
        whole = _whole(self._held)
        self._write(self._held[:whole])
        self._held = self._held[whole:]
        return data

    def _write(self, data: bytes) -> None:
        text = _ESCAPES.sub("", data.decode("utf-8", "backslashreplace"))
        if not text:
            return
        with suppress(OSError):  # a full disk: lines are worth less than the work that they tell of
            shown = memoryview(redact_text(text).encode("utf-8", "backslashreplace"))
            while shown:
                shown = shown[os.write(self._file, shown) :]


def _whole(data: bytes) -> int:
    """How many bytes of it can be looked at by themselves: whole lines, but not the start of a private key."""
    end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
    if not end and len(data) > LONGEST_LINE:
        end = data.rfind(b" ") + 1 or len(data)
    begin = data.rfind(b"-----BEGIN ", 0, end)
    if begin >= 0 and b"-----END " not in data[begin:] and len(data) - begin < LONGEST_KEY:
        return begin
    return end
