"""Measure label scoring in whole runs on your own data: a table of seconds, rows per second and memory.

    python scripts/bench/whole_runs.py banking77.json clinc150.json [--write]

Each config is evaluated by the command line, on one thread. The figures are those of its result.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from record import write_section


def evaluate(config: Path, folder: Path) -> dict[str, Any]:
    """Run `evaluate` in an empty folder and return its result."""
    command = [sys.executable, "-m", "sft.cli", "evaluate", str(config), "--results-path", str(folder)]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    (file,) = folder.glob("runs/*/result.json")
    result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return result


def line(name: str, result: dict[str, Any]) -> str:
    """Return a row of the table."""
    matrix, rows = result["results"]["confusion_matrix"], result["data"]["rows"]["test"]
    timings, resources = result["timings"], result["resources"]
    return (
        f"| {name} | {rows:,} x {len(matrix)} | {timings['prompts']:.1f} | {timings['answer']:.1f} "
        f"| {rows / timings['answer']:.0f} | {resources['cpu_seconds']:.0f} "
        f"| {resources['peak_memory_bytes'] / 1e6:,.0f} MB |"
    )


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("configs", nargs="+", type=Path)
    parser.add_argument("--write", action="store_true", help="write the table to RESULTS.md")
    options = parser.parse_args()
    table = [
        "| config | rows x labels | prompts, s | scoring, s | rows/s scored | CPU-s, whole run | peak memory |",
        "|" + " --- |" * 7,
    ]
    for config in options.configs:
        with tempfile.TemporaryDirectory(prefix="sft-bench-") as folder:
            table.append(line(config.stem, evaluate(config, Path(folder))))
        print(table[-1], flush=True)
    if options.write:
        write_section("Label scoring, whole runs", ["`evaluate`, nothing trained, one thread.", "", *table])


if __name__ == "__main__":
    main()
