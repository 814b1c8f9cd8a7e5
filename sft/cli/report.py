"""The commands that read finished runs: their options and output. Decides nothing.

Nothing heavy is imported before a command is called.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from sft.threads import MOST_THREADS

_RUN = "Run folder, or RESULTS/NAME, or RESULTS/ID (its first characters suffice)."
Results = Annotated[
    list[Path], typer.Argument(metavar="RESULTS…", help="Folders given as --results-path; several are merged.")
]
Baseline = Annotated[
    str | None,
    typer.Option(
        "--baseline",
        metavar="NAME",
        show_default="zero-shot of the same model, else the first row",
        help="Row to compare the others with.",
    ),
]
Metric = Annotated[str | None, typer.Option("--metric", metavar="NAME", help="The main metric.")]
GroupBy = Annotated[
    str | None,
    typer.Option(
        "--group-by", metavar="SETTINGS", help="Merge rows with the same values of these settings: shots,init."
    ),
]
Where = Annotated[
    list[str] | None,
    typer.Option("--where", metavar="SETTING=VALUE", help="Only matching runs: shots=8, init=pca,pissa; repeatable."),
]
Format = Annotated[
    str | None, typer.Option("--format", metavar="NAMES", show_default="html,md,json,csv,tex", help="Files to write.")
]
Figures = Annotated[
    Path | None, typer.Option("--figures", metavar="DIR", help="Also write each figure as PNG and SVG.")
]
Output = Annotated[
    Path | None,
    typer.Option("--output", metavar="DIR", show_default="RESULTS; `report` for several", help="Folder of the files."),
]
Calibration = Annotated[
    str | None,
    typer.Option(
        "--calibration",
        metavar="NAME",
        help="Recompute all rows with this calibration (none: uncalibrated) from stored scores; writes files only with "
        "--output.",
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
    everything: Annotated[bool, typer.Option("--all", help="Include every run of the folder.")] = False,
    calibration: Calibration = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="With --calibration: also run metrics that are code named by runs.")
    ] = False,
) -> None:
    """Rebuild the comparison from finished runs.

    Prints it and writes report.html and the aggregated files.
    """
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
    run_b: Annotated[Path, typer.Argument(metavar="RUN_B", help="The other run.")],
    split: Annotated[
        Literal["test", "validation"], typer.Option("--split", metavar="SPLIT", help="test or validation.")
    ] = "test",
    rows: Annotated[
        int, typer.Option("--rows", min=0, metavar="N", help="Rows to show among those with different answers.")
    ] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare two runs row by row.

    Shows the differences of their configs, paired tests, and the rows with different answers.
    """
    import shutil

    from sft.report.pairs.pair import pair
    from sft.report.pairs.pair_text import pair_json, pair_lines
    from sft.report.read.find import open_run

    comparison = pair(open_run(run_a), open_run(run_b), split)
    width = shutil.get_terminal_size((100, 24)).columns
    for line in [pair_json(comparison)] if as_json else pair_lines(comparison, rows, width):
        typer.echo(line)


def reproduce(
    run: Annotated[Path, typer.Argument(metavar="RUN", help=_RUN)],
    results_path: Annotated[
        Path | None,
        typer.Option("--results-path", metavar="DIR", show_default="RESULTS-reproduced", help="Folder of the new run."),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Repeat it even if it was reproduced before.")] = False,
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads", min=1, max=MOST_THREADS, metavar="N", show_default="as recorded", help="CPU threads."
        ),
    ] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Also run code that its record names.")] = False,
) -> None:
    """Repeat a finished run and compare results.

    Uses its recorded config and seed. The original run is not modified. Exit code: 0 the figures agree, 1 they do not
    or the data has changed, 2 it cannot be repeated.
    """
    from sft.report.pairs.agreement import agreement
    from sft.report.pairs.agreement_text import agreement_lines
    from sft.report.read.find import find_run
    from sft.sweep import reproducing

    recorded = reproducing.recorded(find_run(run))
    reproducing.check_trust(recorded, trust)
    results = results_path or reproducing.default_results(recorded.folder)
    folder = reproducing.reproduction_folder(recorded, results)
    for note in recorded.notes:
        typer.echo(f"warning: {note}", err=True)
    if folder.is_done() and not again:
        typer.echo(f"Already reproduced: {folder.path} (--again repeats it)")
    else:
        if folder.path.exists() and again:
            reproducing.set_aside(folder, results)
        reproducing.run_again(recorded if threads is None else replace(recorded, threads=threads), folder, results)
        typer.echo(f"Run again: {folder.path}")
    result = agreement(recorded.folder, folder)
    for line in agreement_lines(result):
        typer.echo(line)
    raise typer.Exit(0 if result.agrees else 1)
