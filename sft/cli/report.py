"""The commands that look at finished runs: their options, and what they print. Decides nothing.

Nothing heavy is imported before a command is called.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from sft.threads import MOST_THREADS

_RUN = "A run folder; or RESULTS/NAME, RESULTS/<beginning of its id>."
Results = Annotated[
    list[Path], typer.Argument(metavar="RESULTS…", help="Folders given as --results-path; several are shown as one.")
]
Baseline = Annotated[
    str | None,
    typer.Option(
        "--baseline",
        metavar="NAME",
        help="Row that others are compared with.  [default: zero-shot of the same model, else the first row]",
    ),
]
Metric = Annotated[str | None, typer.Option("--metric", metavar="NAME", help="The metric that leads.")]
GroupBy = Annotated[
    str | None, typer.Option("--group-by", metavar="SETTINGS", help="One row for all that share them: shots,init.")
]
Where = Annotated[
    list[str] | None,
    typer.Option("--where", metavar="SETTING=VALUE", help="Only such runs: shots=8, init=pca,pissa. May be repeated."),
]
Format = Annotated[
    str | None, typer.Option("--format", metavar="NAMES", help="Files to write.  [default: html,md,json,csv,tex]")
]
Figures = Annotated[Path | None, typer.Option("--figures", metavar="DIR", help="Also each figure as PNG and SVG.")]
Output = Annotated[
    Path | None,
    typer.Option("--output", metavar="DIR", help="Where files go.  [default: RESULTS; `report` for several]"),
]
Calibration = Annotated[
    str | None,
    typer.Option(
        "--calibration",
        metavar="NAME",
        help="Show all rows under this calibration (none: uncalibrated), from stored scores; files only with --output.",
    ),
]


def report(
    results: Results,
    baseline: Baseline = None,
    metric: Metric = None,
    group_by: GroupBy = None,
    where: Where = None,
    formats: Format = None,
    figures: Figures = None,
    output: Output = None,
    everything: Annotated[bool, typer.Option("--all", help="Every run in the folder.")] = False,
    calibration: Calibration = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Under --calibration: run metrics too that are code named by runs.")
    ] = False,
) -> None:
    """Rebuild the comparison from the run folders, print it, and write report.html and the aggregated files."""
    from sft.report.choices import Choices
    from sft.report.command import Files, make_report
    from sft.secrets import take_over

    take_over()
    names = tuple(name.strip() for name in (group_by or "").split(",") if name.strip())
    choices = Choices(everything, baseline, calibration, metric, tuple(where or ()), names, trust)
    making = make_report(results, choices, Files(formats, figures, output))
    while True:
        try:
            typer.echo(next(making))
        except StopIteration as end:
            raise typer.Exit(0 if end.value else 1) from None


def compare(
    run_a: Annotated[Path, typer.Argument(metavar="RUN_A", help=_RUN)],
    run_b: Annotated[Path, typer.Argument(metavar="RUN_B", help="The other one.")],
    split: Annotated[Literal["test", "validation"], typer.Option("--split", help="Whose rows.")] = "test",
    rows: Annotated[
        int, typer.Option("--rows", min=0, metavar="N", help="Rows shown of those that they answer differently.")
    ] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="All of it as one JSON object, for programs.")] = False,
) -> None:
    """Show two runs side by side: their configs, paired tests, and the rows that they answer differently."""
    import shutil

    from sft.report.pairs.pair import pair
    from sft.report.pairs.pair_text import pair_json, pair_lines
    from sft.report.read.find import open_run

    found = pair(open_run(run_a), open_run(run_b), split)
    width = shutil.get_terminal_size((100, 24)).columns
    for line in [pair_json(found)] if as_json else pair_lines(found, rows, width):
        typer.echo(line)


def reproduce(
    run: Annotated[Path, typer.Argument(metavar="RUN", help=_RUN)],
    results_path: Annotated[
        Path | None,
        typer.Option("--results-path", metavar="DIR", help="Where it is run.  [default: RESULTS-reproduced]"),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Also where it was reproduced before.")] = False,
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, max=MOST_THREADS, metavar="N", help="CPU threads. [default: as recorded]"),
    ] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Also where its record names code: run that too.")] = False,
) -> None:
    """Run a finished run again from its recorded config and seed, and say whether the figures agree.

    Nothing of the run that was is touched. Exit code: 0 they agree, 1 they do not or the data has changed,
    2 it cannot be run again.
    """
    from sft.report.pairs.agreement import agreement
    from sft.report.pairs.agreement_text import told
    from sft.report.read.find import find_run
    from sft.sweep import reproducing

    recorded = reproducing.recorded(find_run(run))
    reproducing.check_trust(recorded, trust)
    results = results_path or reproducing.default_results(recorded.folder)
    folder = reproducing.reproduction_folder(recorded, results)
    for note in recorded.notes:
        typer.echo(f"warning: {note}", err=True)
    if folder.is_done() and not again:
        typer.echo(f"Reproduced before: {folder.path} (--again does it once more)")
    else:
        if folder.path.exists() and again:
            reproducing.set_aside(folder, results)
        reproducing.run_again(recorded if threads is None else replace(recorded, threads=threads), folder, results)
        typer.echo(f"Run again: {folder.path}")
    found = agreement(recorded.folder, folder)
    for line in told(found):
        typer.echo(line)
    raise typer.Exit(0 if found.agrees else 1)
