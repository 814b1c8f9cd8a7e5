"""The README and the pages in docs/: commands run, samples work, keys, options, files and links exist."""

from __future__ import annotations

import importlib.util
import itertools
import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import sft
from sft.plugins import BACKENDS, CALIBRATIONS, INITIALIZERS, LAUNCHERS, METHODS, METRICS, SELECTIONS
from sft.registry import Registry

ELSEWHERE = re.compile(r"# needs a (network|GPU)$")  # ends a command that is not run here
NOT_OURS = {
    "--help",
    "--slow",
    "--extra",
    "--signal",
}  # options of every command, of scripts/test and of SLURM's sbatch
LARGEST_README = 9_000  # bytes


def pages(repository: Path) -> list[Path]:
    """Every page: README, then those of the site's navigation in its order, then the rest."""

    def named(entry: Any) -> Iterator[str]:
        if isinstance(entry, str):
            yield entry
        else:
            for inner in entry.values() if isinstance(entry, dict) else entry:
                yield from named(inner)

    docs = repository / "docs"
    site = yaml.safe_load((repository / "mkdocs.yml").read_text(encoding="utf-8"))
    ordered = [repository / "README.md", *(docs / name for name in named(site["nav"]))]
    return list(dict.fromkeys([*ordered, *sorted(docs.rglob("*.md"))]))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def code(page: Path) -> list[str]:
    """The inline code of a page."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"`([^`\n]+)`", text)


def command_lines(repository: Path) -> list[str]:
    """Every `python -m sft.cli …` line of a shell block, once."""
    lines = [line for page in pages(repository) for block in blocks(page, "sh") for line in block.splitlines()]
    return list(dict.fromkeys(line for line in lines if line.startswith("python -m sft.cli ")))


def commands(repository: Path) -> list[list[str]]:
    """The arguments of those that need no network and no GPU, each once."""
    here = [line.partition("#")[0].strip() for line in command_lines(repository) if not ELSEWHERE.search(line)]
    return [shlex.split(line)[1:] for line in dict.fromkeys(here)]


def slug(heading: str) -> str:
    """The anchor of a heading: of ASCII ones GitHub and MkDocs make the same, no other is linked."""
    return re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip()) if heading.isascii() else ""


@pytest.fixture(scope="module")
def builder(repository: Path) -> Any:
    """The script that writes the reference, as a module."""
    script = repository / "scripts" / "build_reference.py"
    spec = importlib.util.spec_from_file_location("build_reference", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_current(repository: Path, builder: Any) -> None:
    page = (repository / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert "`label_scoring`" in builder.reference()
    assert builder.with_reference(page) == page, "run python scripts/build_reference.py"


@pytest.fixture(scope="module", params=[1, pytest.param(3, marks=pytest.mark.long)], ids=["one-seed", "all-seeds"])
def demo(request: pytest.FixtureRequest, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run every command of the pages in order, in a folder with only `etc`, and return the aggregated results.

    Long tests use the demo's three seeds; the others only the first seed.
    """
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(repository / "etc", folder / "etc")
    grid = folder / "etc" / "configs" / "jsonnet" / "demo.jsonnet"
    seeds = re.compile(r"seeds=\[13, 14, 15\]")
    assert len(seeds.findall(grid.read_text(encoding="utf-8"))) == 1
    if request.param == 1:
        text = seeds.sub("seeds=[13]", grid.read_text(encoding="utf-8"))
        assert "max_steps: 70" in text
        grid.write_text(
            text.replace("max_steps: 70", "max_steps: 30"), encoding="utf-8"
        )  # enough for the curve to rise
    to_run = commands(repository)
    assert len(to_run) >= 10
    printed = ""
    for command in to_run:
        # names include the seed where there are several
        words = [word.removesuffix(" seed=13") for word in command] if request.param == 1 else command
        done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        printed += done.stdout
    results: dict[str, Any] = json.loads((folder / "results" / "demo" / "aggregated_results.json").read_text())
    return {"results": results, "folder": folder, "seeds": request.param, "printed": printed}


@pytest.mark.slow
def test_the_commands_run_and_more_shots_are_better(demo: dict[str, Any]) -> None:
    rows = demo["results"]["rows"]
    assert [row["settings"]["dataset.shots"] for row in rows] == ["0", "4", "16", "64"]
    assert [row["finished"] for row in rows] == [1, *[demo["seeds"]] * 3]
    accuracy = [row["metrics"]["accuracy"] for row in rows]
    assert accuracy[-1]["mean"] >= accuracy[0]["mean"] + 0.20
    for before, after in itertools.pairwise(accuracy):
        standard_error = (after["std"] or 0.0) / after["n"] ** 0.5
        assert after["mean"] >= before["mean"] - standard_error


@pytest.mark.slow
def test_the_demo_again_repeats_nothing(demo: dict[str, Any]) -> None:
    stamps = {path: path.stat().st_mtime_ns for path in demo["folder"].glob("results/demo/runs/*/result.json")}
    total = 1 + 3 * demo["seeds"]
    assert len(stamps) == total
    command = [sys.executable, "-m", "sft.cli", "run-experiments", "etc/configs/jsonnet/demo.jsonnet"]
    again = subprocess.run(
        [*command, "--results-path", "results/demo"], cwd=demo["folder"], capture_output=True, text=True, check=False
    )
    assert again.returncode == 0
    assert f"{total} of {total} done, nothing to run" in again.stdout
    assert "Report: results/demo/report.html · results/demo/aggregated_results.md" in again.stdout.splitlines()
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}


@pytest.mark.slow
def test_the_table_of_the_readme_looks_like_that_of_the_demo(demo: dict[str, Any], repository: Path) -> None:
    """Its legend, word for word; with all seeds also its columns. The figures may differ between processors."""
    head, *lines = blocks(repository / "README.md", "")[0].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("*"))
    clauses = re.split(r"; |\. ", " ".join(lines[start:]))
    best, *others = clauses[:5]  # the last sentence lists rows, which one seed can change
    printed = " ".join(demo["printed"].split())
    assert best.startswith("* best mean")
    assert best in printed
    if demo["seeds"] > 1:
        assert [one for one in others if one not in printed] == []
        assert head.split() in [line.split() for line in demo["printed"].splitlines()]


def test_the_readme_is_short(repository: Path) -> None:
    assert (repository / "README.md").stat().st_size <= LARGEST_README


def test_every_option_exists(repository: Path) -> None:
    import typer

    from sft.cli.main import app

    group: Any = typer.main.get_command(app)
    known = {
        name: {option for parameter in one.params for option in (*parameter.opts, *parameter.secondary_opts)}
        for name, one in group.commands.items()
    }
    every = set().union(*known.values())
    for line in command_lines(repository):
        words = shlex.split(line.partition(" #")[0])
        options = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert options <= known[words[3]], line
    mentioned = [
        (page.name, option) for page in pages(repository) for text in code(page)
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)
    ]  # fmt: skip
    assert len(mentioned) > 30
    assert [one for one in mentioned if one[1] not in every | NOT_OURS] == []


def test_every_config_key_exists(repository: Path, builder: Any) -> None:
    from sft.config.sections.schema import ExperimentConfig

    def unknown(key: str) -> bool:
        section: Any = ExperimentConfig
        for part in key.split("."):
            if section is None:
                return False  # arguments of a library
            if part not in section.model_fields:
                return key.split(".")[0] not in ("lora", "adapter")
            section = builder.section_of(section.model_fields[part])
        return False

    keys = [
        (page.name, match[0]) for page in pages(repository) for text in code(page)
        if (match := re.match(r"[a-z_]+(\.[a-z_]+)+(?=$|:)", text))
        and match[0].split(".")[0] in ExperimentConfig.model_fields
    ]  # fmt: skip
    assert len(keys) > 20
    assert [one for one in keys if unknown(one[1])] == []


def test_every_file_and_module_exists(repository: Path) -> None:
    named = [(page.name, word) for page in pages(repository) for text in code(page) for word in text.split()]
    files = [one for one in named if re.fullmatch(r"(etc|scripts|sft|docs|tests|\.ci)/[\w./-]+", one[1])]
    assert len(files) > 15
    assert [one for one in files if not (repository / one[1]).exists()] == []
    modules = [one for one in named if re.fullmatch(r"sft(\.[a-z_]+)+", one[1]) and one[1] != "sft.json"]
    assert modules
    for page, name in modules:
        path = repository.joinpath(*name.split("."))
        exists = path.is_dir() or path.with_suffix(".py").exists() or path.name in sft.__all__
        assert exists or f"def {path.name}(" in path.parent.with_suffix(".py").read_text(encoding="utf-8"), (page, name)


def test_every_link_leads_somewhere(repository: Path) -> None:
    count = 0
    for page in pages(repository):
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            if target.startswith(("http:", "https:")):
                continue
            count += 1
            file, _, anchor = target.partition("#")
            linked = (page.parent / file).resolve() if file else page
            assert linked.exists(), (page, target)
            if anchor:
                headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), flags=re.MULTILINE)
                assert anchor in map(slug, headings), (page, target)
    assert count > 50


def test_grids_are_valid(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sft.sweep.planning.check import load_plan

    monkeypatch.chdir(repository)
    planned = {}
    for page in pages(repository):
        for block in blocks(page, "jsonnet"):
            grid = tmp_path / "mine.jsonnet"
            grid.write_text(block, encoding="utf-8")
            plan = load_plan(grid, None, "run-experiment")
            planned[page.name] = (plan.configurations, len(plan.experiments))
    assert planned == {"README.md": (20, 58), "configuration.md": (5, 13)}


def test_json_is_valid(repository: Path) -> None:
    from sft.config.sections.dataset import DatasetConfig

    found = [json.loads(block) for page in pages(repository) for block in blocks(page, "json")]
    assert found
    assert [DatasetConfig(**one).path for one in found if "path" in one] == ["data_small.json"]


# ---- the samples of docs/extending ----


@pytest.fixture
def sample(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, str, Registry[Any]], Any]:
    """Return what a config gets that names a function of a page's sample."""

    def resolved(page: str, name: str, registry: Registry[Any]) -> Any:
        (block,) = blocks(repository / "docs" / "extending" / page, "python")
        module = f"sample_{page.removesuffix('.md')}"
        (tmp_path / f"{module}.py").write_text(block, encoding="utf-8")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, module, raising=False)
        assert f"mine:{name}" in (repository / "docs" / "extending" / page).read_text(encoding="utf-8")
        return registry.resolve(f"{module}:{name}")

    return resolved


def test_the_initialiser_runs(sample: Any) -> None:
    import torch

    layer = torch.nn.Linear(6, 10)
    made = sample("initialisers.md", "top_rows", INITIALIZERS)(layer, 4, torch.float32)
    assert made["lora_A"].shape == (4, 6)
    assert made["lora_B"].shape == (10, 4)
    assert not made["lora_B"].any()


def test_the_calibration_runs(sample: Any) -> None:
    import numpy as np

    from sft.calibration.base import Evidence

    calibrate = sample("calibrations.md", "half_prior", CALIBRATIONS)
    scores_NL = np.array([[-1.0, -2.0], [-3.0, -1.0]])
    made = calibrate(Evidence(scores_NL, content_free_PL=np.array([[-1.0, -3.0], [-1.0, -5.0]])))
    weights = np.exp(scores_NL - [-0.5, -2.0])
    np.testing.assert_allclose(made.probabilities_NL, weights / weights.sum(axis=1, keepdims=True))
    assert made.fitted == {"strength": 0.5}


def test_the_metric_runs(sample: Any) -> None:
    metric = sample("metrics.md", "first_word", METRICS)
    assert metric(["a b", "c", "", "d"], ["a c", "b", "", ""]) == 0.5
    assert metric([], []) == 0


def test_the_way_to_choose_examples_runs(sample: Any) -> None:
    from sft.prompting.examples import Pool
    from sft.prompting.selection import Selection, Wanted, choose_examples

    choose = sample("examples.md", "longest", SELECTIONS)
    pool = Pool(("one", "three", "eleven", "a"), ("x", "y", "x", "y"))
    wanted = Wanted(pool, asked=("eleven", "else"), count=1, labels=("x", "y"), seed=13)
    assert choose_examples(Selection(choose), wanted) == [[0, 1], [1, 2]]


def test_the_training_method_learns(sample: Any, make_model: Any, tokenizer: Any, tmp_path: Path) -> None:
    from sft.config.sections.training import TrainingConfig
    from sft.training.base import TrainingRow, TrainRequest

    method = sample("methods.md", "plain_loop", METHODS)
    rows = [TrainingRow([1, 2, 3], [4, 5]) for _ in range(30)]
    config = TrainingConfig(trainer_args={"learning_rate": 1e-2})
    outcome = method(TrainRequest(make_model(), tokenizer, rows, config, tmp_path, seed=13))
    assert (outcome.steps, outcome.trained_tokens, len(outcome.loss_history)) == (30, 60, 30)
    assert outcome.loss_history[-1]["loss"] < 0.1 * outcome.loss_history[0]["loss"]


def test_the_backend_answers(sample: Any, tokenizer: Any) -> None:
    import numpy as np

    from sft.config.sections.model import ModelConfig
    from sft.inference.backends.base import Opening
    from sft.log import silent
    from sft.model.resident import FreshModels
    from sft.prompting.render import LabelledPrompt, Prompt

    make = sample("backends.md", "Unigram", BACKENDS)
    backend = make(Opening(ModelConfig(name="none"), None, tokenizer, "auto", FreshModels()))
    ids = tokenizer.encode("aab", add_special_tokens=False)
    prompt = Prompt(ids, [], (), "aab")
    first, last = ids[0], ids[-1]
    scores = backend.score_labels([LabelledPrompt(prompt, [[first], [last]], 1)], 2, silent)
    share = np.array([1 + ids.count(first), 1 + ids.count(last)]) / (1 + len(ids))
    np.testing.assert_allclose(scores.sum_logprob_NL, np.log(share)[None], rtol=1e-6)
    assert backend.generate([prompt], None, silent).predictions == (tokenizer.decode(ids[-3:]),)
    backend.close(succeeded=True)


def test_the_launcher_runs_and_ends_jobs(sample: Any, tmp_path: Path) -> None:
    from sft.launchers.base import Job, Preparation, Resources

    launcher = sample("launchers.md", "Nice", LAUNCHERS)(Preparation(), level="7")

    def status(code: str, seconds: float | None = None) -> Any:
        argv, log_file = (sys.executable, "-c", code), tmp_path / "log.txt"
        running = launcher.start(Job(argv, log_file, {"WORD": "x"}, Resources(seconds=seconds)))
        until = time.monotonic() + 60
        while (ended := running.poll()) is None and time.monotonic() < until:
            time.sleep(0.02)
        return ended

    assert launcher.ready()
    ended = status("import os; print(os.environ['WORD'], os.nice(0)); raise SystemExit(3)")
    assert (ended.exit_code, ended.cause) == (3, "")
    assert (tmp_path / "log.txt").read_text(encoding="utf-8") == "x 7\n"
    ended = status("import time; time.sleep(600)", seconds=0.2)
    assert (ended.exit_code, ended.cause) == (-9, "timeout")
    launcher.close()
