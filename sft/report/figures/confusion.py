"""The template of a confusion matrix: records `{reference, prediction, rows[, of]}`; empty cells may be left out.

`of` is how many rows the reference has, where some of its cells are not among the records.

The labels stand in the order in which they come as `reference`; so those of a label's row come together, in order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sft.report.figures.base import Record, Spec, chart, tooltip

MOST_NUMBERS = 40  # labels; of more, cells have colours alone
_FLAT = 60  # letters of labels that fit beside each other
_STEPS = 26, 11  # pixels of a row with numbers, and without


def confusion(labels: Sequence[str] = ()) -> Spec:
    """Colour: the part of a reference's rows. Numbers: rows. The right answers are framed.

    Args:
        labels: what they will be, where that is known: for the size of the cells, and how texts stand under them.
    """
    look = {"grid": False, "ticks": False, "domain": False, "labelLimit": 150}
    y = {"field": "reference", "type": "nominal", "title": "reference", "sort": None, "axis": look}
    x = {"field": "prediction", "type": "nominal", "title": "prediction", "sort": None,
         "axis": {**look, "labelAngle": 0 if labels and sum(map(len, labels)) < _FLAT else -40}}  # fmt: skip
    lines = tooltip(
        {"reference": "reference", "prediction": "prediction", "rows": "rows", "part": "of this reference"},
        {"part": ".1%"},
    )
    part = {"field": "part", "type": "quantitative", "title": "part of a reference's rows",
            "scale": {"domain": [0, 1], "nice": False}, "legend": {"format": ".0%", "gradientLength": 160,
                                                                  "values": [0, 0.5, 1]}}  # fmt: skip
    return {
        **chart(
            [
                # first, so that its labels, in their order, are the first of both axes
                {"mark": {"type": "rect", "filled": False, "style": "frame"},
                 "encoding": {"x": {**x, "field": "reference"}, "y": y}},
                {"mark": {"type": "rect"}, "encoding": {"x": x, "y": y, "color": part, "tooltip": lines}},
                _numbers("datum.part <= 0.5", {"x": x, "y": y}, {}),
                _numbers("datum.part > 0.5", {"x": x, "y": y}, {"style": "on-ramp"}),
                {"mark": {"type": "rect", "filled": False, "style": "frame", "tooltip": None},
                 "encoding": {"x": {**x, "field": "reference"}, "y": y}},
            ],
            height={"step": _STEPS[len(labels) > MOST_NUMBERS]},
        ),
        "transform": [
            {"joinaggregate": [{"op": "sum", "field": "rows", "as": "shown"}], "groupby": ["reference"]},
            {"joinaggregate": [{"op": "distinct", "field": "reference", "as": "labels"}]},
            {"calculate": "datum.rows / max(1, isValid(datum.of) ? datum.of : datum.shown)", "as": "part"},
        ],
    }  # fmt: skip


def _numbers(test: str, places: Spec, style: Spec) -> Spec:
    """The counts of the cells with pale or with strong colours."""
    return {
        "transform": [{"filter": f"datum.rows > 0 && datum.labels <= {MOST_NUMBERS} && {test}"}],
        "mark": {"type": "text", "fontSize": 11, "tooltip": None, **style},
        "encoding": {**places, "text": {"field": "rows", "type": "quantitative", "format": ",d"}},
    }


def confusion_of(
    matrix_LL: NDArray[np.int64], labels: Sequence[str], rows_L: NDArray[np.int64] | None = None
) -> list[Record]:
    """The records of a matrix of counts: a row for each reference label, a column for each prediction.

    Args:
        matrix_LL: counts.
        labels: their names.
        rows_L: how many rows each reference has; None: those of the matrix.
    """
    of_L = matrix_LL.sum(axis=1) if rows_L is None else rows_L
    return [
        {"reference": reference, "prediction": prediction, "rows": int(matrix_LL[row, column]), "of": int(of_L[row])}
        for row, reference in enumerate(labels)
        for column, prediction in enumerate(labels)
    ]
