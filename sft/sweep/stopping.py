"""Record the signals that end a sweep instead of raising, so that every step completes and every child is ended."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from sft.signals import leave_terminal

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
SAVING = (signal.SIGUSR1, signal.SIGUSR2)  # from a scheduler: save and stop
# An upper limit, as the grace period of the scheduler is unknown. SIGINT or SIGTERM ends the wait.
GRACE_SECONDS = {signal.SIGUSR1: 600.0, signal.SIGUSR2: 600.0}
SHORT_GRACE_SECONDS = 4.0


class StopSignals:
    """Record signals inside the context. Signals that were ignored before stay ignored."""

    def __init__(self) -> None:
        self.first: signal.Signals | None = None
        self.hurried = False
        self._before: dict[signal.Signals, Any] = {}

    @property
    def asked(self) -> bool:
        """Return whether a signal has arrived."""
        return self.first is not None

    @property
    def exit_code(self) -> int:
        """Return 128 plus the signal's number; 0 without a signal."""
        return 0 if self.first is None else 128 + self.first

    @property
    def for_children(self) -> signal.Signals:
        """Return the signal to send to running experiments."""
        return self.first if self.first in SAVING else signal.SIGTERM

    @property
    def grace(self) -> float:
        """Return the seconds that running experiments get to end."""
        return SHORT_GRACE_SECONDS if self.first is None else GRACE_SECONDS.get(self.first, SHORT_GRACE_SECONDS)

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():  # Python handles signals only in the main thread
            for number in SIGNALS:
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        if number == signal.SIGHUP:
            leave_terminal()
        if self.first is None:
            self.first = signal.Signals(number)
        elif number in (signal.SIGINT, signal.SIGTERM):
            self.hurried = True
