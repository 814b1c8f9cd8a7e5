"""The options of the commands: names, types, help texts and panels. Decides nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sft.launchers.base import Isolation
from sft.threads import MOST_THREADS

# Panels of `--help`
EXPERIMENTS, WHERE, RESOURCES, FAILURES = "Which experiments", "Where", "Resources", "Failures"

Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="Config of one experiment, JSON or Jsonnet.")]
GridFile = Annotated[Path, typer.Argument(metavar="GRID", help="Jsonnet grid, {configs: {NAME: config}}, or a config.")]
Results = Annotated[
    Path,
    typer.Option(
        "--results-path", metavar="DIR", rich_help_panel=WHERE, help="Folder of the run folders and the report."
    ),
]
DoEval = Annotated[
    bool,
    typer.Option(
        "--do-eval/--no-do-eval",
        rich_help_panel=EXPERIMENTS,
        help="Evaluate on the test split after training.",
    ),
]
RandomSeed = Annotated[
    int | None,
    typer.Option(
        "--random-seed",
        min=0,
        max=2**32 - 1,
        metavar="SEED",
        show_default="13",
        help="Seed of sampling, initialisation, training and in-context examples.",
    ),
]
Plugs = Annotated[
    Path | None, typer.Option("--plugs", hidden=True, help="Folder of user plugins; default: the config's folder.")
]

Seeds = Annotated[
    str | None,
    typer.Option(
        "--seeds",
        metavar="SEEDS",
        show_default="the grid's seeds, else 13",
        rich_help_panel=EXPERIMENTS,
        help="Run every random experiment with these seeds: 13,14,15.",
    ),
]
Only = Annotated[
    str | None,
    typer.Option(
        "--only", metavar="GLOB", rich_help_panel=EXPERIMENTS, help="Run only experiments whose name or id matches."
    ),
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", rich_help_panel=EXPERIMENTS, help="Also run experiments that failed before.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", rich_help_panel=EXPERIMENTS, help="List the experiments without running them.")
]
MaxExperiments = Annotated[
    int,
    typer.Option(
        "--max-experiments", min=1, metavar="N", rich_help_panel=EXPERIMENTS, help="Refuse grids with more experiments."
    ),
]

LauncherName = Annotated[
    str,
    typer.Option("--launcher", metavar="NAME", rich_help_panel=WHERE, help='local, or your own "module:factory".'),
]
LauncherArgs = Annotated[
    list[str] | None,
    typer.Option(
        "--launcher-arg",
        metavar="KEY=VALUE",
        show_default=False,
        rich_help_panel=WHERE,
        help="Option of the launcher; repeatable.",
    ),
]
IsolationOption = Annotated[
    Isolation | None,
    typer.Option(
        "--isolation",
        metavar="MODE",
        show_default="auto",
        rich_help_panel=WHERE,
        help="How processes start: auto, fork (imports are shared), spawn (new process) or resident (the base model "
        "stays loaded).",
    ),
]

Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        min=1,
        metavar="N",
        show_default="one per visible GPU, else 1",
        rich_help_panel=RESOURCES,
        help="Experiments at the same time.",
    ),
]
GpusPerExperiment = Annotated[
    int,
    typer.Option(
        "--gpus-per-experiment", min=1, metavar="N", rich_help_panel=RESOURCES, help="GPUs of each experiment."
    ),
]
JobsPerGpu = Annotated[
    int,
    typer.Option("--jobs-per-gpu", min=1, metavar="N", rich_help_panel=RESOURCES, help="Experiments that share a GPU."),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        max=MOST_THREADS,
        metavar="N",
        show_default="the sweep's first number, else OMP_NUM_THREADS, else processors / experiments at the same time",
        rich_help_panel=RESOURCES,
        help="CPU threads of each experiment; they change the last digits of results.",
    ),
]
ThreadsOfOne = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        max=MOST_THREADS,
        metavar="N",
        show_default="that of its sweep, else OMP_NUM_THREADS, else all processors",
        rich_help_panel=RESOURCES,
        help="CPU threads; they change the last digits of results.",
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option("--timeout", metavar="S", min=1, rich_help_panel=RESOURCES, help="Seconds per experiment."),
]
MemoryLimit = Annotated[
    float | None,
    typer.Option(
        "--memory-limit", metavar="GIB", min=0.1, rich_help_panel=RESOURCES, help="GiB of main memory per experiment."
    ),
]

OomRetry = Annotated[
    bool,
    typer.Option(
        "--oom-retry/--no-oom-retry",
        rich_help_panel=FAILURES,
        help="Retry with half the batch after out of memory.",
    ),
]
FailFast = Annotated[
    bool,
    typer.Option("--fail-fast", rich_help_panel=FAILURES, help="Start no experiment after the first failure."),
]
MaxFailures = Annotated[
    int | None,
    typer.Option(
        "--max-failures", min=1, metavar="N", rich_help_panel=FAILURES, help="Start no experiment after N failures."
    ),
]
StaleAfter = Annotated[
    float,
    typer.Option(
        "--stale-after",
        metavar="S",
        min=1,
        rich_help_panel=FAILURES,
        help="Take over an experiment of another command after this many seconds without a heartbeat, if the file "
        "system has no locks (flock). It is observed for 90 seconds first.",
    ),
]

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only the final comparison.")]
