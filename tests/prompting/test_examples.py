"""Choice of in-context examples: balanced, nested, seeded, never the row itself."""

from __future__ import annotations

import logging
from collections import Counter

import pytest

from sft.errors import DataError
from sft.prompting.examples import Choice, Pool, choose_fixed, choose_for_row, hold_out, rounds_for_rows

LABELS = ("negative", "neutral", "positive")


def pool(per_label: int = 5) -> Pool:
    return Pool([f"text {i}" for i in range(3 * per_label)], [LABELS[i % 3] for i in range(3 * per_label)])


def labels_of(source: Pool, choice: Choice) -> list[str]:
    assert source.labels is not None
    return [source.labels[index] for index in choice.indices]


def test_fixed_examples_are_balanced_in_rounds() -> None:
    source = pool()
    choice = choose_fixed(source, 3, 13)
    assert (choice.rounds, choice.round_size) == (3, 3)
    assert len(set(choice.indices)) == 9
    shown = labels_of(source, choice)
    assert all(sorted(shown[start : start + 3]) == sorted(LABELS) for start in (0, 3, 6))


def test_fewer_rounds_are_a_prefix_of_more() -> None:
    most = choose_fixed(pool(), 5, 13).indices
    assert all(choose_fixed(pool(), count, 13).indices == most[: 3 * count] for count in range(5))
    row = choose_for_row(pool(), 4, 13, 7, "another text").indices
    assert choose_for_row(pool(), 2, 13, 7, "another text").indices == row[:6]


def test_the_choice_depends_only_on_the_seed() -> None:
    assert choose_fixed(pool(), 2, 13) == choose_fixed(pool(), 2, 13)
    assert len({tuple(choose_fixed(pool(), 2, seed).indices) for seed in range(20)}) > 10
    assert len({tuple(choose_for_row(pool(), 2, 13, row, "").indices) for row in range(20)}) > 10
    orders = Counter(tuple(labels_of(pool(), choose_fixed(pool(), 1, seed))) for seed in range(300))
    assert len(orders) == 6, "every order of the labels occurs"
    assert min(orders.values()) > 20
    firsts = Counter(choose_fixed(Pool(["a", "b", "c", "d"]), 1, seed).indices[0] for seed in range(400))
    assert min(firsts.values()) > 60


def test_draws_are_frozen() -> None:
    assert choose_fixed(pool(4), 2, 13).indices == choose_fixed(pool(4), 2, 13).indices == FROZEN


FROZEN = [0, 11, 1, 7, 3, 2]


def test_generation_counts_examples_in_total() -> None:
    choice = choose_fixed(Pool([f"text {i}" for i in range(10)]), 4, 13)
    assert (len(set(choice.indices)), choice.rounds, choice.round_size) == (4, 4, 1)


def test_a_row_is_never_shown_itself_nor_its_duplicates() -> None:
    texts = ["same", "a", "same", "b", "c", "d"]
    source = Pool(texts, ["x", "x", "y", "y", "x", "y"])
    for row, text in enumerate(texts):
        for seed in range(20):
            choice = choose_for_row(source, 2, seed, row, text)
            assert text not in [texts[index] for index in choice.indices]
            assert Counter(labels_of(source, choice)) == {"x": 2, "y": 2}


def test_a_row_with_many_duplicates_is_shown_fewer_of_every_label() -> None:
    source = Pool(["same", "same", "a", "b", "c", "d"], ["x", "x", "x", "y", "y", "y"])
    choice = choose_for_row(source, 3, 13, 0, "same")
    assert choice.rounds == 1
    assert sorted(labels_of(source, choice)) == ["x", "y"]


def test_in_training_all_rows_have_equally_many_examples(caplog: pytest.LogCaptureFixture) -> None:
    """Fewer examples must not reveal the rows of a small label."""
    source = Pool(list("abcdefg"), ["x", "x", "y", "y", "y", "y", "y"])
    with caplog.at_level(logging.WARNING, logger="sft"):
        rounds = rounds_for_rows(source, 3, training=True)
    assert rounds == 1
    assert len(caplog.records) == 1
    assert "allows 1" in caplog.text
    shown = {choose_for_row(source, rounds, 13, row, text).rounds for row, text in enumerate(source.texts)}
    assert shown == {1}
    assert rounds_for_rows(pool(5), 4, training=True) == 4
    assert rounds_for_rows(pool(5), 5) == 5


@pytest.mark.parametrize(
    "source",
    [Pool(["a", "b", "c"], ["x", "x", "y"]), Pool(["same", "same", "b", "c"], ["x", "x", "y", "y"]), Pool(["a"])],
)
def test_in_training_one_row_of_a_label_is_not_enough(source: Pool) -> None:
    with pytest.raises(DataError, match="expected at least two rows"):
        rounds_for_rows(source, 1, training=True)
    assert rounds_for_rows(source, 0, training=True) == 0


def test_fewer_rounds_than_requested_are_balanced_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    source = Pool(list("abcde"), ["x", "x", "x", "x", "y"])
    with caplog.at_level(logging.WARNING, logger="sft"):
        choice = choose_fixed(source, 4, 13)
    assert sorted(labels_of(source, choice)) == ["x", "y"]
    assert "icl_examples is 4, but the data allows 1" in caplog.text


def test_a_label_without_an_example_is_an_error() -> None:
    with pytest.raises(DataError, match="no row of 'neutral'"):
        choose_fixed(Pool(["a", "b"], ["negative", "positive"]), 1, 13, LABELS)
    with pytest.raises(DataError, match="no row to show"):
        rounds_for_rows(Pool([]), 2)
    assert choose_fixed(Pool(["a", "b"], ["negative", "positive"]), 0, 13, LABELS).indices == []


def test_texts_of_evaluated_rows_are_not_shown() -> None:
    for seed in range(20):
        choice = choose_fixed(pool(3), 2, seed, exclude={"text 0", "text 4", "unknown"})
        assert not {0, 4} & set(choice.indices)
        assert choice.rounds == 2


def test_labels_unknown_to_the_task_are_left_out() -> None:
    source = Pool(list("abcd"), ["x", "y", "other", "x"])
    assert set(labels_of(source, choose_fixed(source, 1, 13, ("x", "y")))) == {"x", "y"}


def test_fixed_examples_are_held_out_of_training() -> None:
    source = pool(3)
    shown = choose_fixed(source, 1, 13).indices
    assert sorted([*hold_out(source, shown), *shown]) == list(range(9))
    copies = Pool(["a", "a", "b", "c"], ["x", "x", "x", "y"])
    assert hold_out(Pool([*copies.texts, "d"], [*(copies.labels or []), "y"]), [0, 3]) == [2, 4]
    with pytest.raises(DataError, match="no row of 'y' is left"):
        hold_out(copies, [0, 3])
    with pytest.raises(DataError, match="no row is left"):
        hold_out(Pool(["a", "a"]), [0])


def test_a_long_pool_costs_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing a row's examples reads only the drawn rows, not the pool."""
    source = Pool([f"text {i}" for i in range(30_000)], [str(i % 3) for i in range(30_000)])
    choose_for_row(source, 1, 13, 0, "")  # groups are made once
    import random

    drawn = 0
    original = random.Random.randrange

    def counting(self: random.Random, *args: int) -> int:
        nonlocal drawn
        drawn += 1
        return original(self, *args)

    monkeypatch.setattr(random.Random, "randrange", counting)
    choose_for_row(source, 2, 13, 1, "text 1")
    assert drawn < 20


def test_pools_are_validated() -> None:
    with pytest.raises(ValueError, match="got 2 texts and 1 labels"):
        Pool(["a", "b"], ["x"])
