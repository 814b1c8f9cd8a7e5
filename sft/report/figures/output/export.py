"""Write figures as PNG and SVG files, for papers and READMEs: light, on white, with their title. Nothing is fetched."""

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
SCALE = 2.0  # pixels of a PNG per pixel of the figure
_CHARACTERS = 100  # of a line under the title


def export(figures: Sequence[Figure], folder: Path, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Write each figure in each format. Files of the same name are replaced.

    Args:
        figures: with unique names.
        folder: created if it does not exist.
        formats: any of `FORMATS`.

    Raises:
        UserError: an unknown format.
        WriteError: a file cannot be written.
    """
    if unknown := [kind for kind in formats if kind not in FORMATS]:
        raise UserError(f'figures: expected the format {" or ".join(FORMATS)}, got "{unknown[0]}"')
    written = []
    for figure in figures:
        spec = printable(figure)
        for kind in formats:
            file = folder / f"{figure.name}.{kind}"
            write_atomic(file, _png(spec) if kind == "png" else _svg(spec))
            written.append(file)
    return written


def printable(figure: Figure) -> Spec:
    """Return the specification for a file: with its title, the start of its caption, and a fixed width."""
    spec = sized(themed(figure.spec), WIDTH)
    lines = textwrap.wrap(figure.caption, _CHARACTERS, break_on_hyphens=False)
    heading: dict[str, Any] = {"text": textwrap.wrap(figure.title, 80)[:3], "subtitle": lines[:3]}
    return {**spec, "title": heading, "background": "white"}


def _png(spec: Spec) -> bytes:
    import vl_convert

    return bytes(vl_convert.vegalite_to_png(spec, scale=SCALE, allowed_base_urls=[]))


def _svg(spec: Spec) -> str:
    import vl_convert

    return str(vl_convert.vegalite_to_svg(spec, allowed_base_urls=[]))
