"""The main result at the top of the page: the best row, the split that chose it, and how certain it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from sft.report.comparison import Comparison, Row
from sft.report.formats.verdict import verdict
from sft.report.significance import RowSignificance, Significance


class Made:
    """A run with accuracies by split, which is all that the verdict reads."""

    def __init__(self, name: str, test: float | None, validation: float | None = None) -> None:
        self.name = self.id = self.recipe_id = name
        self.is_fixed = False
        found = {"test": test, "validation": validation}
        self.found = {split: {} if value is None else {"accuracy": value} for split, value in found.items()}
        self.result = None if test is None else self

    def metrics(self, split: str = "test") -> dict[str, float]:
        return self.found[split]


def comparison(*rows: tuple[int, list[Made]], **more: Any) -> Comparison:
    made = tuple(Row(tuple(runs), runs[0].name, (labelled,) if labelled else ()) for labelled, runs in rows)  # type: ignore[arg-type]
    given = {"best": {"accuracy": (1,)}, "chosen_on": "test", **more}
    return Comparison((), made, (), ("accuracy",), comparable=True, folder=Path(), **given)


ZERO, EIGHT, MORE = (0, [Made("zero", 0.4)]), (24, [Made("eight", 0.7), Made("eight", 0.8)]), (48, [Made("more", 0.6)])


def with_tests(base: Comparison, ties: dict[int, RowSignificance]) -> Comparison:
    return replace(base, significance=Significance({(index, "accuracy"): one for index, one in ties.items()}, {}))


def test_the_best_row_and_its_labelled_examples() -> None:
    assert verdict(comparison(ZERO, EIGHT)) == "Best accuracy: .750 ± .071 with eight, from 24 labelled examples."
    assert verdict(comparison(ZERO, EIGHT, best={})) == ""


def test_the_number_of_ties_and_of_untested_rows() -> None:
    table, worse, tied = (
        comparison(ZERO, EIGHT, MORE),
        RowSignificance(tied_with_best=False),
        RowSignificance(tied_with_best=True),
    )
    found = verdict(with_tests(table, {0: worse, 1: tied, 2: tied}))
    assert found.endswith("eight, from 24 labelled examples. 1 other is not significantly different "
                          "(test rows and seeds both sampled).")  # fmt: skip
    found = verdict(with_tests(table, {0: worse, 1: tied}))
    assert found.endswith("All others are significantly worse (test rows and seeds both sampled, 1 not tested).")
    found = verdict(with_tests(replace(table, chosen_on="validation", best={}), {}))
    assert found == ""


def test_rows_with_one_seed_each_are_not_tested() -> None:
    found = verdict(with_tests(comparison(ZERO, (24, [Made("eight", 0.7)])), {0: RowSignificance()}))
    assert found.endswith("Other seeds could change the order: with one seed each, recipes are not tested against "
                          "each other.")  # fmt: skip


def test_a_better_row_with_missing_runs_leaves_the_result_undecided() -> None:
    part = (48, [Made("part", 0.9), Made("part", None)])
    found = verdict(comparison(ZERO, EIGHT, part))
    assert found == (
        "Not decided: part is ahead of eight, from 24 labelled examples (accuracy .750 ± .071), but has runs missing."
    )
    behind = (48, [Made("part", 0.1), Made("part", None)])
    assert verdict(comparison(ZERO, EIGHT, behind)).startswith("Best accuracy: .750")


def test_a_choice_on_the_validation_rows_is_stated() -> None:
    rows = [(0, [Made("zero", 0.9, 0.4)]), (24, [Made("eight", 0.7, 0.8)])]
    found = verdict(comparison(*rows, chosen_on="validation"))
    assert found.startswith("Best accuracy on the validation rows: .800 with eight, from 24 labelled examples.")
    assert "On the test rows it has .700." in found


def test_the_cheapest_of_equal_rows_is_named() -> None:
    same = (0, [Made("zero", 0.75)])
    found = verdict(comparison(same, EIGHT, MORE, best={"accuracy": (0, 1)}))
    assert found == "Best accuracy: .750 with zero, from no labelled examples (1 other row with the same mean)."
