"""Batches by memory and length, halved when memory runs out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from sft.inference.batching import Capacity, Costs, run_batches
from sft.memory import halved


def test_auto_takes_what_fits_and_a_number_that_many() -> None:
    assert Capacity("auto", memory=1000, tokens=10_000).rows(cost=100, tokens=5, left=99) == 10
    assert Capacity("auto", memory=1000, tokens=40).rows(cost=100, tokens=5, left=99) == 8
    assert Capacity("auto", memory=1000, tokens=40).rows(cost=5000, tokens=5, left=99) == 1
    assert Capacity(7, memory=1, tokens=1).rows(cost=100, tokens=5, left=99) == 7
    assert Capacity(7, memory=1, tokens=1).rows(cost=100, tokens=5, left=2) == 2
    assert Capacity(7, memory=300, tokens=1000).fitting(cost=100, tokens=5, left=99) == 3


@pytest.mark.parametrize("size", ["auto", 9])
def test_all_is_done_once_in_order_with_half_the_batch_after_each_shortage(size: Any) -> None:
    done: list[int] = []
    tried: list[int] = []
    reports: list[int] = []

    def work(rows: Sequence[int]) -> None:
        tried.append(len(rows))
        if len(rows) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        done.extend(rows)

    order = [3, 1, 4, 15, 9, 2, 6, 5, 35]
    capacity = Capacity(size, memory=10**9, tokens=10**6)
    run_batches(order, lambda _, left: capacity.rows(1, 1, left), work, capacity, reports.append)
    assert done == order
    assert tried == [9, 4, 2, 2, 2, 2, 1]
    assert reports == [2, 4, 6, 8, 9]


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


def test_after_earlier_shortages_it_starts_with_less() -> None:
    device = torch.device("cpu")
    for size, halvings, rows in ((9, 0, 9), (9, 1, 4), (9, 3, 1), (9, 60, 1), ("auto", 0, 64), ("auto", 2, 16)):
        with halved(halvings):
            capacity = Capacity.of(device, size)
        assert capacity.rows(cost=1, tokens=128, left=99) == rows  # "auto" by the tokens that a forward takes
    whole = Capacity.of(device, "auto")
    with halved(1):
        half = Capacity.of(device, "auto")
    cost = 2**20  # by memory, which the machine's other work changes meanwhile
    assert half.fitting(cost, tokens=1, left=10**6) <= 0.6 * whole.fitting(cost, tokens=1, left=10**6)
    assert Capacity.of(device, 7).rows(cost=1, tokens=1, left=99) == 7


def test_costs_grow_with_what_is_fed(make_model: Any) -> None:
    for family in ("llama", "gpt2", "bloom", "mamba"):
        costs = Costs.of(make_model(family))
        assert costs.prompt(200) > costs.prompt(100) > 100 * costs.cached
        assert costs.label(100, 4) > costs.label(100, 2)
        assert costs.label(200, 4) > costs.label(100, 4)
        assert costs.packed(30, 8, 100, 400) > costs.packed(30, 8, 50, 400) > costs.packed(30, 4, 50, 400)
        assert costs.packed(30, 8, 50, 400) > costs.packed(10, 8, 50, 400) > 8 * costs.node(50, 400)
    costs = Costs.of(make_model("llama"))
    assert costs.cached == 2 * 2 * 2 * 8 * 4, "two layers, keys and values, two heads of eight fp32 numbers"
    assert costs.logits == 300 * (4 + 8)
