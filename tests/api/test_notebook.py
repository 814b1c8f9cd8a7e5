"""Every cell of the notebook and of the Python page runs, in order."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CELLS = Path(__file__).with_name("cells.py")


@pytest.fixture(scope="module")
def folder(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with only the shipped files."""
    folder = tmp_path_factory.mktemp("notebook")
    (folder / "etc").symlink_to(repository / "etc")
    return folder


@pytest.fixture(scope="module")
def answers(folder: Path, repository: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the answers of the notebook's cells and of the page's blocks. Standard output is not a file there."""
    files = [str(repository / "docs" / name) for name in ("python.ipynb", "python.md")]
    command = [sys.executable, str(CELLS), "answers.json", *files]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    notebook, page = json.loads((folder / "answers.json").read_text(encoding="utf-8"))
    return notebook, page


@pytest.fixture
def notebook(answers: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
    return answers[0]


@pytest.mark.slow
def test_the_notebook_runs_and_its_figures_are_those_of_the_report(notebook: dict[str, Any], folder: Path) -> None:
    found = notebook["values"]
    assert found["run"]["status"] == "done"
    assert found["run"]["rows"] == 60
    assert found["wrong"] > 0
    assert found["likeliest"][0] == "positive"
    assert [row["shots"] for row in found["rows"]] == [0, 16]
    assert [row["finished"] for row in found["rows"]] == [1, 2]
    assert {run["status"] for run in found["runs"]} == {"done"}
    with (folder / "results" / "python" / "aggregated_results.csv").open(encoding="utf-8", newline="") as file:
        written = list(csv.DictReader(file))
    for row, line in zip(found["rows"], written, strict=True):
        for column in ("accuracy.mean", "accuracy.ci_low", "accuracy.difference", "accuracy.p_holm", "ece.std"):
            assert row[column] == (None if line[column] == "" else pytest.approx(float(line[column]), abs=1e-9)), column


@pytest.mark.slow
def test_the_run_of_the_notebook_is_one_of_its_grid(notebook: dict[str, Any], folder: Path) -> None:
    assert len(list((folder / "results" / "python" / "runs").iterdir())) == 3  # else 4: one would have run twice
    (same,) = [run for run in notebook["values"]["runs"] if run["name"] == "shots=16 seed=13"]
    assert same["accuracy"] == pytest.approx(notebook["values"]["run"]["accuracy"]["accuracy"], abs=1e-9)


@pytest.mark.slow
def test_the_notebook_shows_the_comparison_table(notebook: dict[str, Any]) -> None:
    (table,) = [text for text in notebook["shown"] if text and "mathjax_ignore" in text]
    assert "<th>shots</th><th>labelled</th><th>accuracy</th>" in table
    assert table.count("<tr>") == 3
    assert "<td>baseline</td>" in table
    assert any(text and text.startswith("Run('demo', done, accuracy ") for text in notebook["shown"])


@pytest.mark.slow
def test_the_page_runs_and_repeats_nothing(answers: tuple[dict[str, Any], dict[str, Any]]) -> None:
    notebook, page = answers
    assert page["values"]["rows"] == notebook["values"]["rows"]
    assert page["values"]["likeliest"] == notebook["values"]["likeliest"]
    assert "Already done: results/python/runs/" in page["printed"]
    assert "3 of 3 done, nothing to run" in page["printed"]
    assert 'modle unknown key; did you mean "model"?' in page["printed"]


def test_the_notebook_is_kept_without_output_and_without_magic(repository: Path) -> None:
    cells = json.loads((repository / "docs" / "python.ipynb").read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(code) >= 8
    for cell in code:
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
        compile("".join(cell["source"]), "cell", "exec")
