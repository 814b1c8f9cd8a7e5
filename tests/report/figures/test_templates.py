"""The templates of a run's page, and the figures of the best row."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from sft.report.comparison import Comparison
from sft.report.figures import best_row_figures, confusion, filled, loss_curve, per_label, reliability
from sft.report.figures.best import MOST_LABELS
from sft.report.figures.confusion import MOST_NUMBERS
from sft.report.read.answers import Answers
from sft.report.read.runs import Run

Make = Callable[..., Comparison]
LABELS = ("negative", "positive", "neutral")
DIAGONAL = 1


def test_two_reliabilities_are_distinguished(draw: Callable[..., Any]) -> None:
    values = [
        {"kind": kind, "confidence": index / 10, "accuracy": index / 12, "rows": index}
        for kind in ("calibrated", "before calibration")
        for index in (4, 6, 9)
    ]
    for dark in (False, True):
        drawn = draw(filled(reliability(), values), dark)
        assert drawn.marks("symbol") == drawn.marks("rect") == 6
        assert drawn.marks("line") == 2 + DIAGONAL
        assert [text for text in drawn.texts if "calibrat" in text] == [
            "calibrated",
            "before calibration",
        ]  # one legend


def test_a_bar_is_as_tall_as_its_bin_holds_rows(draw: Callable[..., Any]) -> None:
    values = [{"kind": "x", "confidence": index / 2, "accuracy": 0.5, "rows": 10 * index} for index in (1, 2)]
    bars = [bar.get("d") for bar in draw(filled(reliability(), values)).of("rect")]
    heights = [float(bar.split("v")[1].split("h")[0]) for bar in bars]
    assert heights == pytest.approx([27.08, 54.15], abs=0.01)  # the taller has 0.22 of the 1.3 that 320 pixels are


def test_confusions_are_in_the_order_of_the_labels(draw: Callable[..., Any]) -> None:
    found = [(0, 0, 50), (1, 1, 30), (2, 2, 20), (2, 0, 7), (0, 2, 3)]  # as pages have them, without the empty cells
    values = [{"reference": LABELS[r], "prediction": LABELS[p], "rows": rows} for r, p, rows in found]
    drawn = draw(filled(confusion(), values))
    assert [text for text in drawn.texts if text in LABELS] == [*LABELS, *LABELS]
    assert {"50", "30", "20", "7", "3", "reference", "prediction"} <= set(drawn.texts)
    assert drawn.marks("text") == 5


def test_very_many_labels_have_only_colours(draw: Callable[..., Any]) -> None:
    values = [{"reference": f"l{n}", "prediction": f"l{n}", "rows": 5} for n in range(MOST_NUMBERS + 1)]
    assert draw(filled(confusion(), values)).marks("text") == 0
    assert draw(filled(confusion(), values[1:])).marks("text") == MOST_NUMBERS


def test_loss_of_training_and_of_held_out_rows(draw: Callable[..., Any]) -> None:
    training = [{"step": step, "loss": 3 / step, "split": "training"} for step in range(1, 9)]
    held_out = [{"step": step, "loss": 1.0, "split": "held-out rows"} for step in (4, 8)]
    drawn = draw(filled(loss_curve(), [*training, *held_out]))
    assert (drawn.marks("line"), drawn.marks("symbol")) == (2, 10)
    assert [text for text in drawn.texts if text in ("training", "held-out rows")] == ["training", "held-out rows"]
    assert draw(filled(loss_curve(), training[:1])).marks("symbol") == 1


def test_scores_per_label(draw: Callable[..., Any]) -> None:
    values = [{"label": label, "precision": 0.5, "recall": 0.75, "f1": 0.6, "rows": 100} for label in LABELS]
    drawn = draw(filled(per_label(), values))
    assert drawn.marks("symbol") == 3 * len(LABELS)
    assert [text for text in drawn.texts if "(100)" in text] == [f"{label} (100)" for label in LABELS]
    assert {"F1", "precision", "recall"} <= set(drawn.texts)


def answers_of(run: Run) -> Answers:
    """Return answers with three rows per label; the seed decides how many are right."""
    truth_N = np.repeat(np.arange(3), 3)
    given_N = truth_N.copy()
    given_N[: run.seed - 12] = 2
    probabilities = [
        {label: 0.8 if column == given else 0.1 for column, label in enumerate(LABELS)} for given in given_N
    ]
    texts = [LABELS[given] for given in given_N]
    texts[-1] = "something else"
    table = pa.table({"predictions": texts, "probabilities": [json.dumps(one) for one in probabilities]})
    return Answers(table, run.config, LABELS, truth_N)


def test_the_best_row_with_all_its_seeds(made: Make, draw: Callable[..., Any]) -> None:
    comparison = made([{"shots": 4}, {"shots": 8}], lambda one, _: {"accuracy": one["shots"] / 10})
    figures = {one.name: one for one in best_row_figures(comparison, answers_of)}
    assert list(figures) == ["best-confusion", "best-labels", "best-reliability", "best-loss"]
    assert all("shots=8" in one.title for one in figures.values())
    cells = {(c["reference"], c["prediction"]): c["rows"] for c in figures["best-confusion"].spec["data"]["values"]}
    assert sum(cells.values()) == 3 * 9 - 3
    assert cells["negative", "neutral"] == 1 + 2 + 3
    assert "3 seeds together. 3 predictions that are not a label are left out." in figures["best-confusion"].caption
    negative, _, neutral = figures["best-labels"].spec["data"]["values"]
    assert (negative["precision"], negative["recall"], negative["rows"]) == (1.0, round(3 / 9, 4), 3)
    assert "in brackets its rows in each seed" in figures["best-labels"].caption
    assert neutral["recall"] == round(6 / 9, 4)  # the rows with another text count
    (point,) = figures["best-reliability"].spec["data"]["values"]
    assert (point["kind"], point["confidence"], point["rows"]) == ("as answered", 0.8, 27)
    assert point["accuracy"] == pytest.approx(1 - 6 / 27, abs=1e-4)
    losses = figures["best-loss"].spec["data"]["values"]
    assert {record["run"] for record in losses} == {f"shots=8 seed={seed}" for seed in (13, 14, 15)}
    assert draw(figures["best-loss"].spec).marks("line") == 3 * 2


def test_rows_without_answers_have_only_their_loss(made: Make) -> None:
    comparison = made([{"shots": 4}, {"shots": 8}], lambda one, _: {"accuracy": one["shots"] / 10})
    assert [one.name for one in best_row_figures(comparison, lambda _: None)] == ["best-loss"]
    nothing = made([{"shots": 4}, {"shots": 8}], lambda *_: None)
    assert best_row_figures(nothing, answers_of) == ()


def test_the_best_row_is_the_reports(made: Make) -> None:
    comparison = made([{"shots": 4}, {"shots": 8}], lambda one, _: {"accuracy": one["shots"] / 10})
    chosen = replace(comparison, best={"accuracy": (0,)})  # as on a validation split
    assert "shots=4" in best_row_figures(chosen, answers_of)[0].title


def test_only_the_confused_of_very_many_labels_are_drawn(made: Make, draw: Callable[..., Any]) -> None:
    labels = tuple(f"label {index}" for index in range(MOST_LABELS + 5))

    def many(run: Run) -> Answers:
        """Two rows of each label; the first five are always right, the others wrong once."""
        truth_N = np.repeat(np.arange(len(labels)), 2)
        given_N = truth_N.copy()
        given_N[11::2] = (given_N[11::2] - 5 + 1) % MOST_LABELS + 5
        return Answers(pa.table({"predictions": [labels[index] for index in given_N]}), run.config, labels, truth_N)

    figure = best_row_figures(made([{"shots": 4}], lambda *_: {"accuracy": 0.5}), many)[0]
    assert figure.caption.startswith(f"The {MOST_LABELS} labels with the most confusions, of {len(labels)}.")
    cells = figure.spec["data"]["values"]
    assert list(dict.fromkeys(cell["reference"] for cell in cells)) == list(labels[5:])
    assert {cell["of"] for cell in cells} == {6}
    assert draw(figure.spec).marks("text") == 2 * MOST_LABELS


def test_shares_are_of_all_rows_of_a_reference(draw: Callable[..., Any]) -> None:
    """This includes the predictions of labels that are not shown."""
    cells = [{"reference": "a", "prediction": one, "rows": rows, "of": 40} for one, rows in (("a", 20), ("b", 4))]
    texts = draw(filled(confusion(("a", "b")), cells)).svg
    assert "of this reference: 50.0%" in texts
    assert "of this reference: 83.3%" in draw(filled(confusion(("a", "b")), [{**one, "of": None} for one in cells])).svg
