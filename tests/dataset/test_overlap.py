"""Duplicate rows: how they are counted, and how `drop_overlap` excludes them."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft.config.experiment import Experiment
from sft.config.sections.schema import ExperimentConfig
from sft.dataset.overlap import count_overlap, describe_overlap, same_words
from sft.dataset.task import Task, fingerprint, open_task
from sft.errors import DataError
from sft.prompting.plan import PromptPlan

MakeConfig = Callable[..., dict[str, Any]]
SAME = [
    ("Good day", "good  day!"), ("cafe\u0301", "caf\u00e9"), ("\ufb01ne", "fine"), ("a\u00a0b", "a b"), ("?!", "?!"),
    ("STRASSE", "stra\u00dfe"), (" x\n", "x"),
]  # fmt: skip
OTHER = [("good day", "good days"), ("?!", "!?"), ("", "x"), ("a b", "ab")]


@pytest.mark.parametrize(("first", "second"), SAME)
def test_texts_that_count_as_duplicates(first: str, second: str) -> None:
    assert same_words(first) == same_words(second)


@pytest.mark.parametrize(("first", "second"), OTHER)
def test_texts_that_do_not_count_as_duplicates(first: str, second: str) -> None:
    assert same_words(first) != same_words(second)


rows = st.lists(st.tuples(st.sampled_from(["a", "A", "b", "c", "c!"]), st.sampled_from("xy")), max_size=12)


@given(train=rows, test=rows)
def test_counts_equal_a_comparison_of_all_pairs(train: list[tuple[str, str]], test: list[tuple[str, str]]) -> None:
    splits = {
        name: ([text for text, _ in table], [answer for _, answer in table])
        for name, table in (("train", train), ("test", test))
    }
    counted = count_overlap(splits)
    duplicates = [[answer for text, answer in train if same_words(text) == same_words(mine)] for mine, _ in test]
    assert counted.with_train["test"].in_train == sum(map(bool, duplicates))
    others = [bool(answers) and own not in answers for answers, (_, own) in zip(duplicates, test, strict=True)]
    assert counted.with_train["test"].in_train_with_other_answer == sum(others)
    words = [same_words(text) for text, _ in train]
    assert counted.within["train"].repeated == sum(word in words[:index] for index, word in enumerate(words))
    contradicted = [any(same_words(t) == same_words(text) and a != answer for t, a in train) for text, answer in train]
    assert counted.within["train"].contradicting == sum(contradicted)


def test_near_duplicates_are_counted_only_on_request() -> None:
    pytest.importorskip("datasketch")
    train = ["How do I top up my card with the application on my phone?", "Where is my new card, it has been two weeks"]
    test = ["How do I top up my card with the application on my phone please", "something else that nobody asked"]
    splits = {"train": (train, ["a", "b"]), "test": (test, ["a", "b"])}
    assert count_overlap(splits).with_train["test"].in_train == 0
    near = count_overlap(splits, 0.7)
    assert (near.with_train["test"].in_train, near.train_rows) == (1, {0})


def write(path: Path, rows: list[tuple[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    train = [(f"train {n}", "good" if n % 2 else "bad") for n in range(8)]
    write(tmp_path / "train.csv", [*train, ("Test 0.", "bad"), ("test 1", "bad")])
    write(tmp_path / "test.csv", [(f"test {n}", "good" if n % 2 else "bad") for n in range(6)])
    return tmp_path


def opened(make_config: MakeConfig, folder: Path, **dataset: Any) -> Task:
    settings = {"path": str(folder), "task_type": "classification", "shots": "all", **dataset}
    return open_task(Experiment("x", ExperimentConfig.model_validate(make_config(dataset=settings))))


def test_the_result_and_the_notes_hold_the_counts(make_config: MakeConfig, folder: Path) -> None:
    task = opened(make_config, folder)
    record = fingerprint(task)["overlap"]
    assert record["with_train"]["test"] == {"rows": 6, "in_train": 2, "in_train_with_other_answer": 1}
    assert describe_overlap(record, "data") == [
        "data: 2 of 6 test rows have the same text as a train row, 1 of them with another answer"
    ]
    assert "drop_overlap" in task.notes()[0]
    assert {8, 9} <= set(task.shots.indices)


def test_drop_overlap_excludes_duplicates_and_keeps_the_order_of_the_others(
    make_config: MakeConfig, folder: Path
) -> None:
    every, kept = opened(make_config, folder).shots, opened(make_config, folder, drop_overlap=True).shots
    by_label = {
        label: [row for row in every.indices if row < 8 and row % 2 == odd] for label, odd in (("bad", 0), ("good", 1))
    }
    assert set(kept.indices) == set(range(8))
    for label, odd in (("bad", 0), ("good", 1)):
        assert [row for row in kept.indices if row % 2 == odd] == by_label[label]
    zero_shot = opened(make_config, folder, shots=0)
    assert fingerprint(zero_shot)["overlap"]["with_train"] == {}  # the train split is not used


def test_excluded_rows_are_not_shown_as_examples(make_config: MakeConfig, folder: Path, tokenizer: Any) -> None:
    settings = {"path": str(folder), "task_type": "classification", "shots": 0, "drop_overlap": True}
    config = make_config(dataset=settings, inference={"icl_examples": 4})
    experiment = Experiment("x", ExperimentConfig.model_validate(config))
    (shown,) = set(PromptPlan(experiment, open_task(experiment), tokenizer, None).evaluated("test").shown)
    assert set(shown) == set(range(8))


def test_excluding_all_rows_is_an_error(make_config: MakeConfig, tmp_path: Path) -> None:
    rows = [("one", "bad"), ("two", "good")]
    write(tmp_path / "train.csv", rows)
    write(tmp_path / "test.csv", rows)
    assert "2 of 2 test rows" in opened(make_config, tmp_path).notes()[0]
    with pytest.raises(DataError, match="drop_overlap excludes 2 rows"):
        opened(make_config, tmp_path, drop_overlap=True)


def test_a_label_whose_only_row_is_evaluated_has_no_example(
    make_config: MakeConfig, tmp_path: Path, tokenizer: Any
) -> None:
    write(tmp_path / "train.csv", [("one", "sad"), ("two", "glad")])
    write(tmp_path / "test.csv", [("one", "sad"), ("three", "glad")])
    settings = {"path": str(tmp_path), "task_type": "classification"}
    experiment = Experiment(
        "x", ExperimentConfig.model_validate(make_config(dataset=settings, inference={"icl_examples": 1}))
    )
    plan = PromptPlan(experiment, open_task(experiment), tokenizer, None)
    with pytest.raises(DataError, match="every row of 'sad' has the text of an evaluated row"):
        plan.evaluated("test")
