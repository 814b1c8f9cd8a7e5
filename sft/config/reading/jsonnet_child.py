"""The child process that evaluates Jsonnet, under limits; started by `jsonnet.py`, never imported by it.

    python -I -S jsonnet_child.py '{"name": …, "roots": […], "library": …, "modules": …, "cpu_seconds": …, …}'

Writes JSON to stdout, exit code 0; on an error Jsonnet's message, exit code 3; exit code 4 if memory ran out. Stderr
holds the program's traces (`std.trace`), up to the limit on file size. Imports nothing but Jsonnet, so that it starts
in a few milliseconds. Imports of the program are confined to the given folders, after resolving symbolic links.
"""

# Importing pathlib takes longer than evaluating a grid.
# ruff: noqa: PTH113, PTH118, PTH120, PTH123, PTH202
from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
from typing import Any

FAILED = 3
TOO_LARGE = 4


def main() -> int:
    """Evaluate the file that argv names."""
    request: dict[str, Any] = json.loads(sys.argv[1])
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_CPU, request["cpu_seconds"])
    _limit(resource.RLIMIT_AS, request["memory_bytes"])
    _limit(resource.RLIMIT_FSIZE, request["trace_bytes"])  # stderr is a file; Python ignores the signal
    sys.path.append(request["modules"])
    import _jsonnet

    try:
        source = _text(request["name"])
        text = _jsonnet.evaluate_snippet(request["name"], source, max_trace=0, import_callback=_Importer(request).read)
        output = text.encode("utf-8")
        if len(output) > request["output_bytes"]:
            raise RuntimeError(f"the result is larger than {request['output_bytes'] >> 20} MiB")
    except UnicodeError:
        return _write("the result holds a lone surrogate (of std.char), which is not a valid character", FAILED)
    except MemoryError:
        return TOO_LARGE
    except (RuntimeError, OSError) as error:
        return _write(str(error), FAILED)
    return _write(output, 0)


def _write(output: str | bytes, code: int) -> int:
    sys.stdout.buffer.write(output if isinstance(output, bytes) else output.encode("utf-8", errors="replace"))
    sys.stdout.flush()
    return code


def _text(name: str) -> str:
    """Read the program.

    Raises:
        RuntimeError: it is not text. The message has the form of Jsonnet's static errors.
    """
    with open(name, "rb") as file:
        content = file.read()
    try:
        text, wrong = content.decode("utf-8-sig"), content.find(b"\0")
    except UnicodeDecodeError as error:
        text, wrong = "", error.start
    if wrong < 0:
        return text
    line, column = content.count(b"\n", 0, wrong) + 1, wrong - content.rfind(b"\n", 0, wrong)
    raise RuntimeError(f"STATIC ERROR: {name}:{line}:{column}: expected UTF-8 text without NUL characters")


def _limit(kind: int, most: int) -> None:
    """Lower a limit of this process, never raise it."""
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    with contextlib.suppress(ValueError, OSError):  # a limit that the platform lacks (memory, on macOS)
        resource.setrlimit(kind, (most, most))


class _Importer:
    """Finds imported files next to the importing file, in the grid's folder, then in the shipped library."""

    def __init__(self, request: dict[str, Any]) -> None:
        self._folders = [os.path.dirname(request["name"]), request["library"]]
        self._roots = [os.path.realpath(root) for root in request["roots"]]
        self._most = request["output_bytes"]

    def read(self, folder: str, wanted: str) -> tuple[str, bytes]:
        """Return the path under which Jsonnet knows the file, and its bytes."""
        for parent in dict.fromkeys((folder, *self._folders)):
            path = os.path.join(parent, wanted)
            if os.path.lexists(path):
                return path, self._bytes(path, wanted)
        raise RuntimeError(f'"{wanted}" not found next to the importing file, in the grid\'s folder or in the library')

    def _bytes(self, path: str, wanted: str) -> bytes:
        real = os.path.realpath(path)
        if not any(real == root or real.startswith(root.rstrip(os.sep) + os.sep) for root in self._roots):
            raise RuntimeError(f'"{wanted}" is outside the grid\'s folder')
        if not os.path.isfile(real):
            raise RuntimeError(f'"{wanted}" is not a file')
        if os.path.getsize(real) > self._most:
            raise RuntimeError(f'"{wanted}" is larger than {self._most >> 20} MiB')
        with open(real, "rb") as file:
            return file.read()


if __name__ == "__main__":
    os._exit(main())  # freeing a large result takes longer than making it
