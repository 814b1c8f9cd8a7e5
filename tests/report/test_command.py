"""The command `report`: written files, options, several folders, and mistakes."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sft.cli.main import run_command
from sft.report.write import NAMES

sys.path.insert(0, str(Path(__file__).parent))
from grids import results_of, small_grid


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with seven rows of up to three runs, with predictions and scores."""
    return results_of(tmp_path_factory.mktemp("grid"), small_grid()).root


def output_of(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    assert run_command(["report", *map(str, arguments)]) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


def test_every_file_is_written_and_named(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "of" / "ours"
    out = output_of(capsys, results, "--output", folder)
    assert {path.name for path in folder.iterdir()} == set(NAMES.values())
    for name in NAMES.values():
        assert str(folder / name) in out
    assert (
        "Δ: difference to shots=0. p: chance of such a difference between equal recipes, over test rows and seeds;"
        in out
    )
    data = json.loads((folder / "aggregated_results.json").read_text())
    assert data["schema_version"] == 3
    row = data["rows"][1]["metrics"]["accuracy"]
    assert row["ci_low"] < row["mean"] < row["ci_high"]
    assert 0 < row["p_value"] <= row["p_holm"] <= 1
    assert row["difference_ci_low"] < row["difference"] < row["difference_ci_high"]
    assert row["these_models"]["p_value"] <= row["p_value"]
    assert row["test"] == "over rows and 3 seeds"
    assert isinstance(row["tied_with_best"], bool)
    assert data["rows"][0]["baseline"] is None
    assert data["rows"][1]["baseline"] == "shots=0"
    assert data["runs"][0]["folder"].startswith("../")  # seen from the report
    run = data["runs"][1]
    assert run["intervals_over_rows"]["accuracy"]["ci_low"] < run["results"]["accuracy"]
    with (folder / "aggregated_results.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [float(line["accuracy.mean"]) for line in table] == [
        one["metrics"]["accuracy"]["mean"] for one in data["rows"]
    ]


def test_formats_conditions_and_figures(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--where", "shots=16", "--metric", "macro_f1", "--format", "md,csv", "--output", tmp_path]
    out = output_of(capsys, results, *options, "--figures", tmp_path / "figures")
    assert {path.name for path in tmp_path.iterdir()} == {"aggregated_results.md", "aggregated_results.csv", "figures"}
    assert [line.split()[0] for line in out.splitlines()[1:3]] == ["pca", "pissa"]
    assert out.splitlines()[0].split()[2:4] == ["macro", "F1"]
    kinds = {path.suffix for path in (tmp_path / "figures").iterdir()}
    assert kinds == {".png", ".svg"}


def test_groups_have_no_tests(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = output_of(capsys, results, "--group-by", "init", "--output", tmp_path)
    assert "Grouped by init: mean ± standard deviation over all runs of a group" in out
    assert "Δ" not in out
    rows = json.loads((tmp_path / "aggregated_results.json").read_text())["rows"]
    assert all(row["metrics"]["accuracy"]["p_value"] is None for row in rows)
    assert "report.html" in {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--format", "pdf"], '--format: expected html, md, json, csv, tex, got "pdf"'),
        (["--where", "shots>8"], "expected a condition like shots=8"),
        (["--metric", "acuracy"], 'did you mean "accuracy"?'),
        (["--baseline", "shots=1"], 'no row is named "shots=1"'),
        (["--output", "taken"], "cannot be written"),
        (["--figures", "taken"], "cannot be written"),
    ],
)
def test_mistakes_are_one_line(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    options: list[str], what: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("a file")
    error = output_of(capsys, results, *options, code=2)
    assert what in error
    assert len(error.strip().splitlines()) == 1


def test_several_folders_have_a_report_of_their_own(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sft.cli.main import app

    grid = dict(list(small_grid().items())[:2])
    more = results_of(tmp_path / "more", grid).root
    before = {path: path.stat().st_mtime_ns for path in results.rglob("*")}
    monkeypatch.chdir(tmp_path)
    shown = CliRunner().invoke(app, ["report", str(results), str(more), "--format", "json"])
    assert shown.exit_code == 0, shown.output
    assert {path: path.stat().st_mtime_ns for path in results.rglob("*")} == before
    assert (tmp_path / "report" / "aggregated_results.json").exists()


def test_rows_that_are_not_the_same_are_not_compared_whatever_was_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = results_of(tmp_path / "hub", dict(list(small_grid().items())[:3]))
    assert "+" in output_of(capsys, store.root)
    for folder in store.folders():
        if folder.path.name.startswith("shots-4-init-pissa"):
            file = folder.predictions_file()
            file.write_text(file.read_text().replace("We got the thing 7.", "We got another thing."))
            result = folder.result()
            assert result is not None
            folder.write_result(result)
    out = output_of(capsys, store.root)
    assert "No best value is marked: not all rows were evaluated on the same data." in out
    baseline, tested, other = (line.split()[-4:-1] for line in out.splitlines()[1:4])
    assert baseline[0] == "baseline"
    assert tested[0] != "-"
    assert other == ["-", "-", "-"]
