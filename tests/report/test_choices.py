"""The options of a report: shown runs, groups, leading metric, baseline."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sft.config.experiment import Experiment
from sft.config.reading.load import Grid
from sft.config.sections.schema import ExperimentConfig
from sft.errors import UserError
from sft.report.choices import Choices
from sft.report.comparison import Comparison
from sft.report.formats.table import comparison_table
from sft.report.rows import compare
from sft.results.schema import RunResult
from sft.results.store import ResultStore
from sft.sweep.planning.jobs import config_of, make_plan, write_plan


def config(shots: int, model: str = "hub/a", icl: int = 0, r: int = 8) -> ExperimentConfig:
    data: dict[str, Any] = {
        "dataset": {"path": "hub/data", "task_type": "classification", "shots": shots},
        "model": {"name": model},
        "lora": {"r": r},
        "prompting": {"input_columns": ["text"], "output_column": "label"},
        "training": {},
        "inference": {"icl_examples": icl},
    }
    return ExperimentConfig.model_validate(data)


def fill(root: Path, configs: Mapping[str, ExperimentConfig], seeds: tuple[int, ...] = (13, 14)) -> ResultStore:
    """Fill a folder with runs whose accuracy is their index in the grid, in hundredths."""
    store, made = ResultStore(root), make_plan(Grid(Path("grid.jsonnet"), dict(configs), seeds), None)
    write_plan(made, store)
    for index, experiment in enumerate(made.experiments):
        store.folder(experiment.id, experiment.slug).write_result(result(experiment, index / 100))
    return store


def result(experiment: Experiment, accuracy: float) -> RunResult:
    return RunResult(
        name=experiment.name, id=experiment.id, recipe_id=experiment.recipe_id, seed=experiment.seed,
        endpoint="run-experiment", config=config_of(experiment), results={"accuracy": accuracy, "mcc": -accuracy},
        shots={}, labelled_examples=experiment.config.dataset.shots, training={}, timings={}, resources={},
        environment={}, data={},
    )  # fmt: skip


CONFIGS = {
    "model=a shots=0": config(0),
    "model=a shots=8 r=8": config(8),
    "model=a shots=8 r=16": config(8, r=16),
    "model=b shots=0": config(0, "hub/b"),
    "model=b shots=0 icl=2": config(0, "hub/b", icl=2),
    "model=b shots=8 r=8": config(8, "hub/b"),
}


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return fill(tmp_path / "results", CONFIGS)


def names(comparison: Comparison) -> list[str]:
    return [row.name for row in comparison.rows]


@pytest.mark.parametrize(
    ("where", "left"),
    [
        (("shots=8",), [1, 2, 5]),
        (("dataset.shots=8", "model=b"), [5]),
        (("r=8,16",), [1, 2, 5]),
        (("icl=2",), [4]),
        (("seed=14",), [0, 1, 2, 3, 4, 5]),  # zero-shot without examples is deterministic: it matches every seed
        (("model=hub/b", "shots=0"), [3, 4]),
    ],
)
def test_only_the_requested_runs(store: ResultStore, where: tuple[str, ...], left: list[int]) -> None:
    assert names(compare(store, Choices(where=where))) == [list(CONFIGS)[index] for index in left]


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (Choices(where=("shots",)), '--where "shots": expected a condition like shots=8 or init=pca,pissa'),
        (
            Choices(where=("shot=8",)),
            '--where "shot": no such setting; did you mean "shots"? (varying settings: shots, ',
        ),
        (Choices(where=("shots=9",)), '--where "shots=9": no run has shots=9 (values: 0, 8)'),
        (Choices(where=("shots=8,99",)), "no run has shots=99 (values: 0, 8)"),
        (
            Choices(group_by=("shots",), baseline="model=a shots=0"),
            "--baseline: cannot be combined with --group-by; choose one",
        ),
        (Choices(group_by=("modell",)), '--group-by "modell": no such setting; did you mean "model"?'),
        (Choices(metric="acuracy"), '--metric "acuracy": no run has this metric; did you mean "accuracy"?'),
        (Choices(baseline="model=a shots=1"), 'no row is named "model=a shots=1"; did you mean "model=a shots=0"?'),
    ],
)
def test_a_choice_that_matches_nothing_is_reported(store: ResultStore, choices: Choices, message: str) -> None:
    with pytest.raises(UserError) as error:
        compare(store, choices)
    assert message in str(error.value)


def test_runs_are_grouped_by_settings(store: ResultStore) -> None:
    comparison = compare(store, Choices(group_by=("model", "shots")))
    assert names(comparison) == ["model=a shots=0", "model=a shots=8", "model=b shots=0", "model=b shots=8"]
    assert [len(row.runs) for row in comparison.rows] == [1, 4, 3, 2]
    estimate = comparison.rows[1].estimate("accuracy")
    assert estimate is not None
    assert (estimate.mean, estimate.n) == (pytest.approx(0.025), 4)
    assert [setting.values for setting in comparison.settings] == [("a", "a", "b", "b"), ("0", "8", "0", "8")]
    assert not any(comparison.baseline_of(index) for index in range(4))


def test_the_wanted_metric_leads(store: ResultStore) -> None:
    assert compare(store).metrics == ("accuracy",)
    assert compare(store, Choices(metric="mcc")).metrics == ("mcc", "accuracy")


def test_rows_are_compared_with_zero_shot_of_their_own_model(store: ResultStore) -> None:
    comparison = compare(store)
    assert comparison.baselines == (0, 0, 0, 3, 3, 3)
    assert [comparison.baseline_of(index) for index in range(6)] == [None, 0, 0, None, 3, 3]
    assert [index for index in range(6) if comparison.is_baseline(index)] == [0, 3]
    named = compare(store, Choices(baseline="model=b shots=8 r=8"))
    assert named.baselines == (5,) * 6
    without = compare(store, Choices(where=("shots=8",)))
    assert without.baselines == (0, 0, 0)  # the first row, where there is no zero-shot
    assert compare(store, Choices(where=("icl=2",))).baselines == (None,)


def test_several_folders_are_shown_as_one(store: ResultStore, tmp_path: Path) -> None:
    more = fill(tmp_path / "more", {"shots=8": CONFIGS["model=a shots=8 r=8"], "shots=64": config(64)}, (13, 14, 15))
    comparison = compare(store, others=[more], folder=tmp_path)
    assert len(comparison.rows) == len(CONFIGS) + 1
    row = comparison.rows[1]
    assert [run.seed for run in row.runs] == [13, 14, 15]  # two of the first folder, one of the second
    assert [run.path_from(tmp_path).split("/")[0] for run in row.runs] == ["results", "results", "more"]
    with pytest.raises(UserError, match="no runs to report"):
        compare(store, others=[ResultStore(tmp_path / "nowhere")])


def test_the_named_baseline_is_shown_whatever_the_condition(store: ResultStore) -> None:
    comparison = compare(store, Choices(where=("shots=8",), baseline="model=b shots=0"))
    assert names(comparison) == [
        "model=a shots=8 r=8",
        "model=a shots=8 r=16",
        "model=b shots=0",
        "model=b shots=8 r=8",
    ]
    assert comparison.baselines == (2, 2, 2, 2)


def test_a_name_that_several_rows_have_is_no_baseline(store: ResultStore, tmp_path: Path) -> None:
    more = fill(tmp_path / "more", {"model=a shots=0": config(0, "elsewhere/a")})
    with pytest.raises(
        UserError, match=r'2 rows are named "model=a shots=0"; give the recipe id of one \((\w+), (\w+)\)'
    ):
        compare(store, Choices(baseline="model=a shots=0"), [more])
    recipe = more.plan()
    assert recipe is not None
    comparison = compare(store, Choices(baseline=recipe[0]["recipe_id"]), [more])
    assert comparison.baselines == (6,) * 7


def test_models_of_the_same_name_are_distinguished(tmp_path: Path) -> None:
    store = fill(tmp_path, {"x": config(0, "one/llama"), "y": config(0, "two/llama")})
    (setting,) = compare(store).settings
    assert setting.values == ("one/llama", "two/llama")
    assert len(compare(store, Choices(group_by=("model",))).rows) == 2
    assert names(compare(store, Choices(where=("model=two/llama",)))) == ["y"]


def test_zero_shot_without_calibration_is_the_baseline(tmp_path: Path) -> None:
    calibrated = config(0).model_dump(mode="json", by_alias=True, exclude_defaults=True)
    calibrated["inference"] = {"calibration_args": {"calibration_fn": "batch"}}
    configs = {"a": ExperimentConfig.model_validate(calibrated), "b": config(0), "c": config(8)}
    assert compare(fill(tmp_path, configs)).baselines == (1, 1, 1)


def test_what_only_names_parts_of_the_data_is_no_column(tmp_path: Path) -> None:
    other = config(8).model_dump(mode="json", by_alias=True, exclude_defaults=True)
    other["dataset"] |= {"path": "hub/other", "test_split": "held_out"}
    other["prompting"]["input_columns"] = ["tweet"]
    configs = {"a": config(8), "b": ExperimentConfig.model_validate(other), "c": config(16)}
    assert [setting.name for setting in compare(fill(tmp_path, configs)).settings] == ["data", "shots"]


def test_if_all_are_equal_none_is_best(tmp_path: Path) -> None:
    store = fill(tmp_path, {"a": config(8), "b": config(16)})
    for folder in store.folders():
        result_ = folder.result()
        assert result_ is not None
        folder.write_result(result_.model_copy(update={"results": {"accuracy": 0.5}}))
    assert not compare(store).best


def test_a_name_that_the_user_chose_is_shown(tmp_path: Path) -> None:
    store = fill(tmp_path, {"shots=8": config(8), "mine": config(16)}, (13,))
    table = comparison_table(compare(store))
    assert table.header[:2] == ["experiment", "shots"]
    assert [row[:2] for row in table.rows] == [["-", "8"], ["mine", "16"]]
    assert comparison_table(compare(store, Choices(where=("shots=8",)))).header[0] == "experiment"  # nothing varies
    made = fill(tmp_path / "made", {"shots=8": config(8), "shots=16": config(16)}, (13,))
    assert comparison_table(compare(made)).header[0] == "shots"
