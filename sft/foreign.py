"""Errors of libraries and of the user's own functions as one line, with the config key that causes them.

A bug of this package keeps its traceback. The stack decides: an error is foreign if it was raised below the last frame
of this package, in code that did not call this package back.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from itertools import dropwhile
from pathlib import Path
from sysconfig import get_paths
from typing import Any, TypeVar

from sft.errors import UserError
from sft.memory import is_out_of_memory
from sft.secrets import redact_text

LONGEST_REASON = 400
_PACKAGE = __name__.partition(".")[0]
_STANDARD = Path(get_paths()["stdlib"])
_INSTALLED = {"site-packages", "dist-packages"}
# Exceptions of libraries for invalid arguments. A RuntimeError may concern the device, an OSError the disk.
OF_ARGUMENTS = (TypeError, ValueError, LookupError, AttributeError, ImportError, AssertionError)
# Their frames appear between two frames of this package.
_WRAPPERS = ("torch.utils._contextlib", "contextlib", "functools")
# Their messages are often only a key or a number, which explains nothing without the type.
_SAY_LITTLE = (KeyError, IndexError, AttributeError, AssertionError, ZeroDivisionError, RecursionError)

T = TypeVar("T")


def one_line(error: BaseException) -> str:
    """Return the message of an exception on one line of reasonable length."""
    text = " ".join(redact_text(str(error)).split())  # before truncation
    if isinstance(error, _SAY_LITTLE) or not text:
        text = f"{type(error).__name__}: {text}".removesuffix(": ")
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}…"


def is_foreign(error: BaseException) -> bool:
    """Return whether an error was raised in a library, neither in this package nor in a callback of it.

    Return false for out-of-memory errors: the experiment is retried with a smaller batch.
    """
    modules = [frame.f_globals.get("__name__") for frame, _ in traceback.walk_tb(error.__traceback__)]
    ours = [_is_ours(module) for module in modules if module not in _WRAPPERS]
    below = list(dropwhile(bool, ours))
    return bool(below) and not any(below) and not is_out_of_memory(error)


def _is_ours(module: object) -> bool:
    return isinstance(module, str) and module.partition(".")[0] == _PACKAGE


@contextmanager
def explained(
    where: str, kind: type[UserError] = UserError, of: tuple[type[Exception], ...] = (Exception,)
) -> Iterator[None]:
    """Convert a library's exception in the block to `kind`, with a one-line message that starts with `where`.

    Args:
        where: the config's key and the operation (`lora: PEFT says`).
        kind: the type of the new error.
        of: the types of exceptions to convert; all others pass.
    """
    try:
        yield
    except UserError:
        raise
    except of as error:
        if not (is_foreign(error) or _is_refused_call(error)):
            raise
        raise kind(f"{where}: {one_line(error)}") from error


def _is_refused_call(error: BaseException) -> bool:
    """Return whether Python refused the arguments of a call directly in the block of `explained`."""
    depth = sum(1 for _ in traceback.walk_tb(error.__traceback__))  # the block's frame, below that of `explained`
    return isinstance(error, TypeError) and depth == 2 and "argument" in str(error)


_folders: list[str] = []


def plug_paths(folder: Path) -> list[str]:
    """Search the user's modules in the working directory and in a config's folder, in this order. Return both.

    Only while code of the user runs (see `importable`): a library that imports an optional package of the same name
    must not find them.
    """
    folders = list(dict.fromkeys([str(Path.cwd()), str(folder.resolve())]))
    _folders.extend(path for path in folders if path not in _folders)
    return folders


def module_paths() -> list[str]:
    """Return the search path of the user's modules, with the folders of `plug_paths` last."""
    return list(dict.fromkeys([*sys.path, *_folders]))


@contextmanager
def importable() -> Iterator[None]:
    """Make the user's modules importable in the block."""
    added = [path for path in _folders if path not in sys.path]
    sys.path.extend(added)
    try:
        yield
    finally:
        for path in added:
            with suppress(ValueError):
                sys.path.remove(path)


@contextmanager
def users_code(what: str) -> Iterator[None]:
    """Run the user's code in the block: its errors are one line that names the code, the file and the line number.

    Args:
        what: the name of the code for the message (`metric "mine:score"`).

    Raises:
        UserError: the code raised an exception, or exited.
    """
    try:
        with importable():
            yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        if is_out_of_memory(error) or (isinstance(error, SystemExit) and _is_raised_by_us(error)):
            raise
        message = str(error) if isinstance(error, SystemExit) else one_line(error)
        name = type(error).__name__
        message = message if message.startswith(name) else f"{name}: {message}".removesuffix(": ")
        raise UserError(f"{what} raised {message}{_position(error)}") from error


def guarded(function: Callable[..., T], what: str) -> Callable[..., T]:
    """Return the user's function with its errors converted to one line (see `users_code`)."""

    @wraps(function)
    def call(*arguments: Any, **named: Any) -> T:
        with users_code(what):
            return function(*arguments, **named)

    return call


def _is_raised_by_us(error: BaseException) -> bool:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and _is_ours(frames[-1].f_globals.get("__name__"))


def _position(error: BaseException) -> str:
    """Return the innermost line of the user's code in a traceback."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({Path(error.filename).name}, line {error.lineno})" if "line" not in str(error) else ""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if not _is_ours(frame.f_globals.get("__name__")) and is_users_file(Path(frame.f_code.co_filename)):
            return f" ({Path(frame.f_code.co_filename).name}, line {line})"
    return ""


def is_users_file(file: Path) -> bool:
    """Return whether a file is the user's own: neither in the standard library nor in an installed package."""
    return file.is_absolute() and not file.is_relative_to(_STANDARD) and not _INSTALLED & set(file.parts)
