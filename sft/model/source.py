"""Where models, tokenizers and adapters come from: a local folder or the hub, and one clear line when it fails.

Knows nothing of what is loaded: the loaders do that inside `reading`, which keeps the libraries quiet and turns what
a user can mend into a `ModelError`.
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
_OTHER_SHAPES = "its weights have other shapes than its config.json (with model.model_args) says"
UNEXPECTED_ARGUMENT = re.compile(r"unexpected keyword argument '(\w+)'")


def trusts_remote_code(arguments: Mapping[str, Any]) -> bool:
    """Whether code from a repository may run: only if the config says exactly `true` ("true" and 1 do not count)."""
    return arguments.get("trust_remote_code") is True


def check_folder(key: str, name: str, needed: str) -> None:
    """Refuse a local path that cannot hold what is asked for; hub ids pass.

    Args:
        key: the config's key, for the message (`model.name`).
        name: hub id or path.
        needed: the file that a folder must have (`config.json`).

    Raises:
        ModelError: no such folder, a file, or a folder without `needed`.
    """
    path = Path(name).expanduser()
    if not path.exists():
        if name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name:
            raise ModelError(f'{key}: there is no folder "{name}"')
        return
    if not path.is_dir():
        raise ModelError(f'{key}: "{name}" is a file; the folder that holds {needed} is needed')
    if (path / needed).exists():
        return
    if needed == "config.json" and (path / "adapter_config.json").exists():
        raise ModelError(f'{key}: "{name}" holds an adapter; name it in model.adapter, and its base in model.name')
    held = ", ".join(sorted(file.name for file in path.iterdir())[:8]) or "nothing"
    raise ModelError(f'{key}: the folder "{name}" has no {needed} (it has: {held})')


@contextmanager
def reading(key: str, name: str, arguments: Mapping[str, Any]) -> Iterator[None]:
    """Load something inside this: quiet libraries, and one clear line for what the user can mend.

    Args:
        key: the config's key, for the message.
        name: hub id or path that is read.
        arguments: the user's arguments, so that an unknown one is told from a bug.

    Raises:
        ModelError: the thing is absent, broken or of another kind, or an argument is unknown.
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
                f'{key}: "{name}" wants to run code of its own; if you trust it, '
                "set model.model_args.trust_remote_code to true"
            ) from error
        reason = _OTHER_SHAPES if "ignore_mismatched_sizes" in str(error) else one_line(error)
        raise ModelError(f'{key} "{name}" cannot be loaded: {reason}') from error


def pickled(key: str, name: str) -> ModelError:
    """What is said of weights that are no plain tensors; the libraries read nothing else."""
    return ModelError(
        f'{key}: "{name}" holds pickled weights that are damaged or not plain tensors, and reading them could run '
        "code: where you trust them, load them elsewhere and write safetensors (save_pretrained does)"
    )


def import_peft() -> ModuleType:
    """The module `peft`. Its first import brings bitsandbytes, which logs at once about kernels nobody asked for."""
    if "peft" in sys.modules:
        return sys.modules["peft"]
    with quiet():
        return import_module("peft")


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars, log chatter or warnings from the libraries inside; as before afterwards."""
    import datasets
    from transformers.utils import logging

    _quiet_gptqmodel()
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    data_bars = datasets.are_progress_bars_disabled()
    # each setting of a level has the library look at all loggers there are: not where it is set already
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
    """It reports on stdout, by a logger of a kind of its own; PEFT imports it wherever it is installed."""
    if find_spec("logbar") is not None:
        import_module("logbar").LogBar.shared().setLevel("ERROR")
