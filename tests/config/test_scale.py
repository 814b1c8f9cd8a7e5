"""10,000 experiments are planned in work that grows with their number, in little memory, without a heavy import."""

from __future__ import annotations

import cProfile
import json
import pstats
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sft.sweep.planning.check import load_plan

# Runs in its own process, so that its memory and imports can be measured. Prints `count MiB heavy`.
PLAN = """
import re, sys
from pathlib import Path
from sft.sweep.planning.check import load_plan
plan = load_plan(Path(sys.argv[1]), None, "run-experiment")
ids = {experiment.id for experiment in plan.experiments}
heavy = [name for name in ("torch", "transformers", "datasets", "pandas", "scipy") if name in sys.modules]
# the peak since this program started; getrusage includes the memory of the parent process
memory = re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text()).group(1)
print(len(ids), int(memory) / 1024, *heavy)
"""

# The plan of one config, by the number of seeds, takes about two thirds of these function calls. With many more, a
# plan of 10,000 takes longer than a person waits.
CALLS = {1: 2500, 3: 3000}

WriteGrid = Callable[[int, int], Path]


@pytest.fixture
def write_grid(data: dict[str, Any], data_folder: Path, write: Callable[..., Path]) -> WriteGrid:
    """Write a grid of so many configs and seeds, and return its path."""
    config = {**data, "dataset": {**data["dataset"], "path": str(data_folder)}}

    def grid_of(configs: int, seeds: int) -> Path:
        grid = {f"n{n}": {**config, "lora": {"r": 8, "lora_alpha": n + 1}} for n in range(configs)}
        return write(json.dumps({"configs": grid, "seeds": list(range(seeds))}))

    return grid_of


@pytest.mark.parametrize(
    ("configs", "seeds", "most"),
    [
        (2000, 5, 130),
        pytest.param(3333, 3, 300, marks=pytest.mark.long),
        pytest.param(10_000, 1, 300, marks=pytest.mark.long),
    ],
)
def test_a_plan_of_ten_thousand(configs: int, seeds: int, most: float, write_grid: WriteGrid) -> None:
    path = write_grid(configs, seeds)
    answer = subprocess.run([sys.executable, "-c", PLAN, str(path)], capture_output=True, text=True, check=True)
    count, memory, *heavy = answer.stdout.split()
    assert int(count) == configs * seeds
    assert float(memory) < most
    assert not heavy


def calls_of_a_plan(path: Path) -> int:
    """The function calls, those of C functions included, that the plan of a grid takes."""
    with cProfile.Profile() as profile:
        plan = load_plan(path, None, "run-experiment")
        assert len({experiment.id for experiment in plan.experiments}) == len(plan.experiments)
    return int(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_work_grows_with_the_number_of_configs(seeds: int, write_grid: WriteGrid) -> None:
    calls_of_a_plan(write_grid(2, seeds))  # what is imported or kept at the first use
    few, many = (calls_of_a_plan(write_grid(configs, seeds)) for configs in (50, 400))
    assert many < 8.8 * few
    assert many < 400 * CALLS[seeds]
