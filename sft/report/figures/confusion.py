"""The template of a confusion matrix: records `{reference, prediction, rows[, of]}`; empty cells may be left out.

`of` is the number of rows of the reference, needed if some of its cells are left out. Labels appear in the order of
`reference` in the records.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sft.report.figures.base import Record, Spec, chart, tooltip

MOST_NUMBERS = 40  # labels; with more, cells show only colours
_FLAT = 60  # characters of labels that fit next to each other
_STEPS = 26, 11  # pixels of a row with numbers, and without numbers


def confusion(labels: Sequence[str] = ()) -> Spec:
    """Return the template. Colours: share of a reference's rows. Numbers: rows. Correct answers are framed.

    Args:
        labels: the labels, if they are known; they decide the size of the cells and the angle of the axis labels.
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
                # first, so that both axes take the order of its labels
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


def _numbers(test: str, position: Spec, style: Spec) -> Spec:
    """Return a layer with the counts of the cells with pale colours, or with strong colours."""
    return {
        "transform": [{"filter": f"datum.rows > 0 && datum.labels <= {MOST_NUMBERS} && {test}"}],
        "mark": {"type": "text", "fontSize": 11, "tooltip": None, **style},
        "encoding": {**position, "text": {"field": "rows", "type": "quantitative", "format": ",d"}},
    }


def confusion_of(
    matrix_LL: NDArray[np.int64], labels: Sequence[str], rows_L: NDArray[np.int64] | None = None
) -> list[Record]:
    """Return the records of a matrix of counts: a row for each reference label, a column for each prediction.

    Args:
        matrix_LL: counts.
        labels: names of the labels.
        rows_L: number of rows of each reference; None: the sums of the matrix.
    """
    of_L = matrix_LL.sum(axis=1) if rows_L is None else rows_L
    return [
        {"reference": reference, "prediction": prediction, "rows": int(matrix_LL[row, column]), "of": int(of_L[row])}
        for row, reference in enumerate(labels)
        for column, prediction in enumerate(labels)
    ]
