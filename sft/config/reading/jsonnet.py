"""Jsonnet files, evaluated in a child process with limits on time and memory; errors as `file:line:column: message`.

A grid is a program: an endless loop, a doubling string or an import of a foreign file must not harm the caller.
Knows nothing of configs.
"""

from __future__ import annotations

import importlib.util
import json
import re
import signal
import subprocess
import sys
import tempfile
import weakref
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import IO, Any

from sft.config.reading.json_text import read_json
from sft.config.wording import shown
from sft.errors import ConfigError, MissingPackageError, Problem, UserError
from sft.io import shipped_root
from sft.log import get_logger

_logger = get_logger(__name__)
_CHILD = Path(__file__).with_name("jsonnet_child.py")
_FAILED, _TOO_LARGE = 3, 4
_TRACE, _MOST_TRACES = "TRACE: ", 20
MAX_EXPERIMENTS = 10_000  # per grid, unless the user raises it
JSONNET_SUFFIXES = (".jsonnet", ".libsonnet")
# `file:12:5`, `file:12:5-9` and `file:(12:5)-(14:2)`
_LOCATION = re.compile(
    r"^\s*(?P<file>[^<\s][^\t\n]*?):\(?(?P<line>\d+):(?P<column>\d+)\)?(?:-\(?[\d:]+\)?)?(?=[:\s]|$)"
)
_IMPORT = re.compile(r'^couldn\'t open import "[^"]*": (?=")')
_STATIC, _TOO_DEEP = "STATIC ERROR:", "max stack frames exceeded"
_LONGEST_MESSAGE = 600
_KINDS = re.compile(r"^(STATIC|RUNTIME|INTERNAL) ERROR: *")


@dataclass(frozen=True)
class Limits:
    """The limits of one evaluation."""

    cpu_seconds: int = 9
    memory_bytes: int = 2 << 30
    output_bytes: int = 64 << 20
    trace_bytes: int = 1 << 20

    @classmethod
    def for_grid(cls, max_experiments: int) -> Limits:
        """Return the limits for a grid of this size: the usual limits, raised in proportion, never lowered."""
        usual, factor = cls(), max(1.0, max_experiments / MAX_EXPERIMENTS)
        return cls(
            int(usual.cpu_seconds * factor**1.5),  # Jsonnet takes more than twice as long for twice the keys
            int(usual.memory_bytes * min(factor, 8.0)),
            int(usual.output_bytes * factor),
        )


def evaluate_jsonnet(path: Path, limits: Limits | None = None) -> Any:
    """Return the value of a Jsonnet file. It may import files from below its own folder and the shipped files.

    Raises:
        ConfigError: a syntax or runtime error, with its location; or more time or memory than the limits.
        MissingPackageError: Jsonnet is not installed.
    """
    return Evaluation(path, limits or Limits()).value()


def begin_evaluation(path: Path, max_experiments: int) -> Evaluation | None:
    """Start evaluating while the caller does other work (imports, say). Return None for any other file."""
    is_jsonnet = path.suffix in JSONNET_SUFFIXES and path.is_file()
    return Evaluation(path, Limits.for_grid(max_experiments)) if is_jsonnet else None


class Evaluation:
    """A Jsonnet file that a child process is evaluating.

    Args:
        path: the file.
        limits: the limits of the child.
    """

    def __init__(self, path: Path, limits: Limits) -> None:
        self._path, self._limits = path, limits
        self._traces = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the evaluation
        try:
            self._child = subprocess.Popen(  # noqa: S603 - argv list, no shell
                [sys.executable, "-I", "-S", str(_CHILD), json.dumps(_request(path, limits))],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=self._traces,
            )
        except OSError as error:  # too many processes or open files
            self._traces.close()
            what = f"{path}: cannot start the process that evaluates Jsonnet: {error.strerror}; raise the limit"
            raise UserError(what) from error
        self._end = weakref.finalize(self, _end, self._child, self._traces)  # also if nobody asks for the value

    def value(self) -> Any:
        """Wait for the value and return it. Raises the errors of `evaluate_jsonnet`."""
        try:
            output, _ = self._child.communicate(timeout=self._limits.cpu_seconds * 5)
        except subprocess.TimeoutExpired:
            raise _error(self._path, _too_long(self._limits)) from None
        else:
            traced = self._traced()
        finally:
            self._end()  # also when the caller is interrupted
        if self._child.returncode == 0:
            return read_json(output, str(self._path))
        raise _failure(self._path, self._child.returncode, output.decode("utf-8") or traced, self._limits)

    def _traced(self) -> str:
        """Log the first lines that the program traced. Return the rest of the child's stderr."""
        self._traces.seek(0)
        lines = self._traces.read(self._limits.trace_bytes).decode("utf-8", errors="replace").splitlines()
        for line in [line for line in lines if line.startswith(_TRACE)][:_MOST_TRACES]:
            _logger.info("%s", shown(line.removeprefix(_TRACE), 200))
        return "\n".join(line for line in lines if not line.startswith(_TRACE))


def _end(child: subprocess.Popen[bytes], traces: IO[bytes]) -> None:
    child.kill()
    child.wait()
    if child.stdout is not None:
        child.stdout.close()
    traces.close()


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
        "trace_bytes": limits.trace_bytes,
    }


def _failure(path: Path, code: int, message: str, limits: Limits) -> ConfigError:
    if code == _FAILED:
        return _located(path, message)
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return _error(path, _too_long(limits))
    if code in (_TOO_LARGE, -signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS):
        most = f"{limits.memory_bytes >> 20} MiB"
        return _error(path, f"evaluation exceeded {most} of memory; check for endless recursion and very deep nesting")
    raise RuntimeError(f"the Jsonnet child ended with {code}: {message}")


def _too_long(limits: Limits) -> str:
    return (
        f"evaluation exceeded {limits.cpu_seconds} s; check for endless recursion. "
        "For a very large grid, raise --max-experiments, which also raises this limit"
    )


def _error(path: Path, what: str) -> ConfigError:
    """Return an error of the program as a whole."""
    return ConfigError(f"{path}:1:1", [Problem("", what)])


def _located(path: Path, text: str) -> ConfigError:
    """Return Jsonnet's message as one line that starts with its location.

    A static error starts with its location. A runtime error is followed by the stack, whose first location in the
    user's own files is used: an error of the shipped library concerns its caller.
    """
    lines = _KINDS.sub("", text.strip()).splitlines()
    message = list(takewhile(lambda line: not line.startswith("\t"), lines))
    what = _IMPORT.sub("", " ".join(message)).rstrip(" .") or "an error without a message"
    if (match := _LOCATION.match(what)) and text.startswith(_STATIC):
        return ConfigError(_location(match), [Problem("", shown(what[match.end() :].lstrip(": "), _LONGEST_MESSAGE))])
    stack = lines[len(message) :]
    if any("Top-level function" in line for line in stack):
        return _error(path, "expected an object, got a function; call it")
    if what.startswith(_TOO_DEEP):
        what = f"{what}; check for endless recursion"
    locations = [match for line in stack if (match := _LOCATION.match(line))]
    foreign = (str(shipped_root() / "etc"), "std.jsonnet")
    own = [match for match in locations if not match["file"].startswith(foreign) or match["file"] == str(path)]
    location = _location(own[0]) if own else f"{path}:1:1"
    return ConfigError(location, [Problem("", shown(what, _LONGEST_MESSAGE))])


def _location(match: re.Match[str]) -> str:
    return f"{match['file']}:{match['line']}:{match['column']}"
