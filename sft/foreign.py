"""Errors of libraries and of the user's own functions as one line, with the key of the config that leads to them.

A bug of ours keeps its traceback. It is recognised by the stack: an error is foreign where it was raised below our
last frame, in code that we called and that did not call us back.
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
# What libraries raise for arguments that they cannot use. A RuntimeError may be about the device, an OSError the disk.
OF_ARGUMENTS = (TypeError, ValueError, LookupError, AttributeError, ImportError, AssertionError)
# Their frames lie between a function of ours and its caller, also of ours.
_WRAPPERS = ("torch.utils._contextlib", "contextlib", "functools")
# Messages of these are often a bare key or number, which explains nothing without the type.
_SAY_LITTLE = (KeyError, IndexError, AttributeError, AssertionError, ZeroDivisionError, RecursionError)

T = TypeVar("T")


def one_line(error: BaseException) -> str:
    """Return the message of an exception on one line of reasonable length."""
    text = " ".join(redact_text(str(error)).split())  # before it is cut
    if isinstance(error, _SAY_LITTLE) or not text:
        text = f"{type(error).__name__}: {text}".removesuffix(": ")
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}…"


def is_foreign(error: BaseException) -> bool:
    """Whether an error was raised in a library that we called, not in our code nor in what the library called of it.

    Never so for memory that ran out: whoever runs the experiment tries again with less.
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
    """Raise what a library raises inside as `kind`, in one line that starts with `where`.

    Args:
        where: the config's key, and what was done with it (`lora: PEFT says`).
        kind: the type of the error that is raised instead.
        of: the types of exceptions that are explained; all others pass.
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
    """Whether a call in the block of `explained` itself was refused for its arguments, before any code of it ran."""
    depth = sum(1 for _ in traceback.walk_tb(error.__traceback__))  # the block's frame, below that of `explained`
    return isinstance(error, TypeError) and depth == 2 and "argument" in str(error)


_folders: list[str] = []


def plug_paths(folder: Path) -> list[str]:
    """Have the user's modules looked for in the working directory and in a config's folder, in this order.

    Only while code of the user runs (see `importable`): a library that asks for an optional package of the same name
    must not find them. Returns both.
    """
    places = list(dict.fromkeys([str(Path.cwd()), str(folder.resolve())]))
    _folders.extend(place for place in places if place not in _folders)
    return places


def module_paths() -> list[str]:
    """Return where modules of the user are looked for: last of all in the folders of `plug_paths`."""
    return list(dict.fromkeys([*sys.path, *_folders]))


@contextmanager
def importable() -> Iterator[None]:
    """Inside, the user's modules can be imported."""
    added = [place for place in _folders if place not in sys.path]
    sys.path.extend(added)
    try:
        yield
    finally:
        for place in added:
            with suppress(ValueError):
                sys.path.remove(place)


@contextmanager
def users_code(what: str) -> Iterator[None]:
    """Run code of the user inside: whatever it raises is one line that names the code, the file and the line number.

    Args:
        what: the name of the code for the message (`metric "mine:score"`).

    Raises:
        UserError: the code raised an exception, or ended the process.
    """
    try:
        with importable():
            yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        if is_out_of_memory(error) or (isinstance(error, SystemExit) and _is_raised_by_us(error)):
            raise
        said = str(error) if isinstance(error, SystemExit) else one_line(error)
        raised = type(error).__name__
        said = said if said.startswith(raised) else f"{raised}: {said}".removesuffix(": ")
        raise UserError(f"{what} raised {said}{_position(error)}") from error


def guarded(function: Callable[..., T], what: str) -> Callable[..., T]:
    """Return the user's function such that all that it raises is one line (see `users_code`)."""

    @wraps(function)
    def call(*arguments: Any, **named: Any) -> T:
        with users_code(what):
            return function(*arguments, **named)

    return call


def _is_raised_by_us(error: BaseException) -> bool:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and _is_ours(frames[-1].f_globals.get("__name__"))


def _position(error: BaseException) -> str:
    """Return where the user's code failed: its innermost line that is neither ours nor installed."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({Path(error.filename).name}, line {error.lineno})" if "line" not in str(error) else ""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if not _is_ours(frame.f_globals.get("__name__")) and is_users_file(Path(frame.f_code.co_filename)):
            return f" ({Path(frame.f_code.co_filename).name}, line {line})"
    return ""


def is_users_file(file: Path) -> bool:
    """Whether a file is the user's own: neither of Python's standard library nor of an installed package."""
    return file.is_absolute() and not file.is_relative_to(_STANDARD) and not _INSTALLED & set(file.parts)
