"""sft: find the few-shot recipe that works best. One Jsonnet grid in, a comparison table out."""

from sft import import_path as _import_path  # noqa: F401 - before anything else is imported

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
