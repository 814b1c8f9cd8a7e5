"""Learning curves: lines, bands and captions."""

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


def test_small_numbers_of_shots_are_spread_on_the_axis(made: Make) -> None:
    comparison = made([{"shots": shots} for shots in (0, 4, 16, 64)], score)
    scale = curves_of(comparison)["curve-accuracy-shots"].spec["layer"][0]["encoding"]["x"]["scale"]
    assert (scale["type"], scale["constant"]) == ("symlog", 4)
    assert "The axis of shots is logarithmic, except for zero." in curves_of(comparison)["curve-accuracy-shots"].caption


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
    assert figure.caption.startswith("Mean over the runs of a group; the bar is ± 1 standard deviation over the runs")


CALIBRATIONS = (None, "batch")


def by_calibration(settings: Mapping[str, Any], seed: int) -> dict[str, float]:
    shots = settings["shots"]
    value = 0.2 + shots / 100 + (seed - 14) / 50 if shots else 0.2
    return {"accuracy": value + (0.02 if settings.get("calibration") else 0.0)}


def starts(figure: Figure) -> dict[str, float]:
    return {record["series"]: record["mean"] for record in records(figure) if record["x"] == 0}


def test_settings_that_apply_to_zero_shot_keep_lines_apart(made: Make, draw: Callable[..., Any]) -> None:
    """A calibrated line does not start at the mean of zero-shot with and without calibration."""
    trained = [
        {"shots": shots, "init_lora_weights": init, "calibration": name}
        for shots in (4, 16) for init in (True, "pca") for name in CALIBRATIONS
    ]  # fmt: skip
    zero_shot = [{"shots": 0, "calibration": name} for name in CALIBRATIONS]
    (figure,) = curves_of(made([*zero_shot, *trained], by_calibration)).values()
    assert starts(figure) == {"- · default": 0.2, "batch · default": 0.22, "- · pca": 0.2, "batch · pca": 0.22}
    assert "Lines that differ only in init share their zero-shot point." in figure.caption
    assert {record["about"] for record in records(figure) if record["x"] == 0} == {
        "shots=0", "shots=0, calibration=batch",
    }  # fmt: skip
    assert draw(figure.spec).marks("line") == 4


def test_a_line_joins_only_a_zero_shot_with_the_same_settings(made: Make) -> None:
    trained = [
        {"shots": shots, "init_lora_weights": init, "calibration": name}
        for shots in (4, 16) for init in (True, "pca") for name in CALIBRATIONS
    ]  # fmt: skip
    (figure,) = curves_of(made([{"shots": 0}, *trained], by_calibration)).values()
    assert starts(figure) == {"default · -": 0.2, "pca · -": 0.2}
    (figure,) = curves_of(made([{"shots": 0, "calibration": "contextual"}, *trained], by_calibration)).values()
    assert not starts(figure)
    assert "Points without a line are zero-shot." in figure.caption


def test_averages_start_at_zero_shot_only_if_both_average_over_the_same_values(made: Make) -> None:
    """Zero-shot without calibration does not start lines that are means with and without calibration."""
    trained = [
        {"shots": shots, "init_lora_weights": init, "calibration": name, "r": r}
        for shots in (4, 16) for init in (True, "pca", "pissa") for name in CALIBRATIONS for r in (2, 4)
    ]  # fmt: skip
    name = "curve-accuracy-shots-init"
    both = curves_of(made([*({"shots": 0, "calibration": one} for one in CALIBRATIONS), *trained], by_calibration))
    assert set(starts(both[name]).values()) == {0.21}
    assert starts(both["curve-accuracy-shots-calibration"]) == {"-": 0.2, "batch": 0.22}
    one = curves_of(made([{"shots": 0}, *trained], by_calibration))
    assert not starts(one[name])
    assert "Points without a line are zero-shot." in one[name].caption


def test_lines_across_are_kept_apart_too(made: Make, draw: Callable[..., Any]) -> None:
    trained = [
        {"shots": 16, "learning_rate": rate, "calibration": name} for rate in (1e-4, 1e-2) for name in CALIBRATIONS
    ]
    zero_shot = [{"shots": 0, "calibration": name} for name in CALIBRATIONS]
    figure = curves_of(made([*zero_shot, *trained], by_calibration))["curve-accuracy-lr-calibration"]
    assert "The dashed lines are zero-shot." in figure.caption
    drawn = draw(figure.spec)
    assert {"zero-shot · -", "zero-shot · batch"} <= set(drawn.texts)
    assert drawn.marks("rule") == 2


def test_many_lines_have_bars_beside_each_other(made: Make, draw: Callable[..., Any]) -> None:
    varied = [{"shots": shots, "init_lora_weights": init} for shots in (4, 16) for init in INITS]
    figure = curves_of(made(varied, score))["curve-accuracy-shots-init"]
    drawn = draw(figure.spec)
    assert (drawn.marks("area"), drawn.marks("rule")) == (0, 6)
    assert len({rule.get("transform") for rule in drawn.of("rule")}) == 6  # though all lines are the same
    few = draw(curves_of(made(varied[:2] + varied[3:5], score))["curve-accuracy-shots-init"].spec)
    assert (few.marks("area"), few.marks("rule")) == (2, 0)


def test_a_setting_of_rows_without_a_result_is_not_shown(made: Make) -> None:
    varied = [{"shots": 4}, {"shots": 16}, {"shots": 16, "instruction": "Which?"}]
    comparison = made(varied, lambda one, seed: None if "instruction" in one else score(one, seed))
    assert [setting.name for setting in comparison.settings] == ["shots", "instruction"]
    assert [one.name for one in figures_of(comparison)] == [
        "curve-accuracy-shots",
        "curve-ece-shots",
        "intervals-accuracy",
    ]
    first = made([varied[2], *varied[:2]], lambda one, seed: None if "instruction" in one else score(one, seed))
    assert figures_of(first)[-1].spec["data"]["values"][0]["row"] == "shots=16"  # its index among the rows with results


def test_an_absent_calibration_is_a_value(made: Make) -> None:
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
def test_bounds_of_metrics(metric: str, expected: tuple[float, float | None] | None) -> None:
    assert bounds(metric) == expected


def test_all_shots_are_drawn_at_their_number(made: Make, draw: Callable[..., Any]) -> None:
    figure = curves_of(made([{"shots": shots} for shots in (4, "all", 16)], score))["curve-accuracy-shots"]
    assert sorted(record["x"] for record in records(figure)) == [4, 16, 75]  # of 100 and 50 rows of two labels
    assert "all" in draw(figure.spec).texts
    failed = made(
        [{"shots": 4}, {"shots": 16}, {"shots": "all"}],
        lambda one, seed: None if one["shots"] == "all" else score(one, seed),
    )
    axis = curves_of(failed)["curve-accuracy-shots"].spec["layer"][0]["encoding"]["x"]["axis"]
    assert axis["values"] == [4, 16]


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


def test_another_number_is_the_axis_if_shots_hardly_vary(made: Make, draw: Callable[..., Any]) -> None:
    varied = [{"shots": 0}, *({"shots": 16, "learning_rate": rate} for rate in (1e-4, 3e-4, 1e-3, 1e-2))]
    figure = curves_of(made(varied, score))["curve-accuracy-lr"]
    assert figure.spec["layer"][0]["encoding"]["x"]["scale"]["type"] == "log"
    assert "The dashed line is zero-shot." in figure.caption
    drawn = draw(figure.spec)
    assert {"0.0001", "0.0003", "0.001", "0.01", "zero-shot"} <= set(drawn.texts)
    assert drawn.marks("rule") == 1


def test_settings_that_change_together_with_shots_make_no_lines(made: Make) -> None:
    varied = [
        {"shots": shots, "max_steps": 10 * shots, "r": r, "lora_alpha": 2 * r} for shots in (4, 16) for r in (4, 8)
    ]
    figures = curves_of(made(varied, score))
    assert list(figures) == ["curve-accuracy-shots-r", "curve-ece-shots-r"]  # the rank determines alpha
    assert "Changes together with shots: max_steps." in figures["curve-accuracy-shots-r"].caption


def test_a_curve_needs_two_points(made: Make) -> None:
    assert not curves_of(made([{"shots": 4}], score))
    assert not curves_of(made([{"init_lora_weights": init} for init in INITS], score))
    assert not curves_of(made([{"shots": 4}, {"shots": 8}], lambda *_: None))
    one_left = made([{"shots": 4}, {"shots": 8}], lambda one, seed: score(one, seed) if one["shots"] == 4 else None)
    assert not curves_of(one_left)


def test_single_runs_are_left_out_if_there_are_too_many(made: Make) -> None:
    seeds = range(MOST_POINTS // 2 + 1)
    figure = curves_of(made([{"shots": 4}, {"shots": 8}], score, seeds=seeds))["curve-accuracy-shots"]
    assert figure.caption.endswith(f"The {2 * len(seeds)} single runs are too many to draw.")
    assert all("run" not in str(layer.get("data")) for layer in figure.spec["layer"])


def test_the_caption_of_one_seed_mentions_no_band(made: Make) -> None:
    figure = curves_of(made([{"shots": 4}, {"shots": 8}], score, seeds=(13,)))["curve-accuracy-shots"]
    assert figure.caption == "One run at each point."
