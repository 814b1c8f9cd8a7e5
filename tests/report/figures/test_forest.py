"""Every configuration with its interval, and calibration before and after."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sft.report.comparison import Comparison
from sft.report.figures import Figure, figures_of
from sft.report.figures.forest import MOST_ROWS
from sft.report.significance import Interval, RowSignificance, Significance

Make = Callable[..., Comparison]


def figure_of(comparison: Comparison, kind: str = "intervals") -> Figure:
    return next(one for one in figures_of(comparison) if one.name.startswith(kind))


def by_shots(one: dict[str, Any], seed: int) -> dict[str, float]:
    return {"accuracy": 0.5 + one["shots"] / 100, "ece": 0.4 - one["shots"] / 100 + seed / 1000}


def with_tests(comparison: Comparison, tied: dict[int, bool | None]) -> Comparison:
    rows = {}
    for index, one in tied.items():
        found = comparison.rows[index].estimate("accuracy")
        assert found is not None
        interval = Interval(found.mean - 0.05, found.mean + 0.05, "t over 3 seeds")
        rows[index, "accuracy"] = RowSignificance(interval, None, one)
    return replace(comparison, significance=Significance(rows, {}))


def test_rows_are_sorted_best_first_with_their_intervals(made: Make, draw: Callable[..., Any]) -> None:
    comparison = with_tests(
        made([{"shots": n} for n in (0, 4, 16, 20)], by_shots), {0: False, 1: False, 2: True, 3: True}
    )
    figure = figure_of(comparison)
    records = figure.spec["data"]["values"]
    assert [(record["row"], record["group"]) for record in records] == [
        ("shots=20", "best"), ("shots=16", "not significantly different"), ("shots=4", "significantly different"),
        ("shots=0", "significantly different"),
    ]  # fmt: skip
    assert "95 % interval" in figure.caption
    assert "Interval: t over 3 seeds. Colours: paired test against the best, over rows and seeds." in figure.caption
    drawn = draw(figure.spec)
    assert drawn.marks("symbol") == 4
    assert drawn.marks("rule") == 4 + 1  # and the baseline
    assert [text for text in drawn.texts if "shots=" in text] == ["shots=20", "shots=16", "shots=4", "shots=0"]
    assert {"best", "not significantly different", "significantly different"} <= set(drawn.texts)


def test_without_tests_there_are_means_alone(made: Make, draw: Callable[..., Any]) -> None:
    figure = figure_of(made([{"shots": 0}, {"shots": 4}], by_shots))
    assert figure.caption == "Mean of each configuration. The dashed line is the baseline."
    drawn = draw(figure.spec)
    assert (drawn.marks("symbol"), drawn.marks("rule")) == (2, 1)


def test_lower_is_better_where_it_is(made: Make) -> None:
    comparison = made([{"shots": n} for n in (4, 16, 20)], lambda one, seed: {"ece": by_shots(one, seed)["ece"]})
    figure = figure_of(comparison)
    assert [record["row"] for record in figure.spec["data"]["values"]] == ["shots=20", "shots=16", "shots=4"]
    assert figure.spec["layer"][1]["encoding"]["x"]["title"] == "ECE (lower is better)"


def test_different_baselines_are_ticks(made: Make, draw: Callable[..., Any]) -> None:
    comparison = replace(made([{"shots": n} for n in (0, 4, 16, 20)], by_shots), baselines=(0, 0, 1, 1))
    figure = figure_of(comparison)
    assert "A tick marks the mean of the row's baseline." in figure.caption
    assert draw(figure.spec).marks("rect") == 3  # ticks are rectangles; the first row has no baseline


def test_only_the_best_of_many_rows(made: Make) -> None:
    comparison = made([{"shots": n + 1} for n in range(MOST_ROWS + 5)], by_shots, seeds=(13,))
    figure = figure_of(comparison)
    assert len(figure.spec["data"]["values"]) == MOST_ROWS
    assert figure.spec["data"]["values"][0]["row"] == f"shots={MOST_ROWS + 5}"
    assert f"The best {MOST_ROWS} of {MOST_ROWS + 5}." in figure.caption


def test_rows_with_equal_or_long_names_have_unique_labels(made: Make, draw: Callable[..., Any]) -> None:
    short = figure_of(made([{"shots": 4}, {"shots": 8}], by_shots, names=("same", "same")))
    assert [record["row"] for record in short.spec["data"]["values"]] == ["same", "same [2]"]
    long = figure_of(made([{"shots": 4, "r": 2}, {"shots": 8, "r": 4}], by_shots, names=("a" * 99, "b" * 99)))
    assert {"shots=8 r=4", "shots=4 r=2"} <= set(draw(long.spec).texts)


def test_long_names_are_what_varies_in_two_lines(made: Make, draw: Callable[..., Any]) -> None:
    other = {"shots": 16, "learning_rate": 0.001, "max_steps": 1000, "calibration": "contextual"}
    figure = figure_of(made([{"shots": 4}, other], by_shots, names=("a" * 99, "b" * 99)))
    rows = [record["row"] for record in figure.spec["data"]["values"]]
    assert rows[1] == "shots=4"  # nothing of what it has not
    first, second = rows[0].split("  ")
    assert set(f"{first} {second}".split()) == {"shots=16", "lr=0.001", "max_steps=1000", "calibration=contextual"}
    drawn = draw(figure.spec)
    assert drawn.marks("symbol") == 2
    assert not any("·" in text for text in drawn.texts)
    assert {first, second} <= {one.text for one in drawn.elements}


def test_a_single_row_has_no_figure(made: Make) -> None:
    assert figures_of(made([{"shots": 4}], by_shots)) == ()


def test_calibration_before_and_after(made: Make, draw: Callable[..., Any]) -> None:
    def calibrated(one: dict[str, Any], seed: int) -> dict[str, Any]:
        before = {"uncalibrated": {"accuracy": 0.4, "ece": 0.3}} if one["calibration"] else {}
        return {"accuracy": 0.5, "ece": 0.1 + one["shots"] / 1000, **before}

    varied = [{"shots": shots, "calibration": name} for name in (None, "batch") for shots in (4, 16)]
    comparison = made(varied, calibrated)
    figure = figure_of(comparison, "calibration")
    assert figure.title == "ECE before and after calibration"
    records = figure.spec["data"]["values"]
    assert [(record["before"], record["after"]) for record in records] == [(0.3, 0.104), (0.3, 0.116)]
    drawn = draw(figure.spec)
    assert (drawn.marks("symbol"), drawn.marks("rule")) == (4, 2)
    assert {"before calibration", "after calibration"} <= set(drawn.texts)
    other = replace(comparison, calibration="contextual")
    assert not [one for one in figures_of(other) if one.name.startswith("calibration")]
