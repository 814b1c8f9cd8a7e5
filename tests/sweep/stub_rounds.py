"""Rounds of a stub sweep that is killed at a random moment and run again until it is done, with the checks of each.

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
MAX_RUNS = 8  # of a sweep, until it is done
SECONDS_FOR_ORPHANS = 5.0
VICTIMS = ("parent", "child", "child", "server")  # a child is twice as likely
TIMED = ("timings", "resources")


@dataclass
class Rounds:
    """A sweep that is disturbed repeatedly.

    Args:
        folder: folder for all files.
        isolation: how experiment processes are created.
        command: command of the sweep; None: stubs.
        stubs: number of stubs.
        slowest: latest time of a kill, as a share of the duration of an undisturbed sweep.
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
        """End the server."""
        if self.server is not None:
            self.server.close()

    def round(self, number: int, chance: random.Random, kind: str | None = None) -> None:
        """Kill a process once, let the same command finish, then check the results.

        If the sweep ended before the kill, the round starts again, so that each round has a victim.

        Args:
            number: number of the round's folder.
            chance: draws the time, and the victim if none is given.
            kind: kind of the victim, one of VICTIMS.
        """
        results = self.folder / f"round-{number}"
        while not self._disturb(results, chance, kind):
            self.missed += 1
            assert self.missed < 10 + 2 * (number + 1), f"{self.missed} sweeps had ended before they could be killed"
            shutil.rmtree(results)
            audit_of(results).unlink(missing_ok=True)
        for _ in range(MAX_RUNS):
            process = self._start(results)
            self.runs += 1
            if process.wait(120) == 0:
                break
        else:
            raise AssertionError(f"not done after {MAX_RUNS} more runs: {log_of(results)}")
        self._check(results)

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

    def _disturb(self, results: Path, chance: random.Random, kind: str | None) -> bool:
        """Start the sweep and kill it or one of its processes; return False if the sweep ended before."""
        process = self._start(results)
        time.sleep(chance.uniform(0.05, self.latest))
        kind = kind or chance.choice(VICTIMS)
        victim = None
        while kind != "parent" and victim is None and process.poll() is None:
            time.sleep(chance.uniform(0, 0.1))  # there may be no such process yet
            victim = chosen(process.pid, kind, chance)
        killed = False
        if process.poll() is None and (victim is not None or kind == "parent"):
            with suppress(psutil.NoSuchProcess):
                (victim or psutil.Process(process.pid)).kill()
                killed = True
        self.victims[kind] += killed
        process.wait(10 if killed and kind == "parent" else 120)
        self._wait_for_orphans()
        return killed

    def _wait_for_orphans(self) -> None:
        deadline = time.monotonic() + SECONDS_FOR_ORPHANS
        server = None if self.server is None else self.server.process.pid
        while left := [process for process in marked(self.marker) if process.pid != server]:
            assert time.monotonic() < deadline, f"still alive: {[process.cmdline() for process in left]}"
            time.sleep(0.02)

    def _check(self, results: Path) -> None:
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
    """`stub_sweep.py serve`: start sweeps as processes without the time for imports."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        command = [sys.executable, str(HERE / "stub_sweep.py"), "serve"]
        self.process = subprocess.Popen(command, stdin=PIPE, stdout=PIPE, env=dict(variables), text=True)

    def start(self, results: Path, arguments: Sequence[str], variables: Mapping[str, str], times: int = 1) -> Served:
        """Start a sweep, or several equal ones at once."""
        assert self.process.stdin is not None
        request = {
            "arguments": [str(results), *arguments], "output": str(output_of(results)), "environment": dict(variables),
            "times": times,
        }  # fmt: skip
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return Served(self.process)

    def close(self) -> None:
        """End the server."""
        self.process.communicate()


class Served:
    """A sweep started by a `Server`, like `Popen`: of several sweeps the first one, with the worst exit code."""

    def __init__(self, server: subprocess.Popen[str]) -> None:
        assert server.stdout is not None
        self._answers = server.stdout
        self.pids = [int(word) for word in self._answers.readline().split()]
        self.pid = self.pids[0]
        self._code: int | None = None

    def poll(self) -> int | None:
        """Return its exit code, or None while it runs."""
        if self._code is None and select.select([self._answers], [], [], 0)[0]:
            self._read()
        return self._code

    def _read(self) -> int:
        self.codes = [int(word) for word in self._answers.readline().split()]
        self._code = max(self.codes, key=abs)
        return self._code

    def wait(self, seconds: float) -> int:
        """Wait for its end and return its exit code."""
        if self._code is None:
            assert select.select([self._answers], [], [], seconds)[0], "the sweep never ended"
            return self._read()
        return self._code


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a stub sweep."""
    path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **more}


def chosen(parent: int, kind: str, chance: random.Random) -> psutil.Process | None:
    """Return the fork server or an experiment's process of the sweep with this process id."""
    with suppress(psutil.Error):
        descendants = psutil.Process(parent).children(recursive=True)
        servers = [p for p in descendants if p.ppid() == parent and "forkserver" in " ".join(p.cmdline())]
        tracker = [p for p in descendants if "resource_tracker" in " ".join(p.cmdline())]
        if kind == "server":
            return servers[0] if servers else None
        children = [p for p in descendants if p not in servers and p not in tracker]
        return chance.choice(children) if children else None
    return None


def marked(marker: str) -> list[psutil.Process]:
    """Return the processes with that marker in their environment, without zombies."""
    matches = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("SFT_ROUNDS") == marker:
                matches.append(process)
    return matches


def report_of(results: Path) -> dict[str, Any]:
    """Return the report without values that differ between two equal runs."""
    report: dict[str, Any] = json.loads((results / "aggregated_results.json").read_text(encoding="utf-8"))
    for run in report["runs"]:
        for key in TIMED:
            run.pop(key, None)
    return report


def audit_of(results: Path) -> Path:
    """Return the path of the stubs' audit log, outside the results."""
    return results.with_name(results.name + ".audit")


def audit_lines(results: Path) -> list[str]:
    """Return the lines of the audit log."""
    return audit_of(results).read_text().splitlines() if audit_of(results).exists() else []


def output_of(results: Path) -> Path:
    """Return the path of the sweeps' output."""
    return results.with_name(results.name + ".txt")


def log_of(results: Path) -> str:
    """Return the sweeps' output."""
    return output_of(results).read_text()


def start_sweep(results: Path, *arguments: str, stub: Mapping[str, str] | None = None, **more: str) -> Popen[str]:
    """Start a stub sweep in its own session, with all signals unblocked; `stub`: name -> behaviour."""
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
    """Wait until the audit log has `times` lines that start with a word, and return them."""
    deadline = time.monotonic() + seconds
    while len(matches := [line for line in audit_lines(results) if line.split()[0] == word]) < times:
        assert time.monotonic() < deadline, f"{word}: {matches}"
        time.sleep(0.01)
    return matches


def audited_pids(results: Path) -> set[int]:
    """Return every process id in the audit log: the stubs and their children."""
    return {int(word) for line in audit_lines(results) for word in line.split()[1:] if word.isdecimal()}


def alive(pids: Iterable[int]) -> list[int]:
    """Return the process ids that are alive, without zombies."""
    matches = []
    for pid in pids:
        with suppress(psutil.Error):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                matches.append(pid)
    return matches


def wait_until_gone(pids: Iterable[int], seconds: float) -> None:
    """Fail if a process is still alive after some seconds."""
    deadline = time.monotonic() + seconds
    while left := alive(pids):
        assert time.monotonic() < deadline, f"still alive: {left}"
        time.sleep(0.02)


def states_of(results: Path) -> dict[str, dict[str, Any]]:
    """Return `state.json` by the experiment's name."""
    return {
        path.parent.name.rpartition("-")[0]: json.loads(path.read_text()) for path in results.glob("runs/*/state.json")
    }
