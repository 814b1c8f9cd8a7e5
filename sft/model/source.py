"""Sources of models, tokenizers and adapters: a local folder or the Hub, with one-line errors.

The loaders run inside `reading`, which silences the libraries and turns errors that a user can fix into a `ModelError`.
"""

from __future__ import annotations

import logging as stdlib
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError
from types import ModuleType
from typing import Any

from sft.errors import ModelError, UserError
from sft.foreign import is_foreign, one_line
from sft.log import HEARD_ON_IMPORT

CHATTY = ("bitsandbytes", "accelerate", "trl", "peft", "torch.distributed", *HEARD_ON_IMPORT)  # and transformers
_OTHER_SHAPES = "the shapes of its weights do not match its config.json (with model.model_args)"
UNEXPECTED_ARGUMENT = re.compile(r"unexpected keyword argument '(\w+)'")


def trusts_remote_code(arguments: Mapping[str, Any]) -> bool:
    """Whether code from a repository may run: only if the config says exactly `true`, not "true" or 1."""
    return arguments.get("trust_remote_code") is True


def check_folder(key: str, name: str, needed: str) -> None:
    """Refuse a local path that is not a suitable folder; Hub ids pass.

    Args:
        key: the config key, for the message (`model.name`).
        name: Hub id or path.
        needed: the file that the folder must contain (`config.json`).

    Raises:
        ModelError: the folder does not exist, is a file, or does not contain `needed`.
    """
    path = Path(name).expanduser()
    if not path.exists():
        if name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name:
            raise ModelError(f'{key}: folder "{name}" not found')
        return
    if not path.is_dir():
        raise ModelError(f'{key}: expected the folder that contains {needed}, got the file "{name}"')
    if (path / needed).exists():
        return
    if needed == "config.json" and (path / "adapter_config.json").exists():
        raise ModelError(f'{key}: "{name}" contains an adapter; set model.adapter to it, and model.name to its base')
    files = ", ".join(sorted(file.name for file in path.iterdir())[:8]) or "nothing"
    raise ModelError(f'{key}: the folder "{name}" has no {needed} (it has: {files})')


@contextmanager
def reading(key: str, name: str, arguments: Mapping[str, Any]) -> Iterator[None]:
    """Inside, the libraries are quiet, and errors that the user can fix become one-line errors.

    Args:
        key: the config key, for the message.
        name: Hub id or path that is loaded.
        arguments: the user's arguments, to distinguish an unknown argument from a bug.

    Raises:
        ModelError: the source is missing, corrupt or of another kind, or an argument is unknown.
    """
    try:
        with quiet():
            yield
    except UserError:
        raise
    except UnpicklingError as error:
        raise pickled(key, name) from error
    except Exception as error:
        if not is_foreign(error):
            raise
        unknown = UNEXPECTED_ARGUMENT.search(str(error)) if isinstance(error, TypeError) else None
        if unknown is not None and unknown.group(1) in arguments:
            raise ModelError(f'model.model_args.{unknown.group(1)}: "{name}" does not accept this argument') from error
        if "trust_remote_code" in str(error):
            raise ModelError(
                f'{key}: "{name}" needs to run its own code; if you trust it, '
                "set model.model_args.trust_remote_code to true"
            ) from error
        reason = _OTHER_SHAPES if "ignore_mismatched_sizes" in str(error) else one_line(error)
        raise ModelError(f'{key} "{name}" cannot be loaded: {reason}') from error


def pickled(key: str, name: str) -> ModelError:
    """Return the error for pickled weights, which the libraries refuse to read."""
    return ModelError(
        f'{key}: "{name}" contains pickled weights that are corrupt or not plain tensors, and reading them could run '
        "code; if you trust them, convert them to safetensors (save_pretrained)"
    )


def import_peft() -> ModuleType:
    """Import `peft` quietly: its first import loads bitsandbytes, which logs messages about kernels."""
    if "peft" in sys.modules:
        return sys.modules["peft"]
    with quiet():
        return import_module("peft")


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, the libraries show no progress bars, log messages or warnings."""
    import datasets
    from transformers.utils import logging

    _quiet_gptqmodel()
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    data_bars = datasets.are_progress_bars_disabled()
    # setting a level makes the library visit all loggers, so levels that are already set are skipped
    loggers = [logger for name in CHATTY if (logger := stdlib.getLogger(name)).level != stdlib.ERROR]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(stdlib.ERROR)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    datasets.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if bars:
            logging.enable_progress_bar()
        if not data_bars:
            datasets.enable_progress_bars()


@cache
def _quiet_gptqmodel() -> None:
    """Silence gptqmodel, which logs to stdout by its own logger; PEFT imports it if it is installed."""
    if find_spec("logbar") is not None:
        import_module("logbar").LogBar.shared().setLevel("ERROR")
