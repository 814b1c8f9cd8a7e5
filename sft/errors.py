"""The exceptions of `sft`, on one screen.

    SftError                       anything this project raises on purpose
    └── UserError                  the user can mend it: one clear line, no traceback, exit code 2
        ├── ConfigError            the config or grid; holds every problem found, each with its key path
        ├── DataError              the data set: absent files, columns, labels, splits
        ├── ModelError             the model, tokenizer, adapter or initialiser
        └── MissingPackageError    an optional package is not installed; carries the pip line

A file that cannot be written (`sft.io.WriteError`) is a UserError too, and an OSError for those who go on without it.
Anything else that escapes is a bug: it keeps its traceback and exits with 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import partial
from typing import NamedTuple

BUG = "This is a bug in sft"  # begins the line that commands print under the traceback of one


class SftError(Exception):
    """Anything this project raises on purpose."""

    exit_code = 1


class UserError(SftError):
    """Something the user can mend. Its message is one line: what, where, what is possible."""

    exit_code = 2


class Problem(NamedTuple):
    """One thing wrong in a config: where (`dataset.shots`) and what, with what is possible."""

    where: str
    what: str


class ConfigError(UserError):
    """A config or grid that cannot be used; all its problems at once.

    Args:
        source: the file (or other origin) the config came from.
        problems: every problem found, in the order of the keys.
    """

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        super().__init__(self._text())

    def _text(self) -> str:
        if len(self.problems) == 1:
            only = self.problems[0]
            return ": ".join(part for part in (self.source, only.where, only.what) if part)
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
    """Optional packages are needed and not installed.

    Args:
        feature: what asked for them, in the user's words (`model.quantization`).
        packages: their names on PyPI, with a version where only that one will do.
        extra: of this project, which has them in the versions that it is tested with.
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


def did_you_mean(given: str, possible: Sequence[str]) -> str:
    """`; did you mean "shots"?` when one of `possible` is near, else the empty string."""
    near = get_close_matches(given, possible, n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""
