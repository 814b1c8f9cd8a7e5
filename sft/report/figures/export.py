"""Figures as PNG and SVG files, for papers and READMEs: light, on white, with their title. Nothing is fetched."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sft.errors import UserError
from sft.io import write_atomic
from sft.report.figures.base import Figure, Spec, sized, themed

FORMATS = ("png", "svg")
WIDTH = 640
SCALE = 2.0  # pixels of a PNG for each of the figure
_LETTERS = 100  # of a line under the title


def export(figures: Sequence[Figure], folder: Path, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Write each figure in each format, named after it; files of the same name are replaced.

    Args:
        figures: with different names.
        folder: made if need be.
        formats: of `FORMATS`.

    Raises:
        UserError: another format.
        WriteError: a file cannot be written.
    """
    if unknown := [one for one in formats if one not in FORMATS]:
        raise UserError(f'figures are written as {" or ".join(FORMATS)}, not as "{unknown[0]}"')
    written = []
    for figure in figures:
        spec = printable(figure)
        for kind in formats:
            file = folder / f"{figure.name}.{kind}"
            write_atomic(file, _png(spec) if kind == "png" else _svg(spec))
            written.append(file)
    return written


def printable(figure: Figure) -> Spec:
    """The specification as it goes to a file: its title, the first sentences of its caption, a fixed width."""
    spec = sized(themed(figure.spec), WIDTH)
    lines = textwrap.wrap(figure.caption, _LETTERS, break_on_hyphens=False)
    heading: dict[str, Any] = {"text": textwrap.wrap(figure.title, 80)[:3], "subtitle": lines[:3]}
    return {**spec, "title": heading, "background": "white"}


def _png(spec: Spec) -> bytes:
    import vl_convert

    return bytes(vl_convert.vegalite_to_png(spec, scale=SCALE, allowed_base_urls=[]))


def _svg(spec: Spec) -> str:
    import vl_convert

    return str(vl_convert.vegalite_to_svg(spec, allowed_base_urls=[]))
