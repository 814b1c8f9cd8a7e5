"""Signals end the process cleanly; inside `checkpointing` those of schedulers wait."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from sft import signals

NUMBERS = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in NUMBERS}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signals.install_handlers()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def code_of(number: signal.Signals) -> object:
    with pytest.raises(SystemExit) as caught:
        signal.raise_signal(number)
    return caught.value.code


def test_each_signal_ends_the_process_immediately() -> None:
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        assert code_of(number) == 128 + number


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_signals_of_schedulers_wait_for_the_checkpoint(number: signal.Signals) -> None:
    reached = []
    with pytest.raises(SystemExit) as caught, signals.checkpointing():
        assert signals.requested() is None
        signal.raise_signal(number)
        assert signals.requested() == number
        reached.append(True)
    assert reached and caught.value.code == 128 + number
    assert signals.requested() is None
    with signals.checkpointing():  # that one has been answered
        assert signals.requested() is None
    assert code_of(number) == 128 + number


def test_a_termination_does_not_wait_and_a_failure_is_not_hidden() -> None:
    with signals.checkpointing():
        assert code_of(signal.SIGTERM) == 128 + signal.SIGTERM
    with pytest.raises(KeyError), signals.checkpointing():
        signal.raise_signal(signal.SIGUSR1)
        raise KeyError("a bug")
    assert code_of(signal.SIGUSR1) == 128 + signal.SIGUSR1


@pytest.mark.parametrize(("ignored", "code"), [(False, 128 + signal.SIGHUP), (True, 0)])
def test_a_closed_terminal_ends_the_process_unless_started_by_nohup(ignored: bool, code: int) -> None:
    program = (
        "import signal; from sft import signals\n"
        f"signal.signal(signal.SIGHUP, signal.SIG_IGN if {ignored} else signal.SIG_DFL)\n"
        "signals.install_handlers(); signal.raise_signal(signal.SIGHUP)"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == code


def test_it_imports_nothing_heavy() -> None:
    program = "import sys, sft.signals, sft.memory; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0
