"""Write RESULTS.md: a section per benchmark, which is replaced when the benchmark runs again.

from record import write_section
write_section("Kill -9", ["200 rounds …"])
"""

from __future__ import annotations

import datetime
import os
import platform
import re
import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

FILE = Path(__file__).resolve().parent / "RESULTS.md"
TITLE = "# Measured\n\nWritten by the scripts beside this file; a section is replaced when its script is run again.\n"
PACKAGES = ("torch", "transformers", "trl", "peft", "datasets", "pydantic", "filelock", "psutil")


def write_section(name: str, lines: Sequence[str], packages: Sequence[str] = PACKAGES, gpu: str = "") -> None:
    """Replace or add a section: date and machine of the measurement, then the lines.

    Args:
        name: heading of the section, one line.
        lines: Markdown.
        packages: packages whose versions are recorded.
        gpu: name of the device; empty: none.
    """
    section = "\n".join([f"## {name}", "", where_and_when(packages, gpu), "", *lines]).rstrip() + "\n"
    text = FILE.read_text(encoding="utf-8") if FILE.exists() else TITLE
    parts = re.split(r"(?m)^(?=## )", text)
    kept = [part.rstrip() + "\n" for part in parts if not part.startswith(f"## {name}\n")]
    indices = [index for index, part in enumerate(parts) if part.startswith(f"## {name}\n")]
    kept.insert(indices[0] if indices else len(kept), section)
    _replace(FILE, "\n".join(kept))


def where_and_when(packages: Sequence[str] = PACKAGES, gpu: str = "") -> str:
    """Return date, machine and versions in one line."""
    versions = ", ".join(f"{package} {installed}" for package in packages if (installed := _version(package)))
    device = gpu or "not run on a GPU"
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    python = platform.python_version()
    return f"{today} · {_processor()}, {_cores()} cores, {_memory()} · {device} · Python {python}, {versions}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    match = re.search(r"(?m)^model name\s*:\s*(.+)$", text)
    return match[1] if match else platform.machine()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> str:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return "memory unknown"
    return f"{size / 2**30:.0f} GiB"


def _replace(file: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as target:
        target.write(text)
        target.flush()
        os.fsync(target.fileno())
    temporary = Path(name)
    temporary.chmod(0o644)
    temporary.replace(file)
