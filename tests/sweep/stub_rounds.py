"""Rounds of a stub sweep that is killed at a random moment and run again until it is done; and how each is judged.

Used by `test_kill.py` with few rounds and by `scripts/bench/kill.py` with many.
"""

from __future__ import annotations

import json
import os
import random
import select
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import psutil

HERE = Path(__file__).resolve().parent
MOST_RUNS = 8  # of one sweep, until it is done
SECONDS_FOR_ORPHANS = 5.0
VICTIMS = ("parent", "child", "child", "server")  # a child is twice as likely
TIMED = ("timings", "resources")


@dataclass
class Rounds:
    """A sweep that is disturbed again and again.

    Args:
        folder: everything lies in it.
        isolation: how experiments are started.
        command: the sweep's; None: stubs.
        stubs: the number of stubs.
        slowest: the latest moment of a kill, as a share of the seconds that an undisturbed sweep takes.
    """

    folder: Path
    isolation: str = "fork"
    command: Sequence[str] | None = None
    stubs: int = 12
    slowest: float = 0.8
    victims: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    missed: int = 0

    def __post_init__(self) -> None:
        self.marker = f"{os.getpid()}-{time.monotonic_ns()}"
        self.server = Server(environment(SFT_ROUNDS=self.marker)) if self.command is None else None
        undisturbed = self._start(self.folder / "undisturbed")
        start = time.monotonic()
        assert undisturbed.wait(120) == 0, log_of(self.folder / "undisturbed")
        self.latest = self.slowest * (time.monotonic() - start)
        self.expected = report_of(self.folder / "undisturbed")

    def close(self) -> None:
        """No more rounds."""
        if self.server is not None:
            self.server.close()

    def round(self, number: int, chance: random.Random, whom: str | None = None) -> None:
        """Kill something once, then run the same command until it is done, and check the results.

        A round that kills nobody, because the sweep ended first, is repeated.

        Args:
            number: names the round's folder.
            chance: draws the moment, and the victim where none is given.
            whom: the kind of victim, one of VICTIMS.
        """
        results = self.folder / f"round-{number}"
        while not self._disturb(results, chance, whom):
            self.missed += 1
            assert self.missed < 10 + 2 * (number + 1), f"{self.missed} sweeps had ended before they could be killed"
            shutil.rmtree(results)
            audit_of(results).unlink(missing_ok=True)
        for _ in range(MOST_RUNS):
            process = self._start(results)
            self.runs += 1
            if process.wait(120) == 0:
                break
        else:
            raise AssertionError(f"not done after {MOST_RUNS} more runs: {log_of(results)}")
        self._judge(results)

    def _start(self, results: Path) -> subprocess.Popen[bytes] | Served:
        results.mkdir(parents=True, exist_ok=True)
        audit = {"STUB_AUDIT": str(audit_of(results))}
        if self.server is not None:
            arguments = ["--number", str(self.stubs), "--jobs", "6", "--isolation", self.isolation]
            return self.server.start(results, arguments, audit)
        with output_of(results).open("ab") as output:
            return subprocess.Popen(
                [str(results) if word == "RESULTS" else word for word in self.command or ()],
                stdout=output,
                stderr=output,
                env=environment(SFT_ROUNDS=self.marker, **audit),
            )

    def _disturb(self, results: Path, chance: random.Random, whom: str | None) -> bool:
        """Start the sweep and kill it or one of its processes at some moment; False where it had ended before."""
        process = self._start(results)
        time.sleep(chance.uniform(0.05, self.latest))
        whom = whom or chance.choice(VICTIMS)
        victim = None
        while whom != "parent" and victim is None and process.poll() is None:
            time.sleep(chance.uniform(0, 0.1))  # there may be no such process yet
            victim = chosen(process.pid, whom, chance)
        killed = False
        if process.poll() is None and (victim is not None or whom == "parent"):
            with suppress(psutil.NoSuchProcess):
                (victim or psutil.Process(process.pid)).kill()
                killed = True
        self.victims[whom] += killed
        process.wait(10 if killed and whom == "parent" else 120)
        self._wait_for_orphans()
        return killed

    def _wait_for_orphans(self) -> None:
        deadline = time.monotonic() + SECONDS_FOR_ORPHANS
        server = None if self.server is None else self.server.process.pid
        while left := [one for one in marked(self.marker) if one.pid != server]:
            assert time.monotonic() < deadline, f"still there: {[one.cmdline() for one in left]}"
            time.sleep(0.02)

    def _judge(self, results: Path) -> None:
        assert report_of(results) == self.expected
        accepted = Counter(line.split()[1] for line in audit_lines(results) if line.startswith("accepted"))
        assert set(accepted.values()) <= {1}, accepted
        assert not [line for line in audit_lines(results) if line.startswith("twice")]
        assert not list(results.glob(".locks/*"))
        assert not list(results.glob("runs/*/.*")), list(results.glob("runs/*/.*"))
        assert len(list(results.glob("runs/*/result.json"))) == len(self.expected["runs"])
        assert not (results / "quarantine").exists()
        states = {json.loads(path.read_text())["state"] for path in results.glob("runs/*/state.json")}
        assert states == {"done"}, states
        self._wait_for_orphans()


class Server:
    """`stub_sweep.py serve`: sweeps as processes of their own, without the seconds that imports take."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        command = [sys.executable, str(HERE / "stub_sweep.py"), "serve"]
        self.process = subprocess.Popen(command, stdin=PIPE, stdout=PIPE, env=dict(variables), text=True)

    def start(self, results: Path, arguments: Sequence[str], variables: Mapping[str, str], times: int = 1) -> Served:
        """One sweep, or several of the same at once."""
        assert self.process.stdin is not None
        request = {
            "arguments": [str(results), *arguments], "output": str(output_of(results)), "environment": dict(variables),
            "times": times,
        }  # fmt: skip
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return Served(self.process)

    def close(self) -> None:
        """No more sweeps."""
        self.process.communicate()


class Served:
    """What a `Server` has started, with what is needed of `Popen`: of several sweeps the first, and the worst code."""

    def __init__(self, server: subprocess.Popen[str]) -> None:
        assert server.stdout is not None
        self._answers = server.stdout
        self.pids = [int(word) for word in self._answers.readline().split()]
        self.pid = self.pids[0]
        self._code: int | None = None

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""
        if self._code is None and select.select([self._answers], [], [], 0)[0]:
            self._read()
        return self._code

    def _read(self) -> int:
        self.codes = [int(word) for word in self._answers.readline().split()]
        self._code = max(self.codes, key=abs)
        return self._code

    def wait(self, seconds: float) -> int:
        """Its exit code, once it has ended."""
        if self._code is None:
            assert select.select([self._answers], [], [], seconds)[0], "the sweep never ended"
            return self._read()
        return self._code


def environment(**more: str) -> dict[str, str]:
    """Of a stub sweep."""
    path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **more}


def chosen(parent: int, whom: str, chance: random.Random) -> psutil.Process | None:
    """The fork server, or a child that is an experiment, of the sweep with that process id."""
    with suppress(psutil.Error):
        below = psutil.Process(parent).children(recursive=True)
        servers = [one for one in below if one.ppid() == parent and "forkserver" in " ".join(one.cmdline())]
        tracker = [one for one in below if "resource_tracker" in " ".join(one.cmdline())]
        if whom == "server":
            return servers[0] if servers else None
        children = [one for one in below if one not in servers and one not in tracker]
        return chance.choice(children) if children else None
    return None


def marked(marker: str) -> list[psutil.Process]:
    """The processes that were started with that mark in their environment, zombies aside."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("SFT_ROUNDS") == marker:
                found.append(process)
    return found


def report_of(results: Path) -> dict[str, Any]:
    """The report without what differs between two runs of the same."""
    report: dict[str, Any] = json.loads((results / "aggregated_results.json").read_text(encoding="utf-8"))
    for run in report["runs"]:
        for key in TIMED:
            run.pop(key, None)
    return report


def audit_of(results: Path) -> Path:
    """The stubs' own account, outside the results."""
    return results.with_name(results.name + ".audit")


def audit_lines(results: Path) -> list[str]:
    """Its lines."""
    return audit_of(results).read_text().splitlines() if audit_of(results).exists() else []


def output_of(results: Path) -> Path:
    """What the sweeps printed."""
    return results.with_name(results.name + ".txt")


def log_of(results: Path) -> str:
    """The same as text."""
    return output_of(results).read_text()


def start_sweep(results: Path, *arguments: str, stub: Mapping[str, str] | None = None, **more: str) -> Popen[str]:
    """A stub sweep as a process in a session of its own, which hears all signals; `stub`: name -> behaviour."""
    results.mkdir(parents=True, exist_ok=True)
    variables = {"STUB": json.dumps(dict(stub or {})), "STUB_AUDIT": str(audit_of(results)), **more}
    return subprocess.Popen(
        [sys.executable, str(HERE / "stub_sweep.py"), str(results), *arguments],
        stdout=PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(**variables),
        start_new_session=True,
    )


def wait_for_audit(results: Path, word: str, times: int = 1, seconds: float = 30) -> list[str]:
    """The lines of the stubs' account that begin with that word, once there are so many."""
    deadline = time.monotonic() + seconds
    while len(found := [line for line in audit_lines(results) if line.split()[0] == word]) < times:
        assert time.monotonic() < deadline, f"{word}: {found}"
        time.sleep(0.01)
    return found


def audited_pids(results: Path) -> set[int]:
    """Every process that the stubs told of: themselves and their children."""
    return {int(word) for line in audit_lines(results) for word in line.split()[1:] if word.isdecimal()}


def alive(pids: Iterable[int]) -> list[int]:
    """Those that still are, zombies aside."""
    found = []
    for pid in pids:
        with suppress(psutil.Error):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
    return found


def wait_until_gone(pids: Iterable[int], seconds: float) -> None:
    """Fail where one still is after so long."""
    deadline = time.monotonic() + seconds
    while left := alive(pids):
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(0.02)


def states_of(results: Path) -> dict[str, dict[str, Any]]:
    """`state.json` by the experiment's name."""
    return {
        path.parent.name.rpartition("-")[0]: json.loads(path.read_text()) for path in results.glob("runs/*/state.json")
    }
