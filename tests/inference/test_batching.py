"""Batches by memory and length, halved when memory runs out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from sft.inference.batching import Capacity, Costs, is_out_of_memory, run_batches


def test_auto_takes_what_fits_and_a_number_what_it_says() -> None:
    assert Capacity("auto", memory=1000, tokens=10_000).rows(cost=100, tokens=5, left=99) == 10
    assert Capacity("auto", memory=1000, tokens=40).rows(cost=100, tokens=5, left=99) == 8
    assert Capacity("auto", memory=1000, tokens=40).rows(cost=5000, tokens=5, left=99) == 1
    assert Capacity(7, memory=1, tokens=1).rows(cost=100, tokens=5, left=99) == 7
    assert Capacity(7, memory=1, tokens=1).rows(cost=100, tokens=5, left=2) == 2
    assert Capacity(7, memory=300, tokens=1000).fitting(cost=100, tokens=5, left=99) == 3


@pytest.mark.parametrize("size", ["auto", 9])
def test_all_is_done_once_in_order_with_half_as_much_after_each_shortage(size: Any) -> None:
    done: list[int] = []
    tried: list[int] = []
    told: list[int] = []

    def work(rows: Sequence[int]) -> None:
        tried.append(len(rows))
        if len(rows) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        done.extend(rows)

    order = [3, 1, 4, 15, 9, 2, 6, 5, 35]
    capacity = Capacity(size, memory=10**9, tokens=10**6)
    run_batches(order, lambda _, left: capacity.rows(1, 1, left), work, capacity, told.append)
    assert done == order
    assert tried == [9, 4, 2, 2, 2, 2, 1]
    assert told == [2, 4, 6, 8, 9]


def test_a_single_row_that_does_not_fit_is_an_error_and_so_is_any_other() -> None:
    capacity = Capacity("auto", memory=100, tokens=100)
    for error, tries in ((MemoryError("no"), 3), (RuntimeError("shapes differ"), 1), (KeyError("out of memory"), 1)):
        tried = []

        def work(rows: Sequence[int], error: Exception = error, tried: list[int] = tried) -> None:
            tried.append(len(rows))
            raise error

        fresh = Capacity("auto", memory=4, tokens=100)
        with pytest.raises(type(error)):
            run_batches(range(4), lambda _, left, fresh=fresh: fresh.rows(1, 1, left), work, fresh)
        assert len(tried) == tries
    assert capacity.halve(rows=2)


def test_what_says_that_memory_ran_out() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_a_failed_allocation_on_the_cpu_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


def test_costs_grow_with_what_is_fed(make_model: Any) -> None:
    for family in ("llama", "gpt2", "bloom", "mamba"):
        costs = Costs.of(make_model(family))
        assert costs.prompt(200) > costs.prompt(100) > 100 * costs.cached
        assert costs.label(100, 4) > costs.label(100, 2)
        assert costs.label(200, 4) > costs.label(100, 4)
    costs = Costs.of(make_model("llama"))
    assert costs.cached == 2 * 2 * 2 * 8 * 4, "two layers, keys and values, two heads of eight fp32 numbers"
    assert costs.logits == 300 * (4 + 8)
