"""The figures of a report, as Vega-Lite specifications.

`figures_of` returns figures of the comparison, `best_row_figures` those of its best row. `loss_curve`, `confusion`,
`reliability` and `per_label` are templates without data, which the page (or `filled`) fills in. `export` writes files.
`bundle` is the script that draws figures in a page, with the colours of `THEMES`.
"""

from __future__ import annotations

from sft.report.comparison import Comparison
from sft.report.figures.base import THEMES, Figure, Spec, filled, finish, themed
from sft.report.figures.best import best_row_figures
from sft.report.figures.calibrated import calibrations
from sft.report.figures.confusion import confusion
from sft.report.figures.curves import curves
from sft.report.figures.forest import forest
from sft.report.figures.heatmaps import heatmaps
from sft.report.figures.labels import per_label
from sft.report.figures.loss import loss_curve
from sft.report.figures.output.bundle import bundle, bundle_versions
from sft.report.figures.output.export import export
from sft.report.figures.output.shown import with_results
from sft.report.figures.reliability import reliability

__all__ = [
    "THEMES",
    "Figure",
    "Spec",
    "best_row_figures",
    "bundle",
    "bundle_versions",
    "confusion",
    "export",
    "figures_of",
    "filled",
    "loss_curve",
    "per_label",
    "reliability",
    "themed",
]


def figures_of(comparison: Comparison) -> tuple[Figure, ...]:
    """Return all figures that a comparison has the data for. Their names are unique."""
    makers = (curves, forest, heatmaps, calibrations)
    shown = with_results(comparison)
    return finish(figure for maker in makers for figure in maker(shown))
