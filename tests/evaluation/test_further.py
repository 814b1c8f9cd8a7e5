"""The metrics that a config may request in addition to the defaults."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from sft.config.reading.paths import resolve_paths
from sft.errors import MissingPackageError, UserError
from sft.evaluation.further import further_metrics, resolve_metric
from sft.plugins import METRICS

REFERENCES, PREDICTIONS = ["yes", "no", "yes"], ["yes", "yes", "yes"]


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = "metrics_of_a_user"
    (tmp_path / f"{name}.py").write_text(
        "def share_of_yes(references, predictions):\n"
        "    return sum(p == 'yes' for p in predictions) / len(predictions)\n\n\n"
        "def lengths(references, predictions):\n"
        "    return {'longest': max(map(len, predictions)), 'accuracy': 0.25}\n\n\n"
        "def words(references, predictions):\n"
        "    return 'many'\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)
    return name


@pytest.mark.parametrize("name", list(METRICS))
def test_every_entry_is_a_metric(name: str) -> None:
    results = further_metrics([name], REFERENCES, PREDICTIONS)
    assert results
    assert all(isinstance(value, float) for value in results.values())


def test_numbers_and_dicts_make_one_flat_dict(plugin: str) -> None:
    results = further_metrics(
        [f"{plugin}:share_of_yes", f"{plugin}:lengths", "balanced_accuracy"],
        REFERENCES,
        PREDICTIONS,
        taken=["accuracy"],
    )
    assert results == {"share_of_yes": 1.0, "longest": 3.0, "lengths_accuracy": 0.25, "balanced_accuracy": 0.5}


def test_any_installed_function_can_be_a_metric() -> None:
    results = further_metrics(["sklearn.metrics:cohen_kappa_score"], REFERENCES, PREDICTIONS)
    assert results == {"cohen_kappa_score": 0.0}


def test_a_result_without_numbers_is_a_user_error(plugin: str) -> None:
    with pytest.raises(UserError, match="expected a number or a dictionary of numbers, got 'many'"):
        further_metrics([f"{plugin}:words"], REFERENCES, PREDICTIONS)


def test_unknown_names_suggest_the_near_one() -> None:
    with pytest.raises(UserError, match='did you mean "token_f1"'):
        resolve_metric("tokenf1")


def test_evaluate_runs_a_metric_on_disk(tmp_path: Path) -> None:
    pytest.importorskip("evaluate")
    script = tmp_path / "longest.py"
    script.write_text(
        "import datasets\nimport evaluate\n\n\n"
        "class Longest(evaluate.Metric):\n"
        "    def _info(self):\n"
        "        features = datasets.Features({k: datasets.Value('string') for k in ('predictions', 'references')})\n"
        "        return evaluate.MetricInfo(description='', citation='', features=features)\n\n"
        "    def _compute(self, predictions, references):\n"
        "        return {'longest': max(map(len, predictions)), 'kind': 'length'}\n",
        encoding="utf-8",
    )
    assert further_metrics([f"evaluate:{script}"], REFERENCES, PREDICTIONS) == {"longest": 3.0}


@pytest.mark.parametrize("name", ["longest", "metrics/longest"])
@pytest.mark.parametrize("in_folder", [True, False])
def test_evaluate_does_not_run_a_local_script_with_the_name_of_a_metric(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, in_folder: bool
) -> None:
    script = tmp_path / name / "longest.py" if in_folder else tmp_path / name
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=rf"is a name on the Hub, but {name}.* exists here too; .*evaluate:\./{name}"):
        further_metrics([f"evaluate:{name}"], REFERENCES, PREDICTIONS)
    assert not (tmp_path / "executed").exists()


def test_script_paths_are_relative_to_the_config(tmp_path: Path) -> None:
    (tmp_path / "mine.py").touch()
    metrics = ["evaluate:./mine.py", "evaluate:wer", "token_f1"]
    resolved = resolve_paths({"evaluation": {"metrics": metrics}}, tmp_path)
    assert resolved.data["evaluation"]["metrics"] == [f"evaluate:{tmp_path / 'mine.py'}", *metrics[1:]]
    (problem,) = resolve_paths({"evaluation": {"metrics": ["evaluate:./yours"]}}, tmp_path).problems
    assert problem.where == "evaluation.metrics[0]"


def test_evaluate_names_the_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "evaluate", None)
    with pytest.raises(MissingPackageError, match="pip install evaluate"):
        resolve_metric("evaluate:wer")


def test_evaluate_reports_a_missing_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate: Any = pytest.importorskip("evaluate")

    def absent(name: str) -> None:
        raise FileNotFoundError(f"Couldn't find a module script at {name}\nand a second line")

    monkeypatch.setattr(evaluate, "load", absent)
    with pytest.raises(UserError, match="found neither locally nor on the Hub") as caught:
        resolve_metric("evaluate:no_such_metric")
    assert "\n" not in str(caught.value)
