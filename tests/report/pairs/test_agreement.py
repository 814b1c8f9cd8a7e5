"""Agreement of two results: metrics, rows, environment, and the text that reports it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sft.errors import UserError
from sft.report.pairs.agreement import Agreement, Figure, agreement
from sft.report.pairs.agreement_text import agreement_lines
from sft.results.schema import RunResult
from sft.results.store import RunFolder

RESULTS = {
    "accuracy": 0.75, "ece": 0.1, "support": {"a": 2}, "confusion_matrix": [[1]], "accuracy_by_scoring": {"sum": 0.75},
    "validation": {"accuracy": 0.5}, "scoring_engine": "one",
}  # fmt: skip
PACKAGES = {"torch": "2.1", "numpy": "2.0"}


def folder(
    root: Path, name: str = "before", predictions: str = "abba", score: float = 0.0, **changes: Any
) -> RunFolder:
    made = RunFolder(root / name / "one-123456789abc")
    fields: dict[str, Any] = {
        "name": "one", "id": "123456789abc", "recipe_id": "r", "seed": 13, "endpoint": "run-experiment", "config": {},
        "results": RESULTS, "shots": {}, "labelled_examples": 4, "training": {"train_loss": 0.5, "seconds": 3.0},
        "timings": {"total": 1.0}, "resources": {"device": "cpu", "threads": 2, "cpu_seconds": 8.0}, "data": {},
        "environment": {"packages": PACKAGES, "python": "3.11", "git_commit": "abc"},
    }  # fmt: skip
    made.write_predictions({"text": list("wxyz")[: len(predictions)], "predictions": list(predictions)})
    scores = np.full((len(predictions), 2), -1.5, np.float32)
    scores[0, 1] += score
    made.write_scores({"sum_logprob": scores, "end_logprob": scores})
    made.write_result(RunResult(**{**fields, **changes}))
    return made


def text(comparison: Agreement) -> str:
    return "\n".join(agreement_lines(comparison))


def test_the_same_agrees_exactly(tmp_path: Path) -> None:
    comparison = agreement(
        folder(tmp_path), folder(tmp_path, "now", timings={"total": 9.0}, resources={"device": "cpu", "threads": 2})
    )
    assert comparison.agrees
    assert comparison.is_same
    names = ["accuracy", "ece", "accuracy_by_scoring.sum", "validation.accuracy", "training.loss"]
    assert [figure.name for figure in comparison.figures] == names
    assert comparison.changed == ()
    assert text(comparison).count("agrees exactly") == 5
    assert text(comparison).endswith(
        "test: all 4 predictions are the same, and all label scores too\nReproduced exactly."
    )


def test_small_differences_agree_and_are_reported(tmp_path: Path) -> None:
    environment = {"packages": {"torch": "2.2", "trl": "1"}, "python": "3.11", "git_commit": "def"}
    near = folder(tmp_path, "now", score=0.25, results={**RESULTS, "ece": 0.1 + 3e-6}, environment=environment,
                  resources={"device": "H200", "threads": 2})  # fmt: skip
    comparison = agreement(folder(tmp_path), near)
    assert comparison.agrees
    assert not comparison.is_same
    assert "agrees within 3e-06" in text(comparison)
    assert "all 4 predictions are the same; label scores differ by 0.25 at most" in text(comparison)
    differences = "no metric differs by more than 1e-04 of its size; label scores differ by 0.25 at most."
    assert f"Reproduced: {differences}" in text(comparison)
    changed = [
        "torch: 2.1, now 2.2",
        "numpy: 2.0, now -",
        "git_commit: abc, now def",
        "device: cpu, now H200",
        "trl: -, now 1",
    ]
    assert text(comparison).splitlines()[-5:] == [f"  {line}" for line in changed]


def test_larger_differences_do_not_agree(tmp_path: Path) -> None:
    results = {**RESULTS, "accuracy": 0.5, "bleu": 3.0}
    comparison = agreement(folder(tmp_path), folder(tmp_path, "now", predictions="abbb", results=results))
    assert not comparison.agrees
    assert "differs by -0.25" in text(comparison)
    assert "present in only one run" in text(comparison)
    assert "test: 1 of 4 predictions differ; label scores are the same\n" in text(comparison)
    assert text(comparison).endswith("Not reproduced, metrics differ: accuracy, bleu.")


def test_other_predictions_are_reported_where_all_metrics_are_the_same(tmp_path: Path) -> None:
    comparison = agreement(folder(tmp_path), folder(tmp_path, "now", predictions="abab"))
    assert comparison.agrees
    assert not comparison.is_same
    assert text(comparison).endswith("Reproduced: all metrics are the same; 2 of 4 predictions differ.")


def test_other_label_scores_are_not_exactly_the_same(tmp_path: Path) -> None:
    comparison = agreement(folder(tmp_path), folder(tmp_path, "now", score=3.1))
    assert comparison.agrees
    assert not comparison.is_same
    assert text(comparison).endswith("Reproduced: all metrics are the same; label scores differ by 3.1 at most.")
    without = folder(tmp_path, "without")
    (without.path / "label_scores.safetensors").unlink()
    comparison = agreement(folder(tmp_path), without)
    assert not comparison.is_same
    assert text(comparison).endswith("Reproduced: all metrics are the same; label scores cannot be compared.")


def test_other_data_is_never_a_reproduction(tmp_path: Path) -> None:
    data = {"path": "x", "sha256": "a" * 64, "rows": {"test": 4, "train": 9}}
    before = folder(tmp_path, data=data)
    edited = agreement(before, folder(tmp_path, "now", score=3.1, data={**data, "path": "y", "sha256": "b" * 64}))
    assert not edited.agrees
    assert edited.figures_agree
    assert text(edited).endswith(
        "Not reproduced: the metrics agree, but the data has changed "
        "(content: sha256 aaaaaaaa…, now sha256 bbbbbbbb…), label scores differ by 3.1 at most."
    )
    rows = {"test": 4, "train": 10}
    worse = folder(tmp_path, "worse", data={**data, "rows": rows}, results={**RESULTS, "accuracy": 0.25})
    comparison = agreement(before, worse)
    assert text(comparison).endswith(
        "Not reproduced, metrics differ: accuracy; the data has changed (train rows: 9, now 10)."
    )
    assert agreement(before, folder(tmp_path, "same", data={**data, "path": "y"})).is_same  # the path may differ
    assert agreement(before, folder(tmp_path, "unknown", data={"sha256": None})).agrees  # data on the Hub: unknown


def test_another_id_is_not_exactly_the_same(tmp_path: Path) -> None:
    other = agreement(folder(tmp_path), folder(tmp_path, "now"))
    other = replace(other, ids=("123456789abc", "abcdefabcdef"))
    assert text(other).endswith(
        "Reproduced: all metrics are the same; the id has changed (id 123456789abc, now abcdefabcdef)."
    )


def test_rows_that_cannot_be_compared(tmp_path: Path) -> None:
    comparison = agreement(folder(tmp_path), folder(tmp_path, "now", predictions="abb"))
    assert "test: the rows cannot be compared (4 before, 3 now)" in text(comparison)
    gone = folder(tmp_path, "gone")
    gone.predictions_file().unlink()
    (gone.path / "label_scores.safetensors").unlink()
    assert agreement(folder(tmp_path), gone).answers[0].different is None


def test_without_a_result_there_is_nothing_to_compare(tmp_path: Path) -> None:
    empty = folder(tmp_path, "now")
    empty.result_file.unlink()
    with pytest.raises(UserError, match="has no result"):
        agreement(folder(tmp_path), empty)


@pytest.mark.parametrize(
    ("before", "now", "agrees"),
    [(0.5, 0.50004, True), (0.5, 0.5001, False), (0.0, 9e-7, True), (0.0, 2e-6, False), (300.0, 300.02, True),
     (-1.0, -1.00005, True), (None, None, True), (None, 0.0, False)],
)  # fmt: skip
def test_the_tolerance(before: float | None, now: float | None, agrees: bool) -> None:
    assert Figure("x", before, now).agrees is agrees
