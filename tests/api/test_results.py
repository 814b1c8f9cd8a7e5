"""A results folder as DataFrames: the figures are the report's own."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import sft
from sft.errors import UserError
from sft.report.build import build
from sft.report.formats.spreadsheet import render_csv
from sft.report.formats.values import FLAGS, TEXTS, VALUES
from sft.report.rows import compare
from sft.report.write import write_report
from sft.results.store import ResultStore

sys.path.insert(0, str(Path(__file__).parent.parent / "report"))
from grids import results_of, small_grid


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ResultStore:
    """Return seven rows of three seeds (zero-shot: one). The run shots=4 init=pca seed=13 failed."""
    return results_of(tmp_path_factory.mktemp("results"), small_grid(), fails=(1,))


@pytest.fixture(scope="module")
def results(store: ResultStore) -> sft.Results:
    return sft.load_results(store.root)


def test_rows_are_those_of_the_csv(store: ResultStore, results: sft.Results) -> None:
    built = build(compare(store))
    lines = list(csv.reader(io.StringIO(render_csv(built.comparison))))
    assert list(results.rows.columns) == lines[0]
    assert len(results.rows) == len(lines) - 1 == 7
    for number, line in enumerate(lines[1:]):
        for name, cell in zip(lines[0], line, strict=True):
            value = results.rows[name][number]
            if cell == "":
                assert pd.isna(value), name
            elif results.rows[name].dtype == "float64":
                assert value == float(cell), name
            else:
                assert str(value).lower() == cell.lower(), name


def test_the_dtypes_of_a_column_follow_from_its_values(results: sft.Results) -> None:
    dtypes = results.rows.dtypes.astype(str).to_dict()
    assert dtypes["shots"] == dtypes["finished"] == dtypes["test_rows"] == "int64"
    for name in VALUES:
        dtype = dtypes[f"accuracy.{name}"]
        if name in FLAGS:
            assert dtype == "boolean"
        else:
            assert (dtype == "float64") == (name not in TEXTS), name
    assert results.rows["ece.these_models_test"].dtype != "float64"
    assert results.rows["init"].isna().tolist() == [True, *[False] * 6]  # zero-shot has no initialiser


def test_columns_without_a_known_value_keep_their_dtype(tmp_path: Path) -> None:
    grid = {name: config for name, config in small_grid().items() if name == "shots=0"}
    rows = sft.load_results(results_of(tmp_path / "one", grid).root).rows
    assert rows["accuracy.p_value"].dtype == "float64"
    assert rows["accuracy.tied_with_best"].dtype == "boolean"
    assert rows["accuracy.test"].dtype == "object"
    assert rows["accuracy.test"].isna().all()


def test_runs_are_those_of_the_report(store: ResultStore, results: sft.Results, tmp_path: Path) -> None:
    from dataclasses import replace

    built = build(compare(store))
    write_report(built._replace(comparison=replace(built.comparison, folder=tmp_path)), ["json"])
    recorded: list[dict[str, Any]] = json.loads((tmp_path / "aggregated_results.json").read_text())["runs"]
    assert len(results) == len(results.runs) == len(recorded) == 19
    assert list(results.runs.columns[:5]) == ["name", "shots", "init", "seed", "status"]
    assert results.runs["labelled_examples"].dtype == "Int64"
    for line, one in zip(results.runs.to_dict("records"), recorded, strict=True):
        assert (line["name"], line["id"], line["recipe_id"]) == (one["name"], one["id"], one["recipe_id"])
        assert (line["seed"], line["status"], line["error"]) == (one["seed"], one["state"], one["error"])
        assert str(line["shots"]) == one["name"].split()[0].removeprefix("shots=")
        if one["state"] == "done":
            assert line["accuracy"] == one["results"]["accuracy"]
            assert line["seconds"] == one["timings"]["total"]
        else:
            assert pd.isna(line["accuracy"])
            assert pd.isna(line["labelled_examples"])


def test_settings_with_the_name_of_another_column_go_by_their_key(tmp_path: Path) -> None:
    from sft.config.sections.schema import ExperimentConfig

    def config(where: str) -> ExperimentConfig:
        data = small_grid()["shots=0"].model_dump(mode="json", exclude_defaults=True)
        data["dataset"]["args"] = {"status": where, "accuracy": where}
        return ExperimentConfig.model_validate(data)

    runs = sft.load_results(results_of(tmp_path, {name: config(name) for name in "ab"}).root).runs
    assert runs["dataset.args.status"].tolist() == runs["dataset.args.accuracy"].tolist() == ["a", "b"]
    assert runs["status"].tolist() == ["done", "done"]


def test_a_notebook_and_a_terminal_show_the_comparison(results: sft.Results) -> None:
    assert repr(results).splitlines()[0].split()[:3] == ["shots", "init", "labelled"]
    assert "Out of memory: shots=4 init=pca seed=13 (CUDA out of memory, tried 2 GiB)" in repr(results)
    assert results._repr_html_().count("<tr>") == 8


def test_the_statistics_are_computed_once(store: ResultStore, monkeypatch: pytest.MonkeyPatch) -> None:
    import sft.report.build

    calls = []
    before = sft.report.build.build
    monkeypatch.setattr(sft.report.build, "build", lambda *a, **k: calls.append(1) or before(*a, **k))
    loaded = sft.load_results(store.root)
    _ = loaded.runs, list(loaded)
    assert calls == []
    _ = loaded.rows, loaded.rows, repr(loaded), loaded._repr_html_()
    assert calls == [1]


def test_a_run_is_found_as_the_commands_find_it(results: sft.Results) -> None:
    run = results.run("shots=16 init=pca seed=14")
    assert (run.name, run.seed, run.status) == ("shots=16 init=pca seed=14", 14, "done")
    for text in (run.id, run.id[:8], run.folder.name):
        assert results.run(text).id == run.id
    assert results.run("shots=0").id == next(iter(results)).id
    with pytest.raises(UserError, match=r': no run "shots=17 init=pca seed=14"; did you mean "shots=1'):
        results.run("shots=17 init=pca seed=14")
    with pytest.raises(UserError, match=r': no run "\?" \(runs: shots=0, '):
        results.run("?")
    with pytest.raises(UserError, match=r'"shots=16 init=pca" matches 3 runs of .*: shots=16 init=pca seed=13, '):
        results.run("shots=16 init=pca")


def test_choices_are_those_of_the_report(store: ResultStore, results: sft.Results) -> None:
    some = sft.load_results(str(store.root), where=["shots=16"], baseline="shots=0", metric="macro_f1")
    assert some.rows["name"].tolist() == ["shots=0", "shots=16 init=pca", "shots=16 init=pissa"]
    assert some.rows["baseline"].isna().tolist() == [True, False, False]
    assert next(column for column in some.rows.columns if column.endswith(".mean")) == "macro_f1.mean"
    assert len(sft.load_results(store.root, where="shots=16").rows) == 2
    assert sft.load_results([store.root, store.root]).rows.equals(results.rows)
    with pytest.raises(UserError, match=r'--where "shots=3": no run has shots=3'):
        sft.load_results(store.root, where=["shots=3"])
    with pytest.raises(UserError, match="at least one folder"):
        sft.load_results([])


def test_everything_is_more_than_the_last_grid(tmp_path: Path) -> None:
    results_of(tmp_path, {"first": small_grid()["shots=0"]})
    results_of(tmp_path, {name: one for name, one in small_grid().items() if name == "shots=4 init=pca"})
    assert sft.load_results(tmp_path).rows["name"].tolist() == ["shots=4 init=pca"]
    assert len(sft.load_results(tmp_path, everything=True).rows) == 2


def test_a_folder_without_results_is_reported(tmp_path: Path, store: ResultStore) -> None:
    with pytest.raises(UserError, match=r"nowhere: no runs to report; run-experiments writes them"):
        sft.load_results(tmp_path / "nowhere")
    with pytest.raises(UserError, match=f"did you mean {store.root}"):
        sft.load_results(store.root / "runs")
