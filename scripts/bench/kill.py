"""Kill -9 at random moments, many times: nothing lost, nothing twice, nobody left. Writes a section of RESULTS.md.

    python scripts/bench/kill.py [--rounds 200] [--real 10] [--seed 1] [--tests]

The rounds are those of `tests/sweep/test_kill.py`, in both isolations; `--real`: rounds with true training of the demo
model. A round that goes wrong ends it with an error, and its folder stays. `--tests`: also the long forms of the tests
of faults, damage, sweeps side by side and hung processes, with their outcome.
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
SPAWNED_SHARE = 10  # one round in so many starts each experiment afresh
LONG_TESTS = {
    "a fault at every open, write, fsync, close and rename; a full disk": "sweep/test_faults.py",
    "results cut off at every length, every bit flipped, 1,000 random bits": "results/test_sealed.py",
    "eight sweeps at once on one folder, 20 rounds; one killed while others wait": "sweep/test_together.py",
    "20 hung families, both isolations; memory limits; deaths": "sweep/test_timeouts.py",
    "signals, both isolations": "sweep/test_stop.py",
}


class Tally(NamedTuple):
    """What some rounds came to."""

    what: str
    rounds: int
    victims: Counter[str]
    runs: int
    seconds: float


def play(what: str, number: int, seed: int, **settings: Any) -> Tally:
    """So many rounds.

    Raises:
        AssertionError: one went wrong.
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
    """The demo, cut down: six experiments that train for some steps."""
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
    """The sweep of the cut-down demo; the folder of the results stands in for RESULTS."""
    options = ["--seeds", "13,14", "--jobs", "2", "--results-path", "RESULTS"]
    return [sys.executable, "-m", "sft.cli", "run-experiments", str(demo_grid(folder)), *options]


def lines(tallies: Sequence[Tally]) -> list[str]:
    """A table."""
    rows = [
        f"| {t.what} | {t.rounds} | {', '.join(f'{n} {whom}' for whom, n in sorted(t.victims.items()))} "
        f"| {t.runs} | 0 | {t.seconds:.0f} |"
        for t in tallies
    ]
    return [
        "A sweep is started, one of its processes is killed with SIGKILL at a random moment, and the same command is",
        "run until it is done. A round is wrong where the report differs from that of an undisturbed sweep (timings",
        "aside), a result is written twice or lost, a process lives on for 5 s, or a lock or half a file is left.",
        "Each round has its victim: where the sweep had ended before the kill, the round began anew.",
        "",
        "| sweep | rounds | killed | sweeps run again | wrong | seconds |",
        "|---|---|---|---|---|---|",
        *rows,
    ]


def long_tests() -> list[str]:
    """The long forms of the tests, run one after the other: a table of what came of them.

    Raises:
        subprocess.CalledProcessError: one failed.
    """
    rows = []
    for what, file in LONG_TESTS.items():
        command = [sys.executable, "-m", "pytest", str(ROOT / "tests" / file), "-m", "long or not long"]
        answer = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        rows.append(f"| {what} | {answer.stdout.splitlines()[-1].strip('= ')} |")
        print(rows[-1], flush=True)
    return ["| what | outcome |", "|---|---|", *rows]


def main() -> None:
    """Play, and write down what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--real", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tests", action="store_true")
    given = parser.parse_args()
    spawned = given.rounds // SPAWNED_SHARE
    tallies = []
    if forked := given.rounds - spawned:
        tallies.append(play("12 stubs, forked", forked, given.seed))
    if spawned:
        tallies.append(play("12 stubs, fresh processes", spawned, given.seed, isolation="spawn"))
    if tallies:
        write_section("Kill -9 at random moments: stubs", lines(tallies))
    if given.real:
        command = real_command(Path(tempfile.mkdtemp(prefix="sft-kill-grid-")))
        tally = play("6 demo trainings, forked", given.real, given.seed, command=command)
        write_section("Kill -9 at random moments: real training", lines([tally]))
    if given.tests:
        write_section("Faults, damage, sweeps side by side, hung processes", long_tests())


if __name__ == "__main__":
    main()
