"""The command `report`: read the runs, compare them, write the files, print their paths."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import NamedTuple

from sft.io import check_writable
from sft.log import ProgressBars, silent
from sft.report.build import answers_under, build
from sft.report.choices import Choices
from sft.report.comparison import Built
from sft.report.formats.text import render_text
from sft.report.read.copies import distinct
from sft.report.rows import compare
from sft.report.write import formats_of, write_report
from sft.results.store import ResultStore

FOR_SEVERAL = Path("report")  # folder of the report of several results folders
_UNUSABLE = ("damaged", "unreadable")
WORTH_A_BAR = 100  # runs


class Files(NamedTuple):
    """The files to write: formats (`md,html`; None: all), the folder of the figures, and the folder of the rest."""

    formats: str | None = None
    figures: Path | None = None
    output: Path | None = None


def make_report(results: Sequence[Path], choices: Choices, files: Files) -> Generator[str, None, bool]:
    """Yield the table, then the paths of the written files. Return whether all files of all runs could be used.

    Args:
        results: the folders of `--results-path`.
        choices: which runs are shown, and how they are compared.
        files: the files to write. A report of some runs, of groups or under another calibration is written only to a
            folder that the user names, so that it never replaces the whole report.

    Raises:
        UserError: a choice that matches nothing, a folder without runs, or a folder that cannot be written.
    """
    formats = formats_of(files.formats)
    stores = distinct([ResultStore(path) for path in results])
    output = files.output or (stores[0].root if len(stores) == 1 else FOR_SEVERAL)
    comparison = compare(stores[0], choices, stores[1:], output)
    part = next((option for option, is_used in _partial(choices).items() if is_used), None)
    writes = files.output is not None or part is None
    for folder, option in ((output if writes else None, "--output"), (files.figures, "--figures")):
        if folder is not None:
            check_writable(folder, f"choose another {option}")
    with ProgressBars() as bars:
        with_pages = writes and "html" in formats
        built = build(comparison, with_pages, bars if len(comparison.runs) >= WORTH_A_BAR else silent)
    written = write_report(built, formats) if writes else []
    figures = "" if files.figures is None else _export(built, files.figures)
    yield f"{render_text(built.comparison)}\n"
    if files.figures is not None:
        yield f"Figures: {figures} in {files.figures}"
    if not writes:
        yield f"No file is written with {part}; name a folder with --output to write it."
    elif written:
        yield f"Report: {' · '.join(map(str, written[:2]))}"
        if more := written[2:]:
            yield f"For programs and papers: {', '.join(map(str, more))}"
    return not built.comparison.odd and all(run.state not in _UNUSABLE for run in built.comparison.runs)


def _partial(choices: Choices) -> dict[str, bool]:
    """Return whether each option is used that makes a report partial. A partial report never replaces the whole."""
    return {
        "--where": bool(choices.where),
        "--group-by": bool(choices.group_by),
        "--calibration": choices.calibration is not None,
    }


def _export(built: Built, folder: Path) -> str:
    """Write the figures. Return their number and formats, in words."""
    from sft.report.figures import best_row_figures, export, figures_of

    comparison = built.comparison
    figures = [*figures_of(comparison), *best_row_figures(comparison, lambda run: answers_under(comparison, run))]
    export(figures, folder)
    return f"{len(figures)}, each as PNG and SVG,"
