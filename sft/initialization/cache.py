"""Initial matrices on disk, so that the runs of a sweep compute them once. Knows nothing of how they are made.

Keyed by the weight's content, the initialiser, the rank and the dtype; in `$XDG_CACHE_HOME/sft/initializers`
(`~/.cache/...`). Files are written whole or not at all, so parallel runs may share the folder; it can be deleted at
any time.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from sft.io import write_atomic
from sft.log import get_logger

VERSION = 1  # raised when an initialiser of ours changes its result
SMALLEST = 2**18  # entries of a weight; for smaller ones computing is as fast as reading

logger = get_logger(__name__)
Matrices = dict[str, torch.Tensor]


def cached(weight: torch.Tensor, name: str, rank: int, dtype: torch.dtype, make: Callable[[], Matrices]) -> Matrices:
    """What `make` returns, from disk if it was made before for the same weight, initialiser, rank and dtype.

    Small weights are not stored. A folder that cannot be written is no error: the matrices are just made again.
    """
    if weight.numel() < SMALLEST:
        return make()
    file = cache_folder() / f"{_key(weight, name, rank, dtype)}.safetensors"
    if (found := _read(file)) is not None:
        return found
    made = make()
    try:
        write_atomic(file, save({key: value.contiguous() for key, value in made.items()}))
    except OSError as error:
        logger.warning("initial matrices are not cached: %s", error)
    return made


def cache_folder() -> Path:
    """Where the files lie."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "sft" / "initializers"


def _read(file: Path) -> Matrices | None:
    try:
        return load(file.read_bytes())
    except (OSError, SafetensorError):  # absent, or broken: made anew
        return None


def _key(weight: torch.Tensor, name: str, rank: int, dtype: torch.dtype) -> str:
    content = weight.detach().cpu().contiguous().view(torch.uint8).numpy()
    key = hashlib.sha256(repr((VERSION, name, rank, str(dtype), str(weight.dtype), tuple(weight.shape))).encode())
    key.update(content.data)
    return key.hexdigest()
