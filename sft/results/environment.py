"""What a run ran on: versions, platform, commit, peak memory, seconds per phase. Imports no heavy library."""

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
    """Seconds per phase: `with clock("train"): …`; a phase entered twice adds up."""

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
        """Seconds of each phase so far, and the `total` since the clock was made."""
        rounded = {phase: round(seconds, 3) for phase, seconds in self._phases.items()}
        return {**rounded, "total": round(time.perf_counter() - self._start, 3)}


@cache
def environment() -> dict[str, Any]:
    """Package versions, Python, platform and the git commit of this code (None outside a checkout), as first seen."""
    return {
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "git_commit": _git_commit(),
    }


def cpu_seconds() -> float:
    """CPU seconds of this process so far, and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def resources(cpu_before: float = 0.0) -> dict[str, Any]:
    """What this process used: peak resident bytes, CPU seconds, and the processors there are.

    On CUDA also the device and its peak.

    Args:
        cpu_before: CPU seconds that it had used before, for something else.
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
    """The commit of the checkout that this code runs from, with `+changes` when files differ from it."""
    here = Path(__file__).resolve().parent
    try:
        head = _git(here, "rev-parse", "HEAD")
        return f"{head}+changes" if _git(here, "status", "--porcelain", "--untracked-files=no") else head
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
