"""What a caller hands over, as a file that a command reads: a path as it is, a dict as JSON in a folder of its own."""

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

SOURCE = "config"  # what messages call a config that is no file
_FILE = "experiment.json"  # its stem is the name of a config without one


@contextmanager
def config_file(config: ConfigOrPath) -> Iterator[Path]:
    """Inside, the config is a file; that of a dict is removed afterwards.

    Relative paths in a dict are looked for in the working directory.

    Raises:
        ConfigError: the dict holds something that is not JSON; or, raised inside, names the dict's file.
    """
    if not isinstance(config, Mapping):
        yield Path(config)
        return
    text = _as_json(config)
    with tempfile.TemporaryDirectory(prefix="sft-config-") as folder:  # readable for its owner only
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
        raise ConfigError(SOURCE, [Problem("", f"expected values that JSON has: {error}")]) from None


def _plain(value: Any) -> Any:
    """Mappings, paths, and the numbers of numpy, which `json` does not take."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    raise TypeError(f"got {type(value).__name__} ({str(value)[:60]})")
