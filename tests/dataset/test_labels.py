"""Labels: their origin, their order, and labels that are refused."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from sft.config.sections.schema import ExperimentConfig
from sft.dataset.labels import answers, discover_labels, label_texts
from sft.dataset.load import Splits
from sft.dataset.rows import Rows
from sft.errors import DataError


def config(labels: list[str] | None = None, verbalizers: dict[str, str] | None = None) -> ExperimentConfig:
    return ExperimentConfig.model_validate(
        {
            "dataset": {"path": "data", "task_type": "classification", "labels": labels},
            "model": {"name": "model"},
            "prompting": {"input_columns": ["text"], "output_column": "label", "verbalizers": verbalizers},
        }
    )


def table(values: list[Any], names: list[str] | None = None) -> Any:
    from datasets import ClassLabel, Dataset, Features, Value

    features = Features({"text": Value("string"), "label": ClassLabel(names=names)}) if names else None
    return Rows(Dataset.from_dict({"text": ["x"] * len(values), "label": values}, features=features))


def splits(train: Any = None, test: Any = None) -> Splits:
    return Splits(train=train, test=test, validation=None)


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    logging.getLogger("sft").propagate = True
    caplog.set_level(logging.WARNING, logger="sft")
    return caplog


def test_a_column_with_too_many_labels_is_refused_before_any_is_scored() -> None:
    rows = table([f"answer {number}" for number in range(10_001)])
    with pytest.raises(DataError, match=r'"label" has 10,001 labels; .* set dataset.task_type to "generation"'):
        discover_labels(config(), splits(train=rows))


def test_sorted_labels_of_the_train_split() -> None:
    assert discover_labels(config(), splits(table(["b", "a", "c"]), table(["a"]))) == ("a", "b", "c")


def test_words_that_python_parses_as_numbers_are_words() -> None:
    assert discover_labels(config(), splits(table(["nan", "10", "inf", "9", "a"]))) == ("9", "10", "a", "inf", "nan")


def test_class_label_names_keep_their_order() -> None:
    rows = table([1, 0], names=["spam", "ham"])
    assert discover_labels(config(), splits(rows)) == ("spam", "ham")
    assert answers(rows, "label", "data") == ["ham", "spam"]


def test_configured_labels_win() -> None:
    assert discover_labels(config(["c", "a", "b"]), splits(table(["a", "b"]))) == ("c", "a", "b")


def test_labels_of_the_test_split_come_with_a_warning(warnings: pytest.LogCaptureFixture) -> None:
    assert discover_labels(config(), splits(test=table(["b", "a"]))) == ("a", "b")
    assert "test split" in warnings.text


def test_integers_sort_by_value_and_a_warning_suggests_verbalizers(warnings: pytest.LogCaptureFixture) -> None:
    assert discover_labels(config(), splits(table([10, 2, 1]))) == ("1", "2", "10")
    assert "prompting.verbalizers" in warnings.text


def test_verbalizers() -> None:
    assert label_texts(config(verbalizers={"0": "no", "1": "yes"}), ["0", "1"]) == ["no", "yes"]
    assert label_texts(config(), ["0", "1"]) == ["0", "1"]
    with pytest.raises(DataError, match="lacks a text for 1"):
        label_texts(config(verbalizers={"0": "no"}), ["0", "1"])
    with pytest.raises(DataError, match='"2" is not a label'):
        label_texts(config(verbalizers={"0": "no", "1": "yes", "2": "no"}), ["0", "1"])
    with pytest.raises(DataError, match='same text "no"'):
        label_texts(config(verbalizers={"0": "no", "1": "no"}), ["0", "1"])


def test_an_unknown_test_label_is_refused() -> None:
    with pytest.raises(DataError, match=r'test split has the label "z" unknown to the labels found \(a, b\)'):
        discover_labels(config(), splits(table(["a", "b"]), table(["z"])))
    with pytest.raises(DataError, match=r"unknown to dataset.labels"):
        discover_labels(config(["a", "b"]), splits(table(["a", "z"])))


def test_a_single_label_is_refused() -> None:
    with pytest.raises(DataError, match="fewer than two labels"):
        discover_labels(config(), splits(table(["a", "a"])))


@pytest.mark.parametrize("values", [[None, None], ["", ""]])
def test_an_unlabelled_split_is_refused(values: list[Any]) -> None:
    with pytest.raises(DataError, match="holds no labels"):
        answers(table(values), "label", "data (test)")


def test_unlabelled_class_label_rows_are_refused() -> None:
    with pytest.raises(DataError, match="holds no labels"):
        answers(table([-1, -1], names=["a", "b"]), "label", "data (test)")


def test_missing_answers_name_the_first_row() -> None:
    with pytest.raises(DataError, match=r"1 of 3 rows have no answer .*first: row 1"):
        answers(table(["a", None, "b"]), "label", "data")
