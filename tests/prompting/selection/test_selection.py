"""Ways to choose by name, the user's own among them, and what they give is checked."""

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


def test_the_usual_ways() -> None:
    assert TASK_TYPES["classification"].selection == "balanced"
    assert TASK_TYPES["generation"].selection == "random"
    assert find_selection("nearest").by_row
    assert wanted().total == 2
    assert Wanted(Pool(["a"]), (), 3, None, 13).total == 3
    with pytest.raises(UserError, match='unknown way to choose examples "nearst"; did you mean "nearest"'):
        find_selection("nearst")


def test_the_users_own_is_a_function_or_a_selection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    ("given", "said"),
    [
        ([[1]], "1 lists of examples for 2 rows"),
        ([[1], [4]], "row 1: 4 is not the index of one of the pool's 4 rows"),
        ([[1], [-1]], "row 1: -1 is not"),
        ([[1], [2, 2]], "row 1: a row stands there twice"),
        ([[0], [1]], "row 0: row 0 of the pool has the very text that is asked about"),
        ([["a"], [1]], "'a' is not the index of a row"),
        ([[1.0], [1]], "1.0 is not the index of a row"),
    ],
)
def test_what_it_gives_is_checked(given: list[list[Any]], said: str) -> None:
    with pytest.raises(UserError, match=said):
        choose_examples(Selection(lambda _: given), wanted())


def test_examples_for_all_are_checked_against_all() -> None:
    with pytest.raises(UserError, match="row 2 of the pool has the very text"):
        choose_examples(Selection(lambda _: [[2, 1]]), wanted(per_row=False, asked=("z", "c")))
    import numpy as np

    assert choose_examples(Selection(lambda _: np.array([[2, 1]])), wanted(per_row=False)) == [[2, 1]]
