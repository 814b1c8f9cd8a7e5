"""10,000 experiments are planned in seconds, in little memory, without a heavy import."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# Runs in its own process, so that its memory and imports can be measured. Prints `count seconds MiB heavy`.
PLAN = """
import re, sys, time
from pathlib import Path
from sft.sweep.check import load_plan
start = time.process_time()
plan = load_plan(Path(sys.argv[1]), None, "run-experiment")
ids = {experiment.id for experiment in plan.experiments}
taken = time.process_time() - start
heavy = [name for name in ("torch", "transformers", "datasets", "pandas", "scipy") if name in sys.modules]
# the peak since this program started; getrusage includes the memory of the parent process
memory = re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text()).group(1)
print(len(ids), taken, int(memory) / 1024, *heavy)
"""


@pytest.mark.parametrize(("configs", "seeds"), [(3333, 3), (10_000, 1)])
def test_a_plan_of_ten_thousand(
    configs: int, seeds: int, data: dict[str, Any], data_folder: Path, write: Callable[..., Path]
) -> None:
    config = {**data, "dataset": {**data["dataset"], "path": str(data_folder)}}
    grid = {f"n{n}": {**config, "lora": {"r": 8, "lora_alpha": n + 1}} for n in range(configs)}
    path = write(json.dumps({"configs": grid, "seeds": list(range(seeds))}))
    answer = subprocess.run([sys.executable, "-c", PLAN, str(path)], capture_output=True, text=True, check=True)
    count, taken, memory, *heavy = answer.stdout.split()
    assert int(count) == configs * seeds
    assert float(taken) < 10  # 1 to 3 on an idle machine; 5 is the aim
    assert float(memory) < 300
    assert not heavy
