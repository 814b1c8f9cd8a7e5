"""Splitting a batch: every row once, never over budget, and at the lowest cost among all splits of the same order."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from sft.training.parts import Costs, Part, Row, Splitter, common_prefix


def rows_of(seed: int, count: int = 7) -> list[Row]:
    """Return rows of different lengths with one of three prefixes."""
    draw = random.Random(seed)  # noqa: S311
    families = [[draw.randrange(9) for _ in range(draw.randint(0, 30))] for _ in range(3)]
    made = []
    for _ in range(count):
        prompt = draw.choice(families) + [draw.randrange(9) for _ in range(draw.randint(1, 12))]
        made.append(Row(prompt + [7] * draw.randint(1, 4), len(prompt)))
    return made


def cost(splitter: Splitter, rows: list[Row], parts: list[Part]) -> float:
    """Return the cost of a split, computed directly."""
    total = 0.0
    for part in parts:
        lengths = [len(rows[index].ids) for index in part.rows]
        if splitter.shares:
            tokens = part.shared + sum(length - part.shared for length in lengths)
            total += splitter.costs.start + tokens + splitter.costs.pair * tokens**2
        else:
            tokens = len(lengths) * max(lengths)
            total += splitter.costs.start + tokens + splitter.costs.pair * tokens * max(lengths)
    return total


def all_splits(splitter: Splitter, rows: list[Row]) -> Iterator[list[Part]]:
    """Yield every split of the sorted rows."""
    key = (lambda index: list(rows[index].ids)) if splitter.shares else (lambda index: -len(rows[index].ids))
    order = sorted(range(len(rows)), key=key)
    for cuts in itertools.product((False, True), repeat=len(rows) - 1):
        groups: list[list[int]] = [[order[0]]]
        for index, cut in zip(order[1:], cuts, strict=True):
            groups.append([index]) if cut else groups[-1].append(index)
        yield [Part(tuple(group), shared_by([rows[index] for index in group])) for group in groups]


def shared_by(rows: list[Row]) -> int:
    if len(rows) == 1:
        return 0
    limit = min(row.start for row in rows) - 1
    return next((index for index in range(limit) if len({row.ids[index] for row in rows}) > 1), limit)


@pytest.mark.parametrize("shares", [True, False])
@pytest.mark.parametrize("seed", range(12))
def test_no_split_is_cheaper(seed: int, shares: bool) -> None:
    rows = rows_of(seed)
    splitter = Splitter(Costs(start=seed * 4.0, pair=0.01), shares)
    parts = splitter.split(rows)
    assert sorted(index for part in parts for index in part.rows) == list(range(len(rows)))
    if shares:
        assert all(part.shared == shared_by([rows[index] for index in part.rows]) for part in parts)
    cheapest = min(cost(splitter, rows, parts) for parts in all_splits(splitter, rows))
    assert cost(splitter, rows, parts) == pytest.approx(cheapest)


@pytest.mark.parametrize("shares", [True, False])
def test_no_part_is_over_budget(shares: bool) -> None:
    rows = [*rows_of(1, 20), Row(list(range(90)), 80)]
    parts = Splitter(Costs(1e6, 0.0), shares, most_tokens=60).split(rows)
    assert sorted(index for part in parts for index in part.rows) == list(range(21))
    for part in parts:
        lengths = [len(rows[index].ids) - part.shared for index in part.rows]
        tokens = part.shared + sum(lengths) if shares else len(lengths) * max(lengths)
        assert tokens <= 60 or part.rows == (20,)
    assert len(Splitter(Costs(1e6, 0.0), shares).split(rows)) == 1
    few = Splitter(Costs(1e6, 0.0), shares, most_targets=6).split(rows[:20])
    assert all(sum(len(rows[p].ids) - rows[p].start for p in part.rows) <= 6 or len(part.rows) == 1 for part in few)


def test_the_last_token_of_a_prompt_is_never_shared() -> None:
    same = Row([1, 2, 3, 9], 3)
    assert common_prefix(same, Row([1, 2, 3, 8], 3)) == 2
    assert common_prefix(same, same) == 2
    assert common_prefix(same, Row([4], 1)) == 0
    assert Splitter(Costs(1e6, 0.0), shares=True).split([same, same]) == [Part((0, 1), 2)]


def test_rows_with_a_common_prefix_share_a_part() -> None:
    rows = [Row([kind] * 40 + [5, row, 6], 42) for row in range(3) for kind in (1, 2)]
    parts = Splitter(Costs(8.0, 1e-4), shares=True).split(rows)
    assert sorted(sorted(part.rows) for part in parts) == [[0, 2, 4], [1, 3, 5]]
    assert {part.shared for part in parts} == {41}


def test_costs_follow_the_size_of_a_layer() -> None:
    small, large = (SimpleNamespace(hidden_size=size, intermediate_size=3 * size) for size in (128, 1024))
    assert Costs.of(small, on_cpu=True).start > Costs.of(large, on_cpu=True).start
    assert Costs.of(small, on_cpu=True).pair > Costs.of(large, on_cpu=True).pair
    assert Costs.of(large, on_cpu=False).start > Costs.of(large, on_cpu=True).start
    assert Costs.of(SimpleNamespace(hidden_size=128, n_inner=None), on_cpu=True).pair > 0  # GPT-2's config
