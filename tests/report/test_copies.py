"""A run in several folders counts once, whatever their names, and the table names the folder that counts."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sft.cli.main import app
from sft.report.choices import Choices
from sft.report.read.find import find_run
from sft.report.rows import compare
from sft.results.sealed import seal, unsealed
from sft.results.store import ResultStore

sys.path.insert(0, str(Path(__file__).parent))
from grids import config, results_of

NAMES = ("backup-{name}", "{name}-copy", "{name} (copy)", "Kopie von {name}", "{name}.bak", "aside", "other-{id}")


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return results_of(tmp_path / "results", {"shots=0": config(0), "shots=4": config(4)}, rows=24)


def of_row(store: ResultStore, *others: ResultStore, everything: bool = True) -> dict[str, tuple[int, list[int]]]:
    """Return the number of finished runs of each row, and their seeds."""
    found = compare(store, Choices(everything=everything), others)
    return {row.name: (row.finished, sorted(run.seed for run in row.runs)) for row in found.rows}


def a_run(store: ResultStore) -> Path:
    return next(folder.path for folder in store.folders() if folder.path.name.startswith("shots-4"))


def changed(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the result in a folder and update its checksum."""
    value = unsealed((folder / "result.json").read_bytes())
    change(value)
    (folder / "result.json").write_text(seal(value), encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("everything", [True, False])
def test_a_copy_beside_it(store: ResultStore, name: str, everything: bool) -> None:
    before = of_row(store, everything=everything)
    run = a_run(store)
    copy = run.with_name(name.format(name=run.name, id=run.name.rpartition("-")[2]))
    shutil.copytree(run, copy)
    assert of_row(store, everything=everything) == before == {"shots=0": (1, [13]), "shots=4": (3, [13, 14, 15])}
    (found,) = compare(store, Choices(everything=everything)).copies
    assert found.same
    assert (found.counted, found.left_out) == (run, copy)


def test_every_format_names_the_copies(store: ResultStore) -> None:
    run = a_run(store)
    shutil.copytree(run, run.with_name(f"{run.name}-copy"))
    output = CliRunner().invoke(app, ["report", str(store.root), "--all"])
    assert output.exit_code == 0, output.output
    name = next(one.name for one in compare(store, Choices(everything=True)).runs if one.folder.path == run)
    note = f"1 run is in more than one folder and counts once: {name} (runs/{run.name}, not runs/{run.name}-copy)"
    texts = [output.output, *((store.root / f"aggregated_results.{e}").read_text() for e in ("md", "tex"))]
    texts.append((store.root / "report.html").read_text())
    for text in texts:
        flat = " ".join(text.split()).replace("\\_", "_").replace("&#61;", "=").replace("\\", "")
        assert note in flat
    data = json.loads((store.root / "aggregated_results.json").read_text())
    assert data["copies"] == [
        {
            "name": name, "id": run.name.rpartition("-")[2], "counted": f"runs/{run.name}",
            "not_counted": f"runs/{run.name}-copy", "same_results": True, "differences": {},
        }
    ]  # fmt: skip
    assert len(data["runs"]) == 4
    with (store.root / "aggregated_results.csv").open(encoding="utf-8", newline="") as file:
        assert [row["finished"] for row in csv.DictReader(file)] == ["1", "3"]


def test_copies_with_other_results_are_reported(store: ResultStore) -> None:
    run = a_run(store)
    copy = run.with_name(f"old-{run.name}")
    shutil.copytree(run, copy)
    changed(copy, lambda value: value["results"].update(accuracy=0.125))
    found = compare(store, Choices(everything=True))
    assert not found.copies[0].same
    counted = json.loads((found.copies[0].counted / "result.json").read_text())["results"]["accuracy"]
    other = json.loads((found.copies[0].left_out / "result.json").read_text())["results"]["accuracy"]
    output = CliRunner().invoke(app, ["report", str(store.root), "--all"]).output
    assert f"differ between its folders: accuracy {counted!r} and {other!r}." in " ".join(output.split())


def test_timings_are_no_difference(store: ResultStore) -> None:
    run = a_run(store)
    copy = run.with_name(f"{run.name}-copy")
    shutil.copytree(run, copy)
    changed(copy, lambda value: value["timings"].update(total=99.0))
    assert compare(store, Choices(everything=True)).copies[0].same


def test_a_finished_copy_counts_before_an_unfinished_run(store: ResultStore) -> None:
    run = a_run(store)
    copy = run.with_name(f"zz-{run.name.rpartition('-')[2]}")
    shutil.copytree(run, copy)
    (run / "result.json").unlink()
    for everything in (True, False):
        assert of_row(store, everything=everything)["shots=4"] == (3, [13, 14, 15])
    assert ResultStore(store.root).folder(run.name.rpartition("-")[2], "shots-4").is_done()


def test_links_are_no_copies(store: ResultStore, tmp_path: Path) -> None:
    run = a_run(store)
    run.with_name(f"linked-{run.name}").symlink_to(run, target_is_directory=True)
    (tmp_path / "the same").symlink_to(store.root, target_is_directory=True)
    found = compare(store, Choices(everything=True), [ResultStore(tmp_path / "the same"), ResultStore(store.root)])
    assert [row.finished for row in found.rows] == [1, 3]
    assert found.copies == ()


def test_the_same_results_folder_twice_is_one(store: ResultStore) -> None:
    output = CliRunner().invoke(app, ["report", str(store.root), f"{store.root}/../{store.root.name}"])
    assert output.exit_code == 0, output.output
    assert "more than one folder" not in output.output
    assert (store.root / "report.html").exists()  # where the report of one folder goes


def test_two_results_folders(store: ResultStore, tmp_path: Path) -> None:
    shutil.copytree(store.root, tmp_path / "other")
    other = ResultStore(tmp_path / "other")
    only_there = a_run(store)
    shutil.rmtree(only_there)
    found = compare(store, Choices(everything=True), [other])
    assert {row.name: row.finished for row in found.rows} == {"shots=0": 1, "shots=4": 3}
    assert len(found.copies) == 3
    assert {one.counted.parent.parent for one in found.copies} == {store.root}
    assert of_row(other, store)["shots=4"][0] == 3


def test_a_result_in_the_folder_of_another_run_counts_nowhere(store: ResultStore) -> None:
    """It is not a copy: a folder belongs to the run whose id ends its name."""
    first, second = sorted(folder.path for folder in store.folders() if folder.path.name.startswith("shots-4"))[:2]
    shutil.copy(first / "result.json", second / "result.json")
    found = compare(store, Choices(everything=True))
    assert {row.name: row.finished for row in found.rows}["shots=4"] == 2
    assert found.copies == ()


def test_a_run_is_found_beside_its_copy(store: ResultStore) -> None:
    run = a_run(store)
    copy = run.with_name(f"{run.name}-copy")
    shutil.copytree(run, copy)
    assert find_run(store.root / run.name.rpartition("-")[2]).path == run.resolve()
    assert find_run(store.root / copy.name).path == copy.resolve()
    assert find_run(copy).result() is not None
    compared = CliRunner().invoke(app, ["compare", str(run), str(copy)])
    assert compared.exit_code == 0, compared.output


def test_several_copies_of_a_run_are_one_entry(store: ResultStore) -> None:
    run = a_run(store)
    for name in ("copy", "bak"):
        shutil.copytree(run, run.with_name(f"{run.name}.{name}"))
    printed = " ".join(CliRunner().invoke(app, ["report", str(store.root)]).output.split())
    assert "1 run is in more than one folder and counts once: " in printed
    assert f"(runs/{run.name}, not runs/{run.name}.bak, runs/{run.name}.copy)" in printed
