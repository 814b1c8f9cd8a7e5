"""Cache initial matrices on disk, so that the runs of a sweep compute them once.

The key is the weight's content, the initialiser, the rank and the dtype. The files are in
`$XDG_CACHE_HOME/sft/initializers` (`~/.cache/...`), which can be deleted at any time. Files are
written atomically and contain a checksum. Of concurrent runs, one computes and the others wait.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
import xxhash
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from sft.io import write_atomic
from sft.log import get_logger

VERSION = 2  # raised when an initialiser of ours changes its result
SMALLEST = 2**18  # entries of a weight; computing is as fast as reading for smaller ones
SLOW = "umap"  # prefix of initialisers that are always cached, since they are slow
LONGEST_WAIT = 600.0  # seconds to wait for another run before computing here too
CHECKSUM = "xxh3"  # key of the checksum in the metadata; it covers names, shapes, dtypes and values

logger = get_logger(__name__)
Matrices = dict[str, torch.Tensor]


def cached(weight: torch.Tensor, name: str, rank: int, dtype: torch.dtype, make: Callable[[], Matrices]) -> Matrices:
    """Return the result of `make`, from disk if it exists for the same weight, initialiser, rank and dtype.

    Results for small weights are not stored. If the folder cannot be written, the matrices are computed each time.
    """
    if weight.numel() < SMALLEST and not name.startswith(SLOW):
        return make()
    file = cache_folder() / f"{_key(weight, name, rank, dtype)}.safetensors"
    if (matrices := _read(file)) is not None:
        return matrices
    with _alone(file):
        if (matrices := _read(file)) is not None:  # another run has stored them meanwhile
            return matrices
        made = {key: value.detach().cpu().contiguous() for key, value in make().items()}
        try:
            write_atomic(file, save(made, metadata={CHECKSUM: _checksum(made)}))
        except OSError as error:
            logger.warning("Initial matrices are not cached: %s", error)
    return made


def cache_folder() -> Path:
    """Return the folder of the files."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "sft" / "initializers"


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Hold a lock, so that only one run at a time creates `file`; the lock ends with the process.

    Without support for locks, or after `LONGEST_WAIT`, every run computes the matrices.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(file.with_suffix(".lock"), fallback_to_soft=False)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=LONGEST_WAIT)
    except (OSError, NotImplementedError, Timeout):
        yield
        return
    try:
        yield
    finally:
        with suppress(OSError):  # before the release: waiting runs notice it and create a new lock
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _read(file: Path) -> Matrices | None:
    """Read the matrices from a file; None if it is missing or corrupt."""
    try:
        with safe_open(file, framework="pt") as opened:
            matrices = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 - it is no mapping
            checksum = (opened.metadata() or {}).get(CHECKSUM)
    except (OSError, SafetensorError, ValueError):
        return None
    if checksum == _checksum(matrices):
        return matrices
    logger.warning("%s is corrupt; computing the initial matrices again", file)
    return None


def _checksum(matrices: Matrices) -> str:
    checksum = xxhash.xxh3_128()
    for key in sorted(matrices):
        value = matrices[key]
        checksum.update(repr((key, str(value.dtype), tuple(value.shape))).encode())
        checksum.update(_bytes(value))
    return checksum.hexdigest()


def _key(weight: torch.Tensor, name: str, rank: int, dtype: torch.dtype) -> str:
    """Return the key of the matrices; the hash is fast, not cryptographic, since it reads every weight in every run."""
    key = xxhash.xxh3_128(repr((VERSION, name, rank, str(dtype), str(weight.dtype), tuple(weight.shape))).encode())
    key.update(_bytes(weight))
    return key.hexdigest()


def _bytes(tensor: torch.Tensor) -> memoryview:
    return tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data
