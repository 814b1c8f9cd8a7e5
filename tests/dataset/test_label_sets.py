"""Rows with any number of labels, in all supported forms."""

from __future__ import annotations

from typing import Any

import pytest

from sft.dataset.label_sets import label_sets
from sft.dataset.rows import Rows
from sft.errors import DataError


def rows_of(values: list[Any], feature: Any = None) -> Any:
    from datasets import Dataset, Features

    features = None if feature is None else Features({"labels": feature})
    return Rows(Dataset.from_dict({"labels": values}, features=features))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([["a", "b"], ["b"], []], [["a", "b"], ["b"], []]),
        ([["a", "a"], None], [["a"], []]),
        ([[1, 2], [2]], [["1", "2"], ["2"]]),
        (["a; b", "b", "", None, " a ;"], [["a", "b"], ["b"], [], [], ["a"]]),
        ([3, 4], [["3"], ["4"]]),
    ],
)
def test_lists_and_separated_texts(values: list[Any], expected: list[list[str]]) -> None:
    assert label_sets(rows_of(values), "labels", ";", "here") == expected


def test_lists_of_class_labels() -> None:
    from datasets import ClassLabel, List

    rows = rows_of([[0, 2], []], List(ClassLabel(names=["joy", "fear", "anger"])))
    assert label_sets(rows, "labels", ",", "here") == [["joy", "anger"], []]
    assert rows.names("labels") == ["joy", "fear", "anger"]
    assert rows_of([["a"]]).names("labels") is None


@pytest.mark.parametrize("values", [[[], []], ["", ""], [None, None]])
def test_an_unlabelled_split_is_refused(values: list[Any]) -> None:
    with pytest.raises(DataError, match="holds no labels"):
        label_sets(rows_of(values), "labels", ",", "here")
