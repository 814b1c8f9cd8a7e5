"""The environment of a run: versions, platform, commit, peak memory, seconds per phase. Imports no slow library."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = (
    "sft", "torch", "transformers", "trl", "peft", "datasets", "accelerate", "tokenizers", "safetensors", "numpy",
    "scikit-learn", "bitsandbytes", "gptqmodel", "optimum", "torchao", "compressed-tensors",
    "sacrebleu", "rouge-score", "umap-learn", "lm-eval",
)  # fmt: skip


class Clock:
    """Measure the seconds of each phase with `with clock("train"): …`. Repeated phases add up."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._phases: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self._phases[phase] = self._phases.get(phase, 0.0) + time.perf_counter() - start

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each phase so far, and the `total` since the clock was created."""
        rounded = {phase: round(seconds, 3) for phase, seconds in self._phases.items()}
        return {**rounded, "total": round(time.perf_counter() - self._start, 3)}


@cache
def environment() -> dict[str, Any]:
    """Return package versions, Python, platform and the git commit of this code (None outside a checkout), cached."""
    return {
        "packages": {name: installed for name in _PACKAGES if (installed := _version(name))},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "git_commit": _git_commit(),
    }


def cpu_seconds() -> float:
    """Return the CPU seconds of this process so far and of its ended children."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def resources(cpu_before: float = 0.0) -> dict[str, Any]:
    """Return the peak resident bytes and CPU seconds of this process, and the number of processors.

    On CUDA also the device and its peak memory.

    Args:
        cpu_before: CPU seconds that the process used before, for other work.
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report: dict[str, Any] = {
        "peak_memory_bytes": peak if sys.platform == "darwin" else peak * 1024,
        "cpu_seconds": round(cpu_seconds() - cpu_before, 3),
        "processors": os.cpu_count(),
    }
    torch = sys.modules.get("torch")
    if torch is None:
        return report
    report["threads"] = torch.get_num_threads()
    report["device"] = "cpu"
    if torch.cuda.is_available():
        report["device"] = torch.cuda.get_device_name()
        report["peak_gpu_memory_bytes"] = torch.cuda.max_memory_allocated()
    elif torch.backends.mps.is_available():
        report["device"] = "mps"
    return report


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """Return the commit of this code's checkout, with `+changes` if files differ from it."""
    folder = Path(__file__).resolve().parent
    try:
        head = _git(folder, "rev-parse", "HEAD")
        return f"{head}+changes" if _git(folder, "status", "--porcelain", "--untracked-files=no") else head
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    answer = subprocess.run(  # noqa: S603 - fixed program, no shell
        ["git", "-C", str(folder), *arguments],  # noqa: S607
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    )
    return answer.stdout.strip()
