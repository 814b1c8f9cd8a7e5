"""The exceptions of `sft`.

    SftError                       anything this project raises on purpose
    └── UserError                  the user can fix it: one clear line, no traceback, exit code 2
        ├── ConfigError            the config or grid; holds every problem found, each with its key path
        ├── DataError              the data set: absent files, columns, labels, splits
        ├── ModelError             the model, tokenizer, adapter or initialiser
        └── MissingPackageError    an optional package is not installed; carries the pip line

A file that cannot be written (`sft.io.WriteError`) is a UserError, and an OSError for code that can do without the
file. Any other exception is a bug: it keeps its traceback and exits with 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import partial
from typing import NamedTuple

BUG = "This is a bug in sft"  # starts the line that commands print after the traceback of a bug


class SftError(Exception):
    """Anything this project raises on purpose."""

    exit_code = 1


class UserError(SftError):
    """An error that the user can fix. Its message is one line: where, what was expected, what was given."""

    exit_code = 2


class Problem(NamedTuple):
    """One problem of a config: its key path (`dataset.shots`) and the message."""

    where: str
    what: str


class ConfigError(UserError):
    """A config or grid that cannot be used; all its problems at once.

    Args:
        source: the file, or other origin, of the config.
        problems: every problem, in the order of the keys.
    """

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        super().__init__(self._text())

    def _text(self) -> str:
        if len(self.problems) == 1:
            problem = self.problems[0]
            return ": ".join(part for part in (self.source, problem.where, problem.what) if part)
        width = max((len(p.where) for p in self.problems), default=0)
        lines = [f"  {p.where.ljust(width)}  {p.what}" for p in self.problems]
        return "\n".join([f"{self.source}: {len(self.problems)} problems", *lines])

    def __reduce__(self) -> tuple[type[ConfigError], tuple[str, tuple[Problem, ...]]]:
        return type(self), (self.source, self.problems)


class DataError(UserError):
    """The data set cannot be used as the config says."""


class ModelError(UserError):
    """The model, tokenizer, adapter or initialiser cannot be used as the config says."""


class MissingPackageError(UserError):
    """Optional packages are required and not installed.

    Args:
        feature: the feature that requires them, as the user knows it (`model.quantization`).
        packages: their names on PyPI, with a version if only that one works.
        extra: the extra of this project that installs them in the tested versions.
    """

    def __init__(self, feature: str, *packages: str, extra: str = "") -> None:
        self.feature = feature
        self.packages = packages
        self.extra = extra
        named = " and ".join(f'"{package}"' for package in packages)
        what = "the package" if len(packages) == 1 else "the packages"
        install = f"'sft[{extra}]'" if extra else " ".join(packages)
        super().__init__(f"{feature} needs {what} {named}: pip install {install}")

    def __reduce__(self) -> tuple[Callable[..., MissingPackageError], tuple[str, ...]]:
        return partial(type(self), extra=self.extra), (self.feature, *self.packages)


def did_you_mean(name: str, possible: Sequence[str]) -> str:
    """Return `; did you mean "shots"?` if one of `possible` is similar, else the empty string."""
    near = get_close_matches(name, possible, n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""
