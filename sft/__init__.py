"""sft: find the few-shot recipe that works best. One Jsonnet grid in, a comparison table out."""

import sys
from importlib.machinery import PathFinder

__version__ = "0.1.0"

TYPE_CHECKING = False  # as in `typing`, whose import would take longer than this whole module
if TYPE_CHECKING:
    from sft.api.results import Results, load_results
    from sft.api.running import run, run_grid
    from sft.api.runs import Run, RunFailedError
    from sft.api.scores import LabelScores, score_labels
    from sft.errors import ConfigError, DataError, MissingPackageError, ModelError, SftError, UserError

__all__ = [
    "ConfigError", "DataError", "LabelScores", "MissingPackageError", "ModelError", "Results", "Run", "RunFailedError",
    "SftError", "UserError", "load_results", "run", "run_grid", "score_labels",
]  # fmt: skip
# The module of each name; imported on first use.
_MODULES = {
    "Results": "sft.api.results", "load_results": "sft.api.results",
    "run": "sft.api.running", "run_grid": "sft.api.running",
    "Run": "sft.api.runs", "RunFailedError": "sft.api.runs",
    "LabelScores": "sft.api.scores", "score_labels": "sft.api.scores",
    **dict.fromkeys(
        ("ConfigError", "DataError", "MissingPackageError", "ModelError", "SftError", "UserError"), "sft.errors"
    ),
}  # fmt: skip


if not TYPE_CHECKING:  # with it, a type checker would accept every name

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value: object = getattr(import_module(_MODULES[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


# `python -m sft.cli` searches modules in the working directory first. A user's file `datasets.py` there would replace
# the library, and `wandb.py` would run when a library checks whether wandb is installed. So the working directory is
# removed from the import path, here and (by -P) in every Python process started here; it is added only while the
# user's own code runs (see `sft.foreign`). Another program that is run by `-m` and imports this package keeps its path.
# While `-m` searches the module, argv[0] is "-m".
_is_run_as_module = (
    sys.argv[:1] == ["-m"]
    and not sys.flags.safe_path
    and any(argument.removeprefix("-m").partition(".")[0] == "sft" for argument in sys.orig_argv[1:])
)
# Otherwise this is a checkout that is not installed, imported from the working directory.
_is_installed = PathFinder.find_spec("sft", sys.path[1:] if _is_run_as_module else sys.path) is not None
PYTHON_FLAGS = ("-P",) if _is_installed else ()

if _is_run_as_module:
    _working_directory = sys.path.pop(0)
    if not _is_installed:
        sys.path.append(_working_directory)
