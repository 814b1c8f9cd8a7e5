"""The template of a loss curve: records `{step, loss, split[, run]}`, where `split` is `training` or another name."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sft.report.figures.base import (
    DASHES,
    PALETTE,
    SHAPES,
    Figure,
    Record,
    Spec,
    chart,
    filled,
    in_order,
    tooltip,
)
from sft.report.read.runs import Run

TRAINING, HELD_OUT = "training", "held-out rows"
_HISTORIES = {"loss_history": TRAINING, "validation_history": HELD_OUT}


def loss_curve() -> Spec:
    """Return the template: a line for each split, and for each run if the records name runs."""
    x = {"field": "step", "type": "quantitative", "title": "step",
         "axis": {"grid": False, "tickMinStep": 1, "tickCount": 8},
         "scale": {"nice": False, "zero": False}}  # fmt: skip
    y = {"field": "loss", "type": "quantitative", "title": "loss", "scale": {"zero": True}}
    colour, dash = in_order("split", PALETTE), in_order("split", DASHES)
    point = {"color": in_order("split", PALETTE), "shape": in_order("split", SHAPES)}
    lines = tooltip({"step": "step", "loss": "loss", "split": "rows", "run": "run"}, {"loss": ".4f"})
    return chart(
        [
            {"mark": {"type": "line", "strokeWidth": 1.75},
             "encoding": {"x": x, "y": y, "stroke": colour, "strokeDash": dash, "detail": {"field": "run"}}},
            {"mark": {"type": "point", "filled": True, "size": 16, "opacity": 0.8},
             "encoding": {"x": x, "y": y, **point, "tooltip": lines}},
        ],
        height=240,
    )  # fmt: skip


def loss_of(runs: Sequence[Run]) -> list[Record]:
    """Return the records of trained runs, without steps that have no loss."""
    return [
        record for run in runs if run.result is not None for record in _of_run(run, json.loads(run.result.training))
    ]


def _of_run(run: Run, training: Mapping[str, Any]) -> Iterator[Record]:
    for key, split in _HISTORIES.items():
        for entry in training.get(key) or ():
            if entry.get("loss") is not None and entry.get("step") is not None:
                yield {"step": entry["step"], "loss": round(entry["loss"], 5), "split": split, "run": run.name}


def loss_figure(name: str, runs: Sequence[Run]) -> Iterator[Figure]:
    """Yield a figure with the training loss of a row's runs; nothing if no run was trained.

    Args:
        name: name of the row.
        runs: its runs.
    """
    if values := loss_of(runs):
        caption = "Loss at each training step" + (", a line for each seed." if len(runs) > 1 else ".")
        yield Figure("best-loss", f"Loss of {name}", caption, filled(loss_curve(), values))
