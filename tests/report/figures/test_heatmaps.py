"""Heat maps: the cells of each pair of settings, and which pairs have one."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

from sft.report.comparison import Comparison
from sft.report.figures import Figure, figures_of

Make = Callable[..., Comparison]


def heatmaps_of(comparison: Comparison) -> dict[str, Figure]:
    return {one.name: one for one in figures_of(comparison) if one.name.startswith("heat-")}


def cells(figure: Figure) -> dict[tuple[str, str], dict[str, Any]]:
    return {(cell["across"], cell["down"]): cell for cell in figure.spec["data"]["values"]}


def grid(**axes: Any) -> list[dict[str, Any]]:
    return [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]


def test_a_cell_is_the_mean_of_the_rows_that_share_its_values(made: Make, draw: Callable[..., Any]) -> None:
    varied = grid(shots=(4, 16, 64), r=(2, 8), init_lora_weights=(True, "pca"))
    comparison = made(varied, lambda one, _: {"accuracy": one["shots"] / 100 + (one["r"] == 8) / 10})
    figures = heatmaps_of(comparison)
    assert list(figures) == ["heat-accuracy-shots-init", "heat-accuracy-shots-r", "heat-accuracy-r-init"]
    figure = figures["heat-accuracy-shots-r"]
    found = cells(figure)
    assert len(found) == 6
    assert found["16", "8"]["text"] == ".260"
    assert (found["16", "8"]["rows"], found["16", "8"]["runs"]) == (2, 6)
    assert found["16", "8"]["about"] == "shots=16, r=8"
    assert "Mean over init of the configurations" in figure.caption
    drawn = draw(figure.spec)
    assert drawn.marks("rect") == 6
    assert {".040", ".260", ".740", "accuracy (brighter is better)", "shots", "r"} <= set(drawn.texts)
    assert [text for text in drawn.texts if text in ("4", "16", "64")] == ["4", "16", "64"]  # by size, not by letter


def test_bright_is_better_and_numbers_can_be_read(made: Make, draw: Callable[..., Any]) -> None:
    for metric, best in (("accuracy", "64"), ("ece", "4")):
        comparison = made(grid(shots=(4, 64), r=(2, 8)), lambda one, _, name=metric: {name: one["shots"] / 100})
        figure = heatmaps_of(comparison)[f"heat-{metric}-r-shots"]
        assert {values for values, cell in cells(figure).items() if cell["bright"]} == {("2", best), ("8", best)}
        assert figure.spec["layer"][0]["encoding"]["color"]["scale"]["reverse"] is (metric == "ece")
        svg = draw(figure.spec).svg
        assert svg.count('fill="#000000"') == svg.count('fill="#ffffff"') == 2
        assert svg.count('fill="#fde725"') + svg.count("rgb(253, 231, 37)") >= 2  # the bright end of viridis


def test_zero_shot_has_no_column_with_settings_of_training(made: Make) -> None:
    varied = [{"shots": 0}, *grid(shots=(4, 16), r=(2, 8))]
    figure = heatmaps_of(made(varied, lambda *_: {"accuracy": 0.5}))["heat-accuracy-r-shots"]
    assert {down for _, down in cells(figure)} == {"4", "16"}
    assert figure.caption.endswith("Without zero-shot, to which settings of training do not apply.")


def test_pairs_that_do_not_vary_independently_have_no_heat_map(made: Make) -> None:
    varied = [{"shots": shots, "r": r, "lora_alpha": 2 * r} for shots in (4, 16) for r in (4, 8)]
    figures = heatmaps_of(made(varied, lambda *_: {"accuracy": 0.5}))
    assert list(figures) == ["heat-accuracy-r-shots", "heat-accuracy-lora-alpha-shots"]


def test_missing_cells_stay_empty(made: Make, draw: Callable[..., Any]) -> None:
    failed = {"shots": 16, "r": 8}
    comparison = made(grid(shots=(4, 16), r=(2, 8)), lambda one, _: None if one == failed else {"accuracy": 0.5})
    (figure,) = heatmaps_of(comparison).values()
    assert draw(figure.spec).marks("rect") == 3


def test_long_values_label_the_rows_and_are_unique(made: Make, draw: Callable[..., Any]) -> None:
    texts = [f"Say what the mood of this review of a product is, in {word}" for word in ("one word", "a sentence")]
    comparison = made(grid(instruction=texts, shots=(4, 8, 16)), lambda *_: {"accuracy": 0.5})
    (figure,) = heatmaps_of(comparison).values()
    drawn = draw(figure.spec)
    assert {"…one word", "…a sentence"} <= set(drawn.texts)
    assert texts[0] in cells(figure)["4", "…one word"]["about"]
