"""Jsonnet files, evaluated in a child process with limits on time and memory; errors as `file:line:column: message`.

A grid is a program: a loop without end, a doubling string or an import of a foreign file must not harm the caller.
Knows nothing of configs.
"""

from __future__ import annotations

import importlib.util
import json
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sft.errors import ConfigError, MissingPackageError, Problem
from sft.io import parse_json, shipped_root

_CHILD = Path(__file__).with_name("jsonnet_child.py")
_FAILED = 3
MAX_EXPERIMENTS = 10_000  # of a grid, unless the user raises it
JSONNET_SUFFIXES = (".jsonnet", ".libsonnet")
# `file:12:5`, `file:12:5-9` and `file:(12:5)-(14:2)`
_PLACE = re.compile(r"^\s*(?P<file>[^<\s][^\t\n]*?):\(?(?P<line>\d+):(?P<column>\d+)\)?(?:-\(?[\d:]+\)?)?(?=[:\s]|$)")
_IMPORT = re.compile(r'^couldn\'t open import "[^"]*": (?=")')
_KINDS = re.compile(r"^(STATIC|RUNTIME|INTERNAL) ERROR:\s*")


@dataclass(frozen=True)
class Limits:
    """What one evaluation may take."""

    cpu_seconds: int = 20
    memory_bytes: int = 2 << 30
    output_bytes: int = 64 << 20

    @classmethod
    def for_grid(cls, max_experiments: int) -> Limits:
        """Limits for a grid of so many experiments: those of a usual one, raised in proportion, never lowered."""
        usual, factor = cls(), max(1.0, max_experiments / MAX_EXPERIMENTS)
        return cls(
            int(usual.cpu_seconds * factor),
            int(usual.memory_bytes * min(factor, 8.0)),
            int(usual.output_bytes * factor),
        )


def evaluate_jsonnet(path: Path, limits: Limits | None = None) -> Any:
    """The value of a Jsonnet file. It may import files of its own folder's tree and the shipped ones.

    Raises:
        ConfigError: a syntax or runtime error, with its place; or more time or memory than allowed.
        MissingPackageError: Jsonnet is not installed.
    """
    return Evaluation(path, limits or Limits()).value()


def begin_evaluation(path: Path, max_experiments: int) -> Evaluation | None:
    """Start evaluating while the caller does other things (imports, say); None for what is no Jsonnet file."""
    is_jsonnet = path.suffix in JSONNET_SUFFIXES and path.is_file()
    return Evaluation(path, Limits.for_grid(max_experiments)) if is_jsonnet else None


class Evaluation:
    """A Jsonnet file that a child process is evaluating.

    Args:
        path: the file.
        limits: of the child.
    """

    def __init__(self, path: Path, limits: Limits) -> None:
        self._path, self._limits = path, limits
        self._child = subprocess.Popen(  # noqa: S603 - argv list, no shell
            [sys.executable, "-I", "-S", str(_CHILD), json.dumps(_request(path, limits))],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def value(self) -> Any:
        """Wait for the value. Raises as `evaluate_jsonnet`."""
        try:
            output, message = self._child.communicate(timeout=self._limits.cpu_seconds * 5 + 30)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.communicate()
            raise _error(self._path, _too_long(self._limits)) from None
        if self._child.returncode == 0:
            return parse_json(output.decode("utf-8"))
        raise _failure(self._path, self._child.returncode, message.decode("utf-8", errors="replace"), self._limits)


def _request(path: Path, limits: Limits) -> dict[str, Any]:
    spec = importlib.util.find_spec("_jsonnet")
    if spec is None or spec.origin is None:
        raise MissingPackageError(f"reading {path}", "jsonnet")
    shipped = shipped_root() / "etc"
    return {
        "name": str(path),
        "roots": [str(path.resolve().parent), str(path.parent.resolve()), str(shipped)],
        "library": str(shipped / "configs" / "jsonnet"),
        "modules": str(Path(spec.origin).parent),
        "cpu_seconds": limits.cpu_seconds,
        "memory_bytes": limits.memory_bytes,
        "output_bytes": limits.output_bytes,
    }


def _failure(path: Path, code: int, message: str, limits: Limits) -> ConfigError:
    if code == _FAILED:
        return _located(path, message)
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return _error(path, _too_long(limits))
    if code in (-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS) or "MemoryError" in message or "bad_alloc" in message:
        return _error(path, f"evaluating it takes more than {limits.memory_bytes >> 20} MiB of memory: is it endless?")
    raise RuntimeError(f"the Jsonnet child ended with {code}: {message}")


def _too_long(limits: Limits) -> str:
    return f"evaluating it takes more than {limits.cpu_seconds} s: is it endless, or are there very many experiments?"


def _error(path: Path, what: str) -> ConfigError:
    return ConfigError(str(path), [Problem("", what)])


def _located(path: Path, text: str) -> ConfigError:
    """Jsonnet's message as one line that begins with its place.

    A static error begins with its place; a runtime error is followed by the stack. There the first place in the user's
    own files counts: an error that the shipped library raises is about its caller.
    """
    first, *stack = _KINDS.sub("", text.strip()).splitlines() or [""]
    first = _IMPORT.sub("", first)
    if match := _PLACE.match(first):
        return ConfigError(_place(match), [Problem("", first[match.end() :].lstrip(": "))])
    places = [match for line in stack if (match := _PLACE.match(line))]
    shipped = str(shipped_root() / "etc")
    foreign = (shipped, "std.jsonnet")
    own = [match for match in places if not match["file"].startswith(foreign) or match["file"] == str(path)]
    return ConfigError(_place(own[0]) if own else str(path), [Problem("", first.rstrip(" ."))])


def _place(match: re.Match[str]) -> str:
    return f"{match['file']}:{match['line']}:{match['column']}"
