"""Comparison of two runs: config, metrics, tests against independent counts, rows, refusals, and names of runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from sft.cli.main import app
from sft.config.experiment import Experiment
from sft.config.sections.schema import ExperimentConfig
from sft.errors import UserError
from sft.report.pairs.pair import Pair, pair
from sft.report.pairs.pair_text import cut, pair_json, pair_lines
from sft.report.read.find import find_run, open_run
from sft.results.schema import RunResult, RunState
from sft.results.store import ResultStore, RunFolder
from sft.sweep.planning.jobs import config_of

LABELS = ("bad", "good")
ROWS = 60
TRUTH = [row % 2 for row in range(ROWS)]


def experiment(name: str = "one", seed: int = 13, task: str = "classification", **dataset: Any) -> Experiment:
    data = {
        "dataset": {"path": "hub/data", "task_type": task, "shots": 4, **dataset},
        "model": {"name": "hub/model"}, "lora": {"r": 8}, "training": {}, "inference": {},
        "prompting": {"input_columns": ["text"], "output_column": "label"},
    }  # fmt: skip
    return Experiment(name, ExperimentConfig.model_validate(data), seed)


def finish(
    store: ResultStore,
    one: Experiment,
    results: Mapping[str, Any],
    columns: Mapping[str, Sequence[Any]],
    rows: int = ROWS,
) -> RunFolder:
    folder = store.folder(one.id, one.slug)
    folder.write_config(config_of(one))
    folder.write_predictions(columns)
    folder.write_result(RunResult(
        name=one.name, id=one.id, recipe_id=one.recipe_id, seed=one.seed, endpoint=one.endpoint, config=config_of(one),
        results=dict(results), shots={}, labelled_examples=8, training={}, timings={}, resources={}, environment={},
        data={"sha256": "one", "rows": {"test": rows}},
    ))  # fmt: skip
    return folder


def classified(
    store: ResultStore, one: Experiment, wrong: Sequence[int], text: str = "row", rows: int = ROWS
) -> RunFolder:
    """A run that answers some rows wrongly, with a probability of .9."""
    truth = np.array(TRUTH[:rows])
    given = np.where(np.isin(np.arange(rows), wrong), 1 - truth, truth)
    probabilities = [json.dumps({LABELS[at]: 0.9, LABELS[1 - at]: 0.1}) for at in given.tolist()]
    columns = {
        "text": [f"{text} {row}" for row in range(rows)], "label": [LABELS[at] for at in truth.tolist()],
        "predictions": [LABELS[at] for at in given.tolist()], "probabilities": probabilities,
    }  # fmt: skip
    results = {"accuracy": float((given == truth).mean()), "mcc": 0.123, "support": dict.fromkeys(LABELS, rows // 2)}
    return finish(store, one, results, columns, rows)


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(tmp_path / "results")


@pytest.fixture
def two(store: ResultStore) -> Pair:
    """A: 20 rows wrong; B: 5, of which 2 are not among A's."""
    first = classified(store, experiment("first"), range(20))
    second = classified(store, experiment("second", 14, shots=16), [0, 1, 2, 50, 51])
    return pair(open_run(first.path), open_run(second.path))


def test_what_differs_in_the_configs(two: Pair) -> None:
    assert [tuple(one) for one in two.settings] == [("dataset.shots", "4", "16"), ("seed", "13", "14")]


def test_the_rows_are_counted_and_listed(two: Pair) -> None:
    assert two.refused == ""
    assert two.right is not None
    assert tuple(two.right) == ("accuracy", 38, 2, 17, 3)
    assert [one.row for one in two.different] == [*range(3, 20), 50, 51]
    first = two.different[0]
    assert (first.text, first.reference) == ("row 3", "good")
    assert tuple(first.a) == ("bad", 0.9, False)
    assert tuple(first.b) == ("good", 0.9, True)


def test_accuracy_is_tested_exactly_and_its_interval_is_of_the_difference(two: Pair) -> None:
    from scipy.stats import binomtest

    accuracy = two.metrics[0]
    assert (accuracy.name, accuracy.a, accuracy.b) == ("accuracy", 40 / 60, 55 / 60)
    assert accuracy.difference == pytest.approx(0.25)
    assert accuracy.test is not None
    assert accuracy.test.method == "McNemar, exact"
    assert accuracy.test.p_value == pytest.approx(binomtest(2, 19, 0.5).pvalue)
    differences = np.array([1] * 17 + [-1] * 2 + [0] * 41)
    assert accuracy.test.effect_size == pytest.approx(differences.mean() / differences.std(ddof=1))
    low, high = accuracy.test.low, accuracy.test.high
    assert low is not None
    assert high is not None
    half = 1.96 * differences.std() / len(differences) ** 0.5
    assert (low, high) == pytest.approx((0.25 - half, 0.25 + half), abs=0.03)


def test_a_metric_that_the_rows_do_not_give_is_not_tested(two: Pair) -> None:
    assert {one.name: one.test is None for one in two.metrics} == {
        "accuracy": False,
        "mcc": True,
    }  # its result has .123


def test_the_other_way_round(two: Pair) -> None:
    back = pair(two.b, two.a)
    one, other = two.metrics[0].test, back.metrics[0].test
    assert one is not None
    assert other is not None
    assert (one.p_value, one.effect_size) == (other.p_value, pytest.approx(-other.effect_size))
    assert back.metrics[0].difference == -two.metrics[0].difference
    assert back.right is not None
    assert (back.right.only_a, back.right.only_b) == (17, 2)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"rows": 40}, "A was evaluated on 60 rows, B on 40"),
        ({"text": "line"}, "A and B were evaluated on different rows, 60 each: their texts or labels differ"),
    ],
)
def test_other_rows_are_not_paired_and_the_rest_is_shown(
    store: ResultStore, other: dict[str, Any], reason: str
) -> None:
    first = classified(store, experiment("first"), range(20))
    second = classified(store, experiment("second", shots=16), [0], **other)
    comparison = pair(open_run(first.path), open_run(second.path))
    assert comparison.refused == reason
    assert (comparison.different, comparison.right, {one.test for one in comparison.metrics}) == ((), None, {None})
    text = "\n".join(pair_lines(comparison, 20, 80))
    assert text.endswith(f"Not paired row by row: {reason}.")
    assert "dataset.shots 4 16" in " ".join(text.split())
    assert "accuracy  .667  " in text


def test_a_run_without_a_result_says_so(store: ResultStore) -> None:
    first = classified(store, experiment("first"), range(20))
    one = experiment("second", shots=16)
    folder = store.folder(one.id, one.slug)
    folder.write_config(config_of(one))
    folder.write_state(RunState(state="oom"))
    comparison = pair(open_run(first.path), open_run(folder.path))
    assert comparison.refused == "B has no result (out of memory)"
    folder.write_state(RunState(state="failed", error="the model hub/model is not there"))
    comparison = pair(open_run(first.path), open_run(folder.path))
    assert comparison.refused == "B has no result (failed: the model hub/model is not there)"
    assert pair(open_run(first.path), open_run(first.path), "validation").refused.startswith(
        "A was not evaluated on the validation split; B"
    )
    first.predictions_file().unlink()
    assert pair(open_run(first.path), open_run(folder.path)).refused.startswith(
        "A has no predictions.tsv: the file is missing; B"
    )


def test_generated_texts_are_paired_by_their_exact_matches(store: ResultStore) -> None:
    folders = []
    for number, right in enumerate(([1, 1, 0, 0], [1, 0, 1, 0])):
        columns = {
            "text": list("abcd"), "label": ["x"] * 4, "predictions": ["x" if one else f"y{number}" for one in right],
            "logprob": [-1.0 - number] * 4, "tokens": [number] * 4, "exact_match": right, "token_f1": right,
        }  # fmt: skip
        results = {"exact_match": 0.5, "token_f1": 0.5}
        folders.append(finish(store, experiment(f"run {number}", number, "generation"), results, columns))
    comparison = pair(*(open_run(folder.path) for folder in folders))
    assert comparison.refused == ""
    assert comparison.right is not None
    assert tuple(comparison.right) == ("exact_match", 1, 1, 1, 1)
    assert [one.row for one in comparison.different] == [1, 2, 3]
    assert tuple(comparison.different[0].b) == ("y1", None, False)
    tests = {one.name: one.test.method for one in comparison.metrics if one.test}
    assert tests == {"exact_match": "McNemar, exact", "token_f1": "permutation of 9,999"}


# --- As text, as JSON, as a command ---


def test_the_text_fits_the_terminal(two: Pair) -> None:
    long = two.different[0]._replace(text="日本 \x1b[31m\u202e" * 100)
    long_pair = replace(two, different=(long, *two.different[1:]))
    lines = list(pair_lines(long_pair, 3, 60))
    table = lines[lines.index("19 rows have different answers; the first 3 (* right):") + 1 :]
    assert len(table) == 4
    from rich.cells import cell_len

    assert cell_len(table[1]) <= 60
    assert table[1].startswith("3    good       bad .900   good .900 *  日本 [31m日本")
    assert table[1].endswith("…")
    assert not set("\x1b\u202e") & set("".join(lines))
    assert "Right answers, of 60 rows: both 38, only A 2, only B 17, neither 3." in lines
    assert "19 rows have different answers." in pair_lines(two, 0, 60)


def test_runs_that_are_alike(store: ResultStore) -> None:
    run = open_run(classified(store, experiment(), [1]).path)
    lines = list(pair_lines(pair(run, run), 20, 80))
    assert "A and B are the same run." in lines
    assert lines[-1] == "All 60 rows have the same answers."
    again = open_run(classified(ResultStore(store.root.parent / "again"), experiment(), [1]).path)
    lines = list(pair_lines(pair(run, again), 20, 80))
    assert "The configs are equal." in lines
    assert lines[-1] == "All 60 rows have the same answers."


def test_data_of_the_same_name_with_other_content_is_reported(store: ResultStore) -> None:
    first = classified(store, experiment(), [1])
    other = classified(ResultStore(store.root.parent / "again"), experiment(), [1])
    result = other.result()
    assert result is not None
    other.write_result(result.model_copy(update={"data": {"sha256": "two" * 9, "rows": {"test": ROWS}}}))
    comparison = pair(open_run(first.path), open_run(other.path))
    assert comparison.settings == ()
    assert [tuple(one) for one in comparison.data] == [("data: content", "sha256 one…", "sha256 twotwotw…")]
    lines = list(pair_lines(comparison, 20, 80))
    assert "The configs are equal, but the data differs:" in lines
    assert "data: content  sha256 one…  sha256 twotwotw…" in lines
    assert json.loads(pair_json(comparison))["data"][0]["b"] == "sha256 twotwotw…"
    elsewhere = classified(store, experiment("third", path="hub/other"), [1])
    its = elsewhere.result()
    assert its is not None
    elsewhere.write_result(its.model_copy(update={"data": {"sha256": "three"}}))
    assert pair(open_run(first.path), open_run(elsewhere.path)).data == ()  # the configs differ


def test_a_folder_with_one_run_names_that_run(store: ResultStore) -> None:
    store.root.joinpath("runs").mkdir(parents=True)
    with pytest.raises(UserError, match=r"contains no runs$"):
        find_run(store.root)
    run = classified(store, experiment(), [1])
    assert find_run(store.root).path == run.path.resolve()


def test_the_json_holds_all(two: Pair) -> None:
    content = json.loads(pair_json(two))
    assert [content[key] for key in ("refused", "judged_rows", "split")] == [None, 60, "test"]  # words: fixed name
    assert content["settings"][0] == {"key": "dataset.shots", "a": "4", "b": "16"}
    accuracy = content["metrics"][0]
    assert accuracy["difference"] == pytest.approx(0.25)
    assert accuracy["test"] == "McNemar, exact"
    assert accuracy.keys() >= {"ci_low", "ci_high", "p_value", "effect_size"}
    assert len(content["rows"]) == 19
    assert content["rows"][0]["b"] == {"text": "good", "probability": 0.9, "right": True}


def test_the_command(store: ResultStore, two: Pair) -> None:
    runs = [f"{store.root}/first", f"{store.root}/{two.b.id[:5]}"]
    result = CliRunner().invoke(app, ["compare", *runs, "--rows", "1"])
    assert result.exit_code == 0, result.output
    assert "19 rows have different answers; the first 1 (* right):" in result.output
    assert json.loads(CliRunner().invoke(app, ["compare", *runs, "--json"]).output)["b"]["name"] == "second"


def test_text_is_cut_to_columns_of_the_terminal() -> None:
    assert cut("a\n b\tc", 10) == "a b c"
    assert cut("abcdef", 4) == "abc…"
    assert cut("日本語", 4) == "日…"


# --- Which run is meant ---


@pytest.fixture
def named(store: ResultStore) -> tuple[RunFolder, RunFolder, RunFolder]:
    one = classified(store, experiment("shots=4 seed=13"), [1])
    two = classified(store, experiment("shots=4 seed=14", 14), [1])
    return one, two, classified(store, experiment("other", shots=16), [1])


def test_runs_are_found_by_folder_file_name_and_id(
    store: ResultStore, named: tuple[RunFolder, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, other = named
    names = {
        first: [first.path, first.path / "result.json", store.root / "shots=4 seed=13", store.root / first.id],
        second: [store.root / "runs" / second.id[:6], store.root / "shots-4-seed-14"],
        other: [store.root / "other", other.path / "config.json"],
    }
    for folder, paths in names.items():
        assert {find_run(path).path for path in paths} == {folder.path.resolve()}
    monkeypatch.chdir(first.path)
    assert find_run(Path()).path == first.path.resolve()
    monkeypatch.chdir(store.root.parent)
    assert find_run(Path("results/other")).path == other.path.resolve()


def test_paths_without_a_run_are_refused(store: ResultStore, named: tuple[RunFolder, ...], tmp_path: Path) -> None:
    for path, message in (
        (store.root / "shots=4", "matches 2 runs"),
        (store.root / "othr", 'has no run "othr"; did you mean "other"?'),
        (store.root, "contains 3 runs; name one of them: "),
        (tmp_path / "nowhere", "expected a run folder, RESULTS/runs/<name>-<id>; got"),
        (tmp_path, "expected a run folder"),
    ):
        with pytest.raises(UserError, match=message.replace("?", r"\?")):
            find_run(path)
    assert os.listdir(store.root) == ["runs"]  # noqa: PTH208 - nothing was made


def test_no_library_of_models_is_loaded_for_it(store: ResultStore, two: Pair) -> None:
    heavy = ("torch", "transformers", "datasets", "pandas", "sklearn", "scipy.stats")
    code = (
        "import sys\nfrom sft.cli.main import run_command\n"
        f"assert run_command(['compare', {str(two.a.folder.path)!r}, {str(two.b.folder.path)!r}, '--rows', '0']) == 0\n"
        "import sft.sweep.reproducing, sft.report.pairs.agreement_text\n"
        f"print('HEAVY', [name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("HEAVY []\n")
