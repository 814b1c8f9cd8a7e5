"""Out-of-memory errors are recognised by the exception and its causes, without torch."""

from __future__ import annotations

import errno

import pytest
import torch

from sft.memory import is_out_of_memory


class OutOfMemoryError(RuntimeError):
    """An exception with the name of torch's."""


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        OutOfMemoryError(),
        MemoryError(),
        RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_out_of_memory_errors(error: Exception) -> None:
    assert is_out_of_memory(error)
    for cause in (error, None):
        try:
            try:
                raise error
            except Exception as caught:
                if cause is not None:
                    raise ValueError("while loading") from caught
                raise ValueError("while loading")  # noqa: B904 - the context alone
        except ValueError as wrapped:
            assert is_out_of_memory(wrapped)


def test_what_does_not() -> None:
    for error in (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), KeyError("out of memory"), OSError(2, "")):
        assert not is_out_of_memory(error)
    try:
        try:
            raise MemoryError
        except MemoryError:
            raise ValueError("of its own") from None
    except ValueError as error:
        assert not is_out_of_memory(error)


def test_a_failed_allocation_on_the_cpu_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


def test_causes_that_go_in_a_circle_end() -> None:
    first, second = ValueError(), ValueError()
    first.__cause__, second.__cause__ = second, first
    assert not is_out_of_memory(first)
