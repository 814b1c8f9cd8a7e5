"""Outcomes give the metrics of the result and identify the rows."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow
import pytest

from sft.calibration.arithmetic import log_probabilities
from sft.config.sections.schema import ExperimentConfig
from sft.evaluation.classification import classification_metrics
from sft.evaluation.generation import row_metrics
from sft.evaluation.multilabel import multilabel_metrics, set_texts
from sft.report.compared.outcomes import Outcomes, gradients_of, outcomes_of
from sft.report.read.answers import Answers

LABELS = ("bad", "so, so", "good")
ROWS = 80


def config(task_type: str = "classification", **evaluation: Any) -> ExperimentConfig:
    return ExperimentConfig.model_validate(
        {
            "dataset": {"path": "somewhere", "task_type": task_type},
            "model": {"name": "some/model"},
            "prompting": {"instruction": "?", "input_columns": ["text"], "output_column": "label"},
            "evaluation": evaluation,
        }
    )


def answers(columns: dict[str, list[str]], task_type: str = "classification", **more: Any) -> Answers:
    evaluation = more.pop("evaluation", {})
    table = pyarrow.table({name: pyarrow.array(values, pyarrow.string()) for name, values in columns.items()})
    return Answers(table, config(task_type, **evaluation), **{"labels": LABELS, "truth": None, **more})


def classified(seed: int = 0, **more: Any) -> Answers:
    rng = np.random.default_rng(seed)
    probabilities_NL = rng.dirichlet([0.5, 0.5, 0.5], ROWS)
    truth_N = np.where(rng.random(ROWS) < 0.6, probabilities_NL.argmax(axis=1), np.arange(ROWS) % 3)
    columns = {
        "text": [f"text {row} ä" for row in range(ROWS)],
        "label": [LABELS[label] for label in truth_N],
        "predictions": [LABELS[label] for label in probabilities_NL.argmax(axis=1)],
        "probabilities": [json.dumps(dict(zip(LABELS, row, strict=True))) for row in probabilities_NL.tolist()],
    }
    return answers(columns, truth=truth_N, **more)


def of_rows(result: Outcomes) -> dict[str, float]:
    return result.values()


@pytest.mark.parametrize("bins", [5, 15])
def test_a_classifiers_rows_give_its_metrics(bins: int) -> None:
    given = classified(evaluation={"ece_bins": bins})
    known = classification_metrics(
        given.references, given.texts("predictions"), LABELS, given.probabilities_NL, ece_bins=bins
    )
    result = of_rows(outcomes_of(given))
    for metric in set(known) - {"auroc", "confusion_matrix", "support"}:
        assert result[metric] == pytest.approx(known[metric], abs=1e-6), metric


def test_other_norms_of_the_calibration_error_are_not_computed_from_rows() -> None:
    assert "ece" not in of_rows(outcomes_of(classified(evaluation={"ece_norm": "max"})))


def test_predictions_outside_the_labels_are_wrong() -> None:
    given = classified()
    predictions = ["none of them"] * 9 + given.texts("predictions")[9:]
    table = given.table.set_column(2, "predictions", pyarrow.array(predictions)).drop_columns(["probabilities"])
    result = outcomes_of(replace(given, table=table))
    known = classification_metrics(given.references, predictions, LABELS, None)
    assert "micro_f1" not in result.hits
    for metric in ("accuracy", "macro_f1", "micro_f1", "weighted_f1", "mcc"):
        assert of_rows(result)[metric] == pytest.approx(known[metric], abs=1e-6), metric
    assert not {"brier", "ece"} & set(of_rows(result))


def test_another_calibration_has_other_outcomes() -> None:
    given = classified()
    assert given.probabilities_NL is not None
    turned = replace(given, changed_probabilities_NL=given.probabilities_NL[:, ::-1])
    known = classification_metrics(
        given.references, [LABELS[n] for n in turned.predicted_N], LABELS, turned.probabilities_NL
    )
    result = of_rows(outcomes_of(turned))
    for metric in ("accuracy", "macro_f1", "brier", "log_loss", "ece"):
        assert result[metric] == pytest.approx(known[metric], abs=1e-6), metric
    assert outcomes_of(turned).fingerprint == outcomes_of(given).fingerprint


def test_sets_of_labels_give_their_metrics() -> None:
    rng = np.random.default_rng(4)
    truth_NL, given_NL = rng.random((ROWS, 3)) < 0.3, rng.random((ROWS, 3)) < 0.3
    known = multilabel_metrics(truth_NL, given_NL, LABELS)
    columns = {"text": ["."] * ROWS, "label": ["whatever"] * ROWS, "predictions": list(set_texts(given_NL, LABELS))}
    result = outcomes_of(answers(columns, "multilabel", truth=truth_NL.astype(np.int64)))
    assert of_rows(result).keys() == known.keys() - {"per_label_f1", "support"}
    for metric, value in of_rows(result).items():
        assert value == pytest.approx(known[metric], abs=1e-6), metric


def test_generated_texts_use_their_stored_scores() -> None:
    references, predictions = ["a b", "c", "d e f"], ["a b", "x", "d f"]
    by_row = row_metrics(references, predictions)
    columns = {"text": ["1", "2", "3"], "label": references, "predictions": predictions}
    columns |= {name: [f"{value:.6g}" for value in values] for name, values in by_row.items()}
    result = outcomes_of(answers(columns, "generation", labels=()))
    assert result.hits["exact_match"].tolist() == [True, False, False]
    assert of_rows(result) == pytest.approx({name: np.mean(values) for name, values in by_row.items()}, abs=1e-6)
    bare = outcomes_of(answers({"text": ["1"], "label": ["a"], "predictions": ["a"]}, "generation", labels=()))
    assert of_rows(bare) == {}


def test_only_the_same_rows_have_the_same_fingerprint() -> None:
    given = classified()
    same = outcomes_of(given).fingerprint
    texts, labels = given.texts("text"), given.texts("label")

    def fingerprint(column: str, values: list[str]) -> str:
        table = given.table.set_column(given.table.column_names.index(column), column, pyarrow.array(values))
        return outcomes_of(replace(given, table=table)).fingerprint

    assert outcomes_of(classified()).fingerprint == same
    assert fingerprint("predictions", labels) == same
    assert fingerprint("text", [texts[1], texts[0], *texts[2:]]) != same
    assert fingerprint("text", ["text 0 ätext", " 1 ä", *texts[2:]]) != same  # the same bytes in total
    truth = np.roll(given.truth, 1) if given.truth is not None else None
    assert outcomes_of(replace(given, truth=truth)).fingerprint != same
    halves = pyarrow.concat_tables([given.table.slice(0, 30), given.table.slice(30)])
    assert outcomes_of(replace(given, table=halves)).fingerprint == same  # independent of chunks
    fewer = replace(given, table=given.table.slice(0, 40), truth=given.truth[:40] if given.truth is not None else None)
    assert outcomes_of(fewer).fingerprint != same


def test_unknown_references_give_no_metrics() -> None:
    result = outcomes_of(answers({"text": ["x"], "label": ["?"], "predictions": ["bad"]}))
    assert of_rows(result) == {}
    assert "its references are unknown" in result.unread


def test_sets_of_labels_are_read_from_the_data_where_no_scores_are() -> None:
    rng = np.random.default_rng(5)
    truth_NL, given_NL = rng.random((ROWS, 3)) < 0.3, rng.random((ROWS, 3)) < 0.3
    columns = {"text": ["."] * ROWS, "label": list(set_texts(truth_NL, LABELS))}
    columns["predictions"] = list(set_texts(given_NL, LABELS))
    with_scores = outcomes_of(answers(columns, "multilabel", truth=truth_NL.astype(np.int64)))
    without = outcomes_of(answers(columns, "multilabel"))
    assert of_rows(without) == of_rows(with_scores) != {}
    assert without.fingerprint == with_scores.fingerprint
    damaged = outcomes_of(answers({**columns, "label": ["no list"] * ROWS}, "multilabel"))
    assert damaged.unread
    assert of_rows(damaged) == {}


def test_rows_with_equal_answers_do_not_differ() -> None:
    given = classified()
    labels = [LABELS.index(text) for text in given.texts("predictions")]
    labels[0] = (labels[0] + 1) % 3
    table = given.table.set_column(2, "predictions", pyarrow.array([LABELS[n] for n in labels]))
    both = [outcomes_of(given), outcomes_of(replace(given, table=table))]
    gradients = gradients_of([[one] for one in both])
    assert gradients is not None
    first, second = (one.row_values(gradients) for one in both)
    for metric in ("macro_f1", "mcc", "weighted_f1", "accuracy", "brier"):
        assert np.flatnonzero(first[metric] - second[metric]).tolist() in ([0], []), metric
    assert first["ece"].mean() == pytest.approx(both[0].values()["ece"])
    other = replace(both[1], labels=4)
    assert gradients_of([[both[0]], [other]]) is None


def test_a_loss_of_thousands_of_nats_is_computed_from_rows() -> None:
    """Values are kept in single precision: as exact as for small ones in relative, not in absolute terms."""
    given = classified()
    scores_NL = np.random.default_rng(1).normal(size=(ROWS, 3)) * 30_000
    wide = replace(given, scores_NL=scores_NL)
    known = -np.take_along_axis(log_probabilities(scores_NL), wide.reference_N[:, None], axis=1).mean()
    assert known > 5_000
    assert of_rows(outcomes_of(wide))["log_loss"] == pytest.approx(known, rel=1e-6)
