"""Ways to choose examples by name, including the user's own; their results are checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sft.errors import UserError
from sft.prompting.examples import Pool
from sft.prompting.selection import Selection, Wanted, choose_examples, find_selection
from sft.task_types import TASK_TYPES

POOL = Pool(["a", "b", "c", "d"], ["x", "y", "x", "y"])


def wanted(per_row: bool = True, asked: tuple[str, ...] = ("a", "z")) -> Wanted:
    return Wanted(POOL, asked, 1, ("x", "y"), 13, per_row)


def test_default_ways() -> None:
    assert TASK_TYPES["classification"].selection == "balanced"
    assert TASK_TYPES["generation"].selection == "random"
    assert find_selection("nearest").by_row
    assert wanted().total == 2
    assert Wanted(Pool(["a"]), (), 3, None, 13).total == 3
    with pytest.raises(UserError, match='unknown way to choose examples "nearst"; did you mean "nearest"'):
        find_selection("nearst")


def test_a_users_own_way_is_a_function_or_a_selection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "choosing_of_a_test.py").write_text(
        "from sft.prompting.selection import Selection\n\n\n"
        "def longest(wanted):\n"
        "    return [[3, 1][:wanted.total] for _ in wanted.asked]\n\n\n"
        "first = Selection(lambda wanted: [[1]], by_row=False)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    longest = find_selection("choosing_of_a_test:longest")
    assert (longest.by_row, longest.whole_rounds, longest.last_stay) == (True, False, True)
    assert choose_examples(longest, wanted()) == [[3, 1], [3, 1]]
    assert not find_selection("choosing_of_a_test:first").by_row


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ([[1]], "expected 2 lists of examples, got 1"),
        ([[1], [4]], "row 1: expected indices from 0 to 3, got 4"),
        ([[1], [-1]], "row 1: expected indices from 0 to 3, got -1"),
        ([[1], [2, 2]], "row 1: a row appears twice"),
        ([[0], [1]], "row 0: row 0 of the pool has the text of the evaluated row"),
        ([["a"], [1]], "expected the index of a row, got 'a'"),
        ([[1.0], [1]], "expected the index of a row, got 1.0"),
    ],
)
def test_the_result_is_checked(chosen: list[list[Any]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        choose_examples(Selection(lambda _: chosen), wanted())


def test_shared_examples_are_checked_against_all_rows() -> None:
    with pytest.raises(UserError, match="row 2 of the pool has the text"):
        choose_examples(Selection(lambda _: [[2, 1]]), wanted(per_row=False, asked=("z", "c")))
    import numpy as np

    assert choose_examples(Selection(lambda _: np.array([[2, 1]])), wanted(per_row=False)) == [[2, 1]]
