"""Turn a caller's config into a file that a command reads: a path stays, a dict becomes JSON in a temporary folder."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from sft.errors import ConfigError, Problem

ConfigOrPath = Mapping[str, Any] | str | os.PathLike[str]

SOURCE = "config"  # name of a dict config in messages
_FILE = "experiment.json"  # its stem is the name of a config without a name


@contextmanager
def config_file(config: ConfigOrPath) -> Iterator[Path]:
    """Provide the config as a file. The file of a dict is removed afterwards.

    Relative paths in a dict are relative to the working directory.

    Raises:
        ConfigError: the dict contains values that are not JSON. Errors raised inside are reported for `config`.
    """
    if not isinstance(config, Mapping):
        yield Path(config)
        return
    text = _as_json(config)
    with tempfile.TemporaryDirectory(prefix="sft-config-") as folder:  # readable only by its owner
        path = Path(folder) / _FILE
        path.write_text(text, encoding="utf-8")
        try:
            yield path
        except ConfigError as error:
            raise ConfigError(SOURCE, error.problems) from None


def _as_json(config: Mapping[str, Any]) -> str:
    try:
        return json.dumps(config, ensure_ascii=False, default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(SOURCE, [Problem("", f"expected JSON values: {error}")]) from None


def _plain(value: Any) -> Any:
    """Convert mappings, paths and numpy numbers, which `json` does not accept."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    raise TypeError(f"got {type(value).__name__} ({str(value)[:60]})")
