"""Send SIGKILL at random moments, many times, and check that no result is lost or repeated and no process is left.

    python scripts/bench/kill.py [--rounds 200] [--real 10] [--seed 1] [--tests]

The rounds are those of `tests/sweep/test_kill.py`, in both isolations, and `--real` rounds that really train the demo
model. A failed round raises an error and keeps its folder. `--tests` also runs the long variants of the tests of
faults, damage, concurrent sweeps and hanging processes. It writes sections of RESULTS.md.
"""

from __future__ import annotations

import argparse
import importlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from record import write_section

ROOT = Path(__file__).resolve().parents[2]
SPAWNED_SHARE = 10  # every tenth round starts each experiment as a new process
LONG_TESTS = {
    "a fault at every open, write, fsync, close and rename; a full disk": "sweep/test_faults.py",
    "results truncated at every length, every bit flipped, 1,000 random bits": "results/test_sealed.py",
    "eight sweeps at once on one folder, 20 rounds; one killed while others wait": "sweep/test_together.py",
    "20 hanging process trees, both isolations; memory limits; crashes": "sweep/test_timeouts.py",
    "signals, both isolations": "sweep/test_stop.py",
}


class Tally(NamedTuple):
    """Outcome of some rounds."""

    what: str
    rounds: int
    victims: Counter[str]
    runs: int
    seconds: float


def play(what: str, number: int, seed: int, **settings: Any) -> Tally:
    """Play rounds.

    Raises:
        AssertionError: a round failed.
    """
    sys.path.insert(0, str(ROOT / "tests" / "sweep"))
    rounds_of = importlib.import_module("stub_rounds")
    folder, start = Path(tempfile.mkdtemp(prefix="sft-kill-")), time.monotonic()
    print(f"{what}: {number} rounds in {folder}", flush=True)
    rounds, chance = rounds_of.Rounds(folder, **settings), random.Random(seed)
    try:
        for index in range(number):
            rounds.round(index, chance)
            if number < 20 or index % 20 == 19:
                print(f"  {index + 1} of {number}: {dict(rounds.victims)}", flush=True)
    finally:
        rounds.close()
    shutil.rmtree(folder, ignore_errors=True)
    return Tally(what, number, rounds.victims, rounds.runs, time.monotonic() - start)


def demo_grid(folder: Path) -> Path:
    """Write a small version of the demo grid: six experiments that train for a few steps."""
    base: dict[str, Any] = {
        "dataset": {
            "path": str(ROOT / "etc/demo/data/sentiment"), "task_type": "classification", "max_n_test": 20,
        },
        "model": {"name": str(ROOT / "etc/demo/model")},
        "lora": {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"},
        "prompting": {"instruction": "Label this review.", "input_columns": ["text"], "output_column": "label"},
        "training": {"trainer_args": {"max_steps": 6, "per_device_train_batch_size": 4, "learning_rate": 3e-3}},
        "inference": {"batch_size": 10, "max_seq_length": 512},
    }  # fmt: skip
    configs = {f"shots={n}": {**base, "dataset": {**base["dataset"], "shots": n}} for n in (2, 4, 8)}
    grid = folder / "grid.json"
    grid.write_text(json.dumps({"configs": configs}), encoding="utf-8")
    return grid


def real_command(folder: Path) -> list[str]:
    """Return the command of the small demo sweep; RESULTS is replaced by the results folder."""
    options = ["--seeds", "13,14", "--jobs", "2", "--results-path", "RESULTS"]
    return [sys.executable, "-m", "sft.cli", "run-experiments", str(demo_grid(folder)), *options]


def lines(tallies: Sequence[Tally]) -> list[str]:
    """Return the outcomes as a Markdown table."""
    rows = [
        f"| {t.what} | {t.rounds} | {', '.join(f'{n} {kind}' for kind, n in sorted(t.victims.items()))} "
        f"| {t.runs} | 0 | {t.seconds:.0f} |"
        for t in tallies
    ]
    return [
        "A sweep is started, one of its processes is killed with SIGKILL at a random moment, and the same command is",
        "run until it is done. A round is wrong if the report differs from that of an undisturbed sweep (except for",
        "timings), a result is written twice or lost, a process is alive after 5 s, or a lock or incomplete file is",
        "left. Each round has its victim: if the sweep ended before the kill, the round started again.",
        "",
        "| sweep | rounds | killed | sweeps run again | wrong | seconds |",
        "|---|---|---|---|---|---|",
        *rows,
    ]


def long_tests() -> list[str]:
    """Run the long variants of the tests one after the other; return a table of their outcomes.

    Raises:
        subprocess.CalledProcessError: a test failed.
    """
    rows = []
    for what, file in LONG_TESTS.items():
        command = [sys.executable, "-m", "pytest", str(ROOT / "tests" / file), "-m", "long or not long"]
        answer = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        rows.append(f"| {what} | {answer.stdout.splitlines()[-1].strip('= ')} |")
        print(rows[-1], flush=True)
    return ["| test | outcome |", "|---|---|", *rows]


def main() -> None:
    """Play the rounds and write their outcomes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--real", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tests", action="store_true")
    options = parser.parse_args()
    spawned = options.rounds // SPAWNED_SHARE
    tallies = []
    if forked := options.rounds - spawned:
        tallies.append(play("12 stubs, forked", forked, options.seed))
    if spawned:
        tallies.append(play("12 stubs, new processes", spawned, options.seed, isolation="spawn"))
    if tallies:
        write_section("Kill -9 at random moments: stubs", lines(tallies))
    if options.real:
        command = real_command(Path(tempfile.mkdtemp(prefix="sft-kill-grid-")))
        tally = play("6 demo trainings, forked", options.real, options.seed, command=command)
        write_section("Kill -9 at random moments: real training", lines([tally]))
    if options.tests:
        write_section("Faults, damage, concurrent sweeps, hanging processes", long_tests())


if __name__ == "__main__":
    main()
