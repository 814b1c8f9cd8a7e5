"""The commands. Each loads the config, imports the code it needs, calls it and prints; nothing is decided here.

    python -m sft.cli run-experiments etc/configs/jsonnet/demo.jsonnet

Nothing heavy is imported at the top: `--help`, `validate`, `report` and the sweep's parent start without torch.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sft.cli import options as option
from sft.cli.export import export
from sft.cli.help import PanelCommand, PlainGroup
from sft.cli.report import compare, report, reproduce
from sft.errors import BUG, UserError
from sft.foreign import one_line
from sft.log import RedactingStream, configure_logging, plain, redact_output
from sft.memory import halved, is_out_of_memory
from sft.results.markers import STALE_AFTER
from sft.signals import install_handlers
from sft.threads import set_wait_policy, use_threads

if TYPE_CHECKING:
    from sft.config.experiment import Experiment
    from sft.config.sections.schema import Endpoint
    from sft.model.resident import Models

# Commands whose results are in files too: the work continues when the output cannot be written.
_WORK = frozenset({"train", "predict", "evaluate", "run-experiment", "run-experiments", "export", "reproduce"})
_INTERRUPTED = 130
_LESS_MEMORY = "; a smaller inference.batch_size or training.trainer_args.per_device_train_batch_size needs less"


app = typer.Typer(
    cls=PlainGroup,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Find the few-shot recipe that works best: write a config or a grid, run it, read the comparison.",
)
_command = partial(app.command, cls=PanelCommand)


@_command()
def train(config: option.Config, random_seed: option.RandomSeed = None, threads: option.ThreadsOfOne = None) -> None:
    """Train on the shots and save the adapter.

    With training.full_finetuning, save the whole model. Requires the sections dataset (with shots), model, prompting,
    lora (or adapter) and training. Writes to training.trainer_args.output_dir, by default checkpoints/NAME-ID, in
    the format of PEFT or transformers.
    """
    experiment = _experiment(config, "train", random_seed)
    use_threads(threads)
    from sft import pipeline

    typer.echo(f"{'Model' if experiment.trains_whole else 'Adapter'}: {pipeline.train(experiment)}")


@_command()
def predict(
    config: option.Config,
    random_seed: option.RandomSeed = None,
    results_path: Annotated[
        Path, typer.Option(metavar="DIR", rich_help_panel=option.WHERE, help="Folder of the predictions.")
    ] = Path("predictions"),
    threads: option.ThreadsOfOne = None,
) -> None:
    """Write predictions for the test split as TSV.

    Columns: those of the split, `predictions` and, for labels, `probabilities`. Requires the sections dataset, model,
    prompting and inference. Resumes where it stopped.
    """
    experiment = _experiment(config, "predict", random_seed)
    from sft.results.store import ResultStore

    ResultStore(results_path).check_writable()
    use_threads(threads)
    from sft import pipeline

    typer.echo(f"Predictions: {pipeline.predict(experiment, results_path)}")


@_command()
def evaluate(
    config: option.Config,
    random_seed: option.RandomSeed = None,
    results_path: option.Results = Path("results"),
    threads: option.ThreadsOfOne = None,
) -> None:
    """Evaluate a model without training it.

    The model is the base, or with model.adapter a trained one. Requires the sections dataset, model, prompting and
    inference. Writes a run folder.
    """
    _run(_experiment(config, "evaluate", random_seed), results_path, threads)


@_command("run-experiment")
def run_experiment(
    context: typer.Context,
    config: option.Config,
    random_seed: option.RandomSeed = None,
    do_eval: option.DoEval = True,
    results_path: option.Results = Path("results"),
    threads: option.ThreadsOfOne = None,
    plugs: option.Plugs = None,
    halvings: Annotated[int, typer.Option(hidden=True, min=0, help="Halve the batch this many times.")] = 0,
    expect: Annotated[str | None, typer.Option(hidden=True, help="Run only the experiment with this id.")] = None,
) -> None:
    """Train and evaluate one experiment.

    Writes a run folder. Requires all sections; lora and training may be absent if dataset.shots is 0. A finished run is
    not repeated.
    """
    from sft.sweep.single import load_experiment

    experiment = load_experiment(config, "run-experiment" if do_eval else "train", random_seed, plugs, expect)
    with halved(halvings):
        _run(experiment, results_path, threads, context.obj)


@_command("run-experiments")
def run_experiments(
    grid: option.GridFile,
    seeds: option.Seeds = None,
    only: option.Only = None,
    retry_failed: option.RetryFailed = False,
    do_eval: option.DoEval = True,
    dry_run: option.DryRun = False,
    max_experiments: option.MaxExperiments = 10_000,
    results_path: option.Results = Path("results"),
    launcher: option.LauncherName = "local",
    launcher_arg: option.LauncherArgs = None,
    isolation: option.IsolationOption = None,
    jobs: option.Jobs = None,
    gpus_per_experiment: option.GpusPerExperiment = 1,
    jobs_per_gpu: option.JobsPerGpu = 1,
    threads: option.Threads = None,
    timeout: option.Timeout = None,
    memory_limit: option.MemoryLimit = None,
    fail_fast: option.FailFast = False,
    max_failures: option.MaxFailures = None,
    oom_retry: option.OomRetry = True,
    stale_after: option.StaleAfter = STALE_AFTER,
    quiet: option.Quiet = False,
) -> None:
    """Run every experiment of a grid.

    Each experiment runs in its own process; the comparison is written and printed at the end. The same command again
    runs only what is not done, including experiments that were killed. Several commands may share a results folder:
    each experiment runs once.
    """
    from sft.config.reading.jsonnet import begin_evaluation

    begun = begin_evaluation(grid, max_experiments)  # runs during the imports below
    from sft.foreign import plug_paths
    from sft.sweep.planning import check
    from sft.sweep.planning.jobs import only as chosen_by
    from sft.sweep.screen import describe

    endpoint: Endpoint = "run-experiment" if do_eval else "train"
    plug_paths(grid.resolve().parent)  # before the plan: ids hash the content of plugins
    plan = check.load_plan(grid, describe.parse_seeds(seeds), endpoint, max_experiments, begun)
    chosen = chosen_by(plan, only)
    if dry_run:
        typer.echo(describe.describe_dry_run(plan, chosen, results_path, retry_failed, oom_retry))
        return
    from sft.launchers.base import Resources
    from sft.launchers.local.devices import visible_devices
    from sft.plugins import LAUNCHERS
    from sft.sweep import command
    from sft.sweep.planning.options import SweepOptions, launcher_arguments
    from sft.sweep.planning.slots import make_slots

    launcher_args = launcher_arguments(launcher, launcher_arg or (), isolation)
    devices = visible_devices() if LAUNCHERS.spec(launcher).is_local else ()
    options = SweepOptions(
        plug_folder=grid.resolve().parent,
        do_eval=do_eval,
        slots=tuple(make_slots(jobs, devices, gpus_per_experiment, jobs_per_gpu)),
        threads=threads,
        launcher=launcher,
        launcher_args=launcher_args,
        limits=Resources(seconds=timeout, memory=None if memory_limit is None else int(memory_limit * 2**30)),
        retry_failed=retry_failed,
        max_failures=1 if fail_fast else max_failures,
        oom_retry=oom_retry,
        stale_after=stale_after,
    )
    raise typer.Exit(command.run(plan, chosen, results_path, options, quiet))


@_command()
def validate(
    config: Annotated[Path, typer.Argument(metavar="CONFIG|GRID", help="Config or grid, JSON or Jsonnet.")],
    data: Annotated[bool, typer.Option("--data", help="Also open data and tokenizer, in a child process.")] = False,
    results_path: option.Results = Path("results"),
    max_experiments: option.MaxExperiments = 10_000,
) -> None:
    """Check a config or grid without running it.

    Reports all problems at once, including library arguments, or lists the experiments. Imports nothing heavy.
    """
    from sft.config.reading.jsonnet import begin_evaluation

    begun = begin_evaluation(config, max_experiments)  # runs during the imports below
    from sft.foreign import plug_paths
    from sft.sweep.planning import check
    from sft.sweep.screen import describe

    plug_paths(config.resolve().parent)
    plan = check.load_plan(config, None, None, max_experiments, begun)
    typer.echo(
        "\n".join([describe.describe(plan), *describe.describe_names(plan), *describe.describe_duplicates(plan)])
    )
    if data:
        from sft.sweep.planning.options import SweepOptions
        from sft.sweep.preflight import check_data

        checked = check_data(
            plan.experiments, SweepOptions(config.resolve().parent, launcher_args={"isolation": "spawn"})
        )
        if checked.problems:
            raise UserError("\n".join(describe.describe_problems(plan, checked.problems)))
        if checked.breakdown:
            typer.echo(f"The data check itself failed\n{checked.breakdown}", err=True)
            raise typer.Exit(1)
        typer.echo("".join(f"{note}\n" for note in checked.notes), nl=False)
    for line in [] if data else describe.describe_unchecked(plan):
        typer.echo(line)
    done = describe.count_done(plan, results_path)
    valid = "All valid." if data else "Config valid; data and model were not opened: --data does that."
    typer.echo(f"{valid} {done} are already done in {results_path}/." if done else valid)


@_command("show-prompt")
def show_prompt(
    config: option.Config,
    random_seed: option.RandomSeed = None,
    split: Annotated[
        str, typer.Option(metavar="SPLIT", help="train (training prompts), or test or validation (evaluated prompts).")
    ] = "train",
    n: Annotated[int, typer.Option(min=1, metavar="N", help="Number of rows.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """Show the exact prompts of some rows.

    With the loss mask in colour, token counts, truncation and label ids.
    """
    from rich.console import Console

    from sft import pipeline
    from sft.prompting import view

    rows, tokenizer = pipeline.prompts(_experiment(config, None, random_seed), split, n)
    if as_json:
        for line in view.json_lines(rows):
            typer.echo(line)
        return
    console = Console(highlight=False, soft_wrap=True)
    for text in view.coloured(rows, tokenizer):
        console.print(text)


_command()(report)
_command()(compare)
_command()(reproduce)


@_command()
def status(
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="Folder given as --results-path.")],
    watch: Annotated[
        bool, typer.Option("--watch", help="Refresh every two seconds until all experiments are done.")
    ] = False,
) -> None:
    """Show the progress of a running sweep.

    Experiments that are done, running, failed and waiting, and the estimated remaining time.
    """
    from sft.sweep.screen.status import show_status

    show_status(results, watch)


_command()(export)


@_command()
def schema() -> None:
    """Print the JSON Schema of a config."""
    from sft.config.json_schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))


@_command("check-data", hidden=True)
def check_data_of(request: Path, answer: Path, plugs: option.Plugs = None) -> None:
    """Open the data and tokenizers of the experiments in REQUEST; write their problems to ANSWER."""
    from sft import pipeline
    from sft.foreign import plug_paths
    from sft.io import write_json
    from sft.sweep.preflight import read_request

    if plugs is not None:
        plug_paths(plugs)
    write_json(answer, pipeline.check_data(read_request(request)))


def _experiment(path: Path, endpoint: Endpoint | None, random_seed: int | None) -> Experiment:
    from sft.sweep.single import load_experiment

    return load_experiment(path, endpoint, random_seed)


@_command(hidden=True)
def serve() -> None:
    """Run the experiments requested on standard input, one after the other, and keep the base model loaded."""
    from sft.launchers.local.serving import serve as serve_requests
    from sft.model.resident import ResidentModel

    models = ResidentModel()
    raise typer.Exit(serve_requests(lambda arguments: run_command(arguments, models), models.is_fit))


def _run(experiment: Experiment, results_path: Path, threads: int | None, models: Models | None = None) -> None:
    from sft.report.metrics import numbers
    from sft.results.store import ResultStore
    from sft.sweep.planning.fixed_threads import planned_threads
    from sft.sweep.single import held

    store = ResultStore(results_path)
    with held(store, experiment) as folder:
        if folder.result() is not None:
            typer.echo(f"Already done: {folder.path}")
            return
        use_threads(threads or planned_threads(store, [experiment.id]))
        from sft import pipeline

        result = pipeline.run(experiment, folder, models)
    typer.echo(json.dumps(numbers(result.results), indent=2))
    typer.echo(f"Run: {folder.path}")


def main() -> None:
    """Run a command. An error that the user can fix is one line and exit code 2; a bug keeps its traceback."""
    try:
        set_wait_policy()
        redact_output()
        configure_logging()
        install_handlers()
        code = run_command(sys.argv[1:])
    except KeyboardInterrupt:
        code = _report_interrupted()
    sys.exit(code)


def run_command(arguments: Sequence[str], models: Models | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        arguments: as on the command line.
        models: the source of the base model for `run-experiment`; None: load it.
    """
    if isinstance(sys.stdout, RedactingStream):
        is_work = {"--dry-run", "--help"}.isdisjoint(arguments)
        sys.stdout.begin(lossy=is_work and bool(_WORK.intersection(arguments[:1])))
    try:
        app(arguments, obj=models)
    except KeyboardInterrupt:
        return _report_interrupted()
    except SystemExit as end:
        if _is_by_keyboard(end):
            return _report_interrupted()
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except UserError as error:
        typer.echo("error: " + "\n".join(map(plain, str(error).split("\n"))), err=True)
        return error.exit_code
    except Exception as error:  # every bug ends here
        if is_out_of_memory(error):
            typer.echo(f"error: memory ran out: {plain(one_line(error))}{_LESS_MEMORY}", err=True)
            return 1
        traceback.print_exc()
        typer.echo(f"{BUG}: please report it with the lines above", err=True)
        return 1
    return 0


def _is_by_keyboard(end: SystemExit) -> bool:
    """Return whether typer converted a Ctrl-C to this exit."""
    error: BaseException | None = end.__context__
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _report_interrupted() -> int:
    typer.echo("Interrupted (Ctrl-C)", err=True)
    return _INTERRUPTED
