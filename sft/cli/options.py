"""The options of the commands, one name each: what is typed, what it may be, what `--help` says. Decides nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sft.launchers.base import Isolation
from sft.threads import MOST_THREADS

Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="Config of one experiment, JSON or Jsonnet.")]
GridFile = Annotated[Path, typer.Argument(metavar="GRID", help="Jsonnet grid, {configs: {NAME: config}}, or a config.")]
Results = Annotated[Path, typer.Option("--results-path", help="Folder of the run folders and the report.")]
DoEval = Annotated[bool, typer.Option("--do-eval/--no-do-eval", help="Judge the trained model on the test split.")]
RandomSeed = Annotated[
    int | None,
    typer.Option(
        "--random-seed",
        min=0,
        max=2**32 - 1,
        help="Seed of sampling, initialisation, training and in-context examples. [default: 13]",
    ),
]
Plugs = Annotated[
    Path | None, typer.Option("--plugs", hidden=True, help="Folder of user plugs; default: the config's.")
]

# What a sweep consists of
Seeds = Annotated[str | None, typer.Option("--seeds", help="Seeds that every random experiment runs with: 13,14,15.")]
Only = Annotated[str | None, typer.Option("--only", metavar="GLOB", help="Only experiments whose name or id matches.")]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Also run those that failed before.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="List what would run; run nothing.")]
MaxExperiments = Annotated[int, typer.Option("--max-experiments", min=1, help="Refuse grids larger than that.")]

# What its experiments run on
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs", min=1, show_default=False, help="Experiments at a time. [default: one per visible GPU, else 1]"
    ),
]
GpusPerExperiment = Annotated[
    int, typer.Option("--gpus-per-experiment", min=1, metavar="K", help="GPUs that each one sees.")
]
JobsPerGpu = Annotated[int, typer.Option("--jobs-per-gpu", min=1, metavar="N", help="Experiments that share a GPU.")]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        max=MOST_THREADS,
        metavar="N",
        show_default=False,
        help="CPU threads of each experiment; results depend on it in their last digits. [default: those that the "
        "sweep began with, else OMP_NUM_THREADS, else the processors divided among the experiments at a time]",
    ),
]
ThreadsOfOne = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        max=MOST_THREADS,
        metavar="N",
        show_default=False,
        help="CPU threads; results depend on it in their last digits. [default: those of its sweep, else "
        "OMP_NUM_THREADS, else all processors]",
    ),
]
LauncherName = Annotated[
    str, typer.Option("--launcher", metavar="NAME", help='Where they run: local, or your own "module:factory".')
]
LauncherArgs = Annotated[
    list[str] | None,
    typer.Option("--launcher-arg", metavar="KEY=VALUE", show_default=False, help="Option of the launcher; repeatable."),
]
IsolationOption = Annotated[
    Isolation | None,
    typer.Option(
        "--isolation",
        show_default="auto",
        help="Processes are forked from one with the imports done, start afresh, or keep the base loaded.",
    ),
]

# What ends them
Timeout = Annotated[
    float | None, typer.Option("--timeout", metavar="S", min=1, help="Seconds one experiment may take.")
]
MemoryLimit = Annotated[
    float | None,
    typer.Option("--memory-limit", metavar="GIB", min=0.1, help="GiB of main memory one experiment may hold."),
]
StaleAfter = Annotated[
    float,
    typer.Option(
        "--stale-after",
        metavar="S",
        min=1,
        help="Seconds without a sign of life after which an experiment of another command is taken over, where the "
        "file system has no locks (flock). It is watched for 90 seconds first.",
    ),
]
OomRetry = Annotated[
    bool, typer.Option("--oom-retry/--no-oom-retry", help="Try those that run out of memory with half the batch.")
]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="Start no more after the first failure.")]
MaxFailures = Annotated[
    int | None, typer.Option("--max-failures", min=1, metavar="N", help="Start no more after N failures.")
]

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing before the comparison.")]
