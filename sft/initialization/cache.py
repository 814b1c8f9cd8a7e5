"""Initial matrices on disk, so that the runs of a sweep compute them once. Knows nothing of how they are made.

Keyed by the weight's content, the initialiser, the rank and the dtype; in `$XDG_CACHE_HOME/sft/initializers`
(`~/.cache/...`). Files are written whole or not at all and hold their own checksum; of runs side by side one computes
while the others wait for it. The folder can be deleted at any time.
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
SMALLEST = 2**18  # entries of a weight; for smaller ones computing is as fast as reading
SLOW = "umap"  # but by these, which also take seconds to be ready
LONGEST_WAIT = 600.0  # seconds for another run that computes the same; then it is computed here too
CHECKSUM = "xxh3"  # in a file's metadata: of its matrices, names, shapes and dtypes included

logger = get_logger(__name__)
Matrices = dict[str, torch.Tensor]


def cached(weight: torch.Tensor, name: str, rank: int, dtype: torch.dtype, make: Callable[[], Matrices]) -> Matrices:
    """What `make` returns, from disk if it was made before for the same weight, initialiser, rank and dtype.

    Small weights are not stored, where making is quick. A folder that cannot be written is no error: the matrices are
    just made again.
    """
    if weight.numel() < SMALLEST and not name.startswith(SLOW):
        return make()
    file = cache_folder() / f"{_key(weight, name, rank, dtype)}.safetensors"
    if (found := _read(file)) is not None:
        return found
    with _alone(file):
        if (found := _read(file)) is not None:  # another run has made them meanwhile
            return found
        made = {key: value.detach().cpu().contiguous() for key, value in make().items()}
        try:
            write_atomic(file, save(made, metadata={CHECKSUM: _checksum(made)}))
        except OSError as error:
            logger.warning("initial matrices are not cached: %s", error)
    return made


def cache_folder() -> Path:
    """Where the files lie."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "sft" / "initializers"


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """One run at a time makes what goes into `file`; the lock ends with its process. Where there are no locks, or it
    takes too long, every run makes it."""
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
        with suppress(OSError):  # first: whoever waits on it sees that, and makes a new one
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _read(file: Path) -> Matrices | None:
    """What the file holds; None where it is absent or damaged."""
    try:
        with safe_open(file, framework="pt") as held:
            found = {key: held.get_tensor(key) for key in held.keys()}  # noqa: SIM118 - it is no mapping
            checksum = (held.metadata() or {}).get(CHECKSUM)
    except (OSError, SafetensorError, ValueError):
        return None
    if checksum == _checksum(found):
        return found
    logger.warning("%s is damaged; the initial matrices are made anew", file)
    return None


def _checksum(matrices: Matrices) -> str:
    checksum = xxhash.xxh3_128()
    for key in sorted(matrices):
        value = matrices[key]
        checksum.update(repr((key, str(value.dtype), tuple(value.shape))).encode())
        checksum.update(_bytes(value))
    return checksum.hexdigest()


def _key(weight: torch.Tensor, name: str, rank: int, dtype: torch.dtype) -> str:
    """No secret is kept by it: a quick hash will do, since it reads every weight of a model in every run."""
    key = xxhash.xxh3_128(repr((VERSION, name, rank, str(dtype), str(weight.dtype), tuple(weight.shape))).encode())
    key.update(_bytes(weight))
    return key.hexdigest()


def _bytes(tensor: torch.Tensor) -> memoryview:
    return tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data
