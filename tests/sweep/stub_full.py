"""Run a sweep in a nearly full results folder of 128 KiB, then again with free space; needs permission to mount.

python stub_full.py FOLDER            # exits with 77 if nothing can be mounted
"""

# ruff: noqa: T201 - its answer is what it prints
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from stub_rounds import start_sweep

NUMBER, SIZE, FREE = "4", 128, 40  # KiB


def main() -> None:
    """Run both sweeps and print their outputs and files as JSON."""
    results = Path(sys.argv[1])
    results.mkdir(parents=True)
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}k", "none", str(results)], check=False)
    if mount.returncode != 0:
        sys.exit(77)
    try:
        filler = results / "filler"
        filler.write_bytes(b"x" * 1024 * (SIZE - FREE))
        answers = []
        for _ in range(2):
            process = start_sweep(results, "--number", NUMBER)
            output, _ = process.communicate(timeout=120)
            files = {str(path): path.read_text() for path in results.rglob("*.json")}
            broken = [path for path, text in files.items() if not is_json(text)]
            done = len(list(results.glob("runs/*/result.json")))
            answers.append({"code": process.returncode, "output": output, "broken": broken, "done": done})
            filler.unlink(missing_ok=True)
        print(json.dumps(answers))
    finally:
        subprocess.run(["umount", "-l", str(results)], check=False)


def is_json(text: str) -> bool:
    """Return whether the text is valid JSON."""
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


if __name__ == "__main__":
    main()
