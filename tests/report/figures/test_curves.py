"""Learning curves: what lines there are, their bands, and what is said of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from sft.report.comparison import Comparison
from sft.report.figures import Figure, figures_of
from sft.report.figures.curves import MOST_POINTS
from sft.report.metrics import bounds

Make = Callable[..., Comparison]
INITS = (True, "pca", "pissa")


def score(settings: Mapping[str, Any], seed: int) -> dict[str, float]:
    shots = settings.get("shots", 4)
    value = 0.5 + (100 if shots == "all" else shots) / 250 + (seed - 14) / 50
    return {"accuracy": value, "ece": 1 - value}


def curves_of(comparison: Comparison) -> dict[str, Figure]:
    return {one.name: one for one in figures_of(comparison) if one.name.startswith("curve-")}


def records(figure: Figure) -> list[dict[str, Any]]:
    return list(figure.spec["data"]["values"])


def test_a_line_with_a_band_over_the_shots(made: Make, draw: Callable[..., Any]) -> None:
    comparison = made([{"shots": shots} for shots in (0, 4, 16, 64)], score)
    figures = curves_of(comparison)
    assert list(figures) == ["curve-accuracy-shots", "curve-ece-shots"]
    leading = figures["curve-accuracy-shots"]
    assert [record["x"] for record in records(leading)] == [0, 4, 16, 64]
    of_four = records(leading)[1]
    values = [score({"shots": 4}, seed)["accuracy"] for seed in (13, 14, 15)]
    assert of_four["mean"] == pytest.approx(statistics.fmean(values))
    assert of_four["high"] - of_four["mean"] == pytest.approx(statistics.stdev(values), abs=1e-6)
    assert records(leading)[0]["std"] is None  # one run: no band
    assert "± 1 standard deviation over seeds" in leading.caption
    drawn = draw(leading.spec)
    assert (drawn.marks("line"), drawn.marks("area")) == (1, 1)
    assert drawn.marks("symbol") == 4 + 3 * 3
    assert [text for text in drawn.texts if text in ("0", "4", "16", "64")] == ["0", "4", "16", "64"]
    assert {"shots", "accuracy"} <= set(drawn.texts)
    assert "ECE (lower is better)" in draw(figures["curve-ece-shots"].spec).texts


def test_small_numbers_of_shots_stand_apart(made: Make) -> None:
    comparison = made([{"shots": shots} for shots in (0, 4, 16, 64)], score)
    scale = curves_of(comparison)["curve-accuracy-shots"].spec["layer"][0]["encoding"]["x"]["scale"]
    assert (scale["type"], scale["constant"]) == ("symlog", 4)


def test_bands_end_where_the_metric_does(made: Make) -> None:
    comparison = made(
        [{"shots": 4}, {"shots": 8}],
        lambda _, seed: {"accuracy": float(seed > 13), "ece": float(seed > 14), "mine": seed},
    )
    figures = curves_of(comparison)
    assert {record["high"] for record in records(figures["curve-accuracy-shots"])} == {1.0}
    assert {record["low"] for record in records(figures["curve-ece-shots"])} == {0.0}
    assert {record["high"] for record in records(figures["curve-mine-shots"])} == {15.0}  # its scale is not known


def test_zero_shot_is_a_point_of_every_line(made: Make, draw: Callable[..., Any]) -> None:
    varied = [{"shots": shots, "init_lora_weights": init} for shots in (4, 16) for init in INITS]
    figure = curves_of(made([{"shots": 0}, *varied], score))["curve-accuracy-shots-init"]
    series = {(record["series"], record["x"]) for record in records(figure)}
    assert series == {(init, x) for init in ("default", "pca", "pissa") for x in (0, 4, 16)}
    assert "Zero-shot is one point that all lines share." in figure.caption
    drawn = draw(figure.spec)
    assert drawn.marks("line") == 3
    assert {"init", "default", "pca", "pissa"} <= set(drawn.texts)


def test_groups_of_group_by_share_zero_shot_too(made: Make) -> None:
    """Their settings have short names."""
    varied = [{"shots": shots, "init_lora_weights": init} for shots in (4, 16) for init in INITS]
    whole = made([{"shots": 0}, *varied], score)
    short = tuple(one._replace(key=one.name) for one in whole.settings)
    figure = curves_of(replace(whole, settings=short, grouped=("shots", "init")))["curve-accuracy-shots-init"]
    assert records(figure) == records(curves_of(whole)["curve-accuracy-shots-init"])
    assert figure.caption.startswith("Mean over the runs of a group; the band is ± 1 standard deviation over the runs")


def test_a_calibration_that_is_not_there_is_a_value(made: Make) -> None:
    varied = [{"shots": shots, "calibration": name} for shots in (0, 4) for name in (None, "batch")]
    figure = curves_of(made(varied, score))["curve-accuracy-shots-calibration"]
    assert {record["series"] for record in records(figure)} == {"-", "batch"}


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("accuracy", (0, 1)),
        ("bleu", (0, 100)),
        ("ter", (0, None)),
        ("mcc", (-1, 1)),
        ("log_loss", (0, None)),
        ("x:y", None),
    ],
)
def test_what_metrics_can_be(metric: str, expected: tuple[float, float | None] | None) -> None:
    assert bounds(metric) == expected


def test_all_shots_stand_at_their_number(made: Make, draw: Callable[..., Any]) -> None:
    figure = curves_of(made([{"shots": shots} for shots in (4, "all", 16)], score))["curve-accuracy-shots"]
    assert sorted(record["x"] for record in records(figure)) == [4, 16, 75]  # of 100 and 50 rows of two labels
    assert "all" in draw(figure.spec).texts
    failed = made(
        [{"shots": 4}, {"shots": 16}, {"shots": "all"}],
        lambda one, seed: None if one["shots"] == "all" else score(one, seed),
    )
    axis = curves_of(failed)["curve-accuracy-shots"].spec["layer"][0]["encoding"]["x"]["axis"]
    assert axis["values"] == [4, 16, 32]  # beyond the others, since nobody knows


def test_many_combinations_are_averaged_by_seed(made: Make) -> None:
    varied = [
        {"shots": shots, "init_lora_weights": init, "r": r}
        for shots in (4, 16) for init in INITS for r in (2, 4, 8, 16)
    ]  # fmt: skip

    def by_rank(one: Mapping[str, Any], seed: int) -> dict[str, float]:
        return {"accuracy": one["r"] / 20 + (seed - 14) / 100}

    figures = curves_of(made(varied, by_rank))
    assert list(figures) == ["curve-accuracy-shots-init", "curve-accuracy-shots-r"]  # the fewest values first
    figure = figures["curve-accuracy-shots-init"]
    assert "Averaged over r." in figure.caption
    assert len(records(figure)) == 2 * 3
    for record in records(figure):
        assert record["mean"] == pytest.approx(statistics.fmean([2, 4, 8, 16]) / 20)
        assert record["std"] == pytest.approx(0.01)  # of the seeds, not of the ranks
        assert (record["runs"], record["about"]) == (12, "mean of 4 configurations")


def test_where_shots_hardly_vary_another_number_is_the_axis(made: Make, draw: Callable[..., Any]) -> None:
    varied = [{"shots": 0}, *({"shots": 16, "learning_rate": rate} for rate in (1e-4, 3e-4, 1e-3, 1e-2))]
    figure = curves_of(made(varied, score))["curve-accuracy-lr"]
    assert figure.spec["layer"][0]["encoding"]["x"]["scale"]["type"] == "log"
    assert "The dashed line is zero-shot." in figure.caption
    drawn = draw(figure.spec)
    assert {"0.0001", "0.0003", "0.001", "0.01", "zero-shot"} <= set(drawn.texts)
    assert drawn.marks("rule") == 1


def test_what_changes_along_with_the_shots_makes_no_lines(made: Make) -> None:
    varied = [
        {"shots": shots, "max_steps": 10 * shots, "r": r, "lora_alpha": 2 * r} for shots in (4, 16) for r in (4, 8)
    ]
    figures = curves_of(made(varied, score))
    assert list(figures) == ["curve-accuracy-shots-r", "curve-ece-shots-r"]  # alpha says what the rank says
    assert "Along with shots also changes max_steps." in figures["curve-accuracy-shots-r"].caption


def test_there_is_no_curve_without_two_places(made: Make) -> None:
    assert not curves_of(made([{"shots": 4}], score))
    assert not curves_of(made([{"init_lora_weights": init} for init in INITS], score))
    assert not curves_of(made([{"shots": 4}, {"shots": 8}], lambda *_: None))
    one_left = made([{"shots": 4}, {"shots": 8}], lambda one, seed: score(one, seed) if one["shots"] == 4 else None)
    assert not curves_of(one_left)


def test_single_runs_are_left_out_where_they_are_too_many(made: Make) -> None:
    seeds = range(MOST_POINTS // 2 + 1)
    figure = curves_of(made([{"shots": 4}, {"shots": 8}], score, seeds=seeds))["curve-accuracy-shots"]
    assert figure.caption.endswith(f"The {2 * len(seeds)} single runs are too many to be drawn.")
    assert all("run" not in str(layer.get("data")) for layer in figure.spec["layer"])


def test_one_seed_has_no_band_and_says_so(made: Make) -> None:
    figure = curves_of(made([{"shots": 4}, {"shots": 8}], score, seeds=(13,)))["curve-accuracy-shots"]
    assert figure.caption == "One run at each point."
