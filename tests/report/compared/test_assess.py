"""Significance of a table: which interval, which test, over which rows."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from sft.report.compared.assess import assess, row_intervals
from sft.report.compared.methods import BCA, WILSON
from sft.report.compared.outcomes import Outcomes
from sft.report.compared.pairing import same_rows
from sft.report.significance import Significance
from sft.report.statistics.bootstrap import Draws
from sft.report.statistics.sums import means

sys.path.insert(0, str(Path(__file__).parent))
from tables import ROWS, Study, outcome, seeds


def test_several_seeds_have_an_interval_over_seeds_and_each_run_one_over_rows() -> None:
    study = Study([seeds(0.6, 3), seeds(0.7, 1, 10)])
    significance = study.significance()
    values = [run.metrics()["macro_f1"] for run in study.rows[0].runs]
    over_seeds = significance.rows[0, "macro_f1"].interval
    assert over_seeds is not None
    assert over_seeds.method == "t over 3 seeds"
    known = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert (over_seeds.low, over_seeds.high) == pytest.approx((max(known[0], 0), min(known[1], 1)))
    assert significance.rows[1, "macro_f1"].interval == significance.runs["1-0", "macro_f1"]
    assert significance.runs["1-0", "macro_f1"].method == "BCa bootstrap over test rows"
    assert significance.runs["0-2", "brier"].low < values[0] + 1
    assert significance.rows[0, "auroc"].interval is not None  # over seeds for any metric
    assert (1, "auroc") not in significance.rows


def test_the_interval_of_a_share_is_near_that_of_scipy() -> None:
    one = outcome(0.7, 1)
    interval = Study([[one]]).significance().runs["0-0", "accuracy"]
    known = stats.bootstrap((one.hits["accuracy"].astype(float),), np.mean, method="BCa", rng=np.random.default_rng(0))
    assert (interval.low, interval.high) == pytest.approx(tuple(known.confidence_interval), abs=0.008)


def test_shares_near_the_end_and_few_rows_are_wilsons() -> None:
    significance = Study([[outcome(0.97, 1)], [outcome(0.6, 2, rows=15)], [outcome(1.0, 3)]]).significance()
    assert significance.runs["0-0", "accuracy"].method == "Wilson over test rows"
    assert significance.runs["0-0", "brier"].method == "BCa bootstrap over test rows"
    assert significance.runs["1-0", "accuracy"].method == "Wilson over test rows"
    assert ("1-0", "brier") not in significance.runs
    assert significance.runs["2-0", "accuracy"].low == pytest.approx(300 / (300 + 3.8415), abs=1e-4)
    assert significance.runs["2-0", "accuracy"].high == 1
    assert ("2-0", "macro_f1") not in significance.runs  # all rows are right: its spread is unknown
    assert any("Wilson" in sentence for sentence in significance.methods)


@pytest.mark.parametrize(("right", "method"), [(49, WILSON), (50, BCA), (150, BCA), (151, WILSON)])
def test_wilson_below_fifty_right_or_wrong_rows(right: int, method: str) -> None:
    sums = means({"accuracy": np.arange(200) < right})
    replicated = Draws(200).replicates([sums])[0]
    assert row_intervals(sums, replicated, {"accuracy"})["accuracy"].method == method


def test_seeds_that_agree_have_the_interval_over_rows() -> None:
    interval = Study([[outcome(0.7, 1)] * 3]).significance().rows[0, "accuracy"].interval
    assert interval is not None
    assert interval.method == "BCa bootstrap over test rows, since its 3 seeds agree"
    assert interval.high - interval.low > 0.05


def test_an_interval_stays_within_the_metrics_range() -> None:
    interval = Study([[outcome(0.999, 1), outcome(0.9, 2)]]).significance().rows[0, "accuracy"].interval
    assert interval is not None
    assert interval.high == 1


def test_single_runs_are_tested_by_mcnemar_and_holm() -> None:
    outcomes = [outcome(rate, number) for number, rate in enumerate((0.6, 0.68, 0.64, 0.8))]
    significance = Study([[one] for one in outcomes]).significance()
    known = []
    for one in outcomes[1:]:
        a, b = one.hits["accuracy"], outcomes[0].hits["accuracy"]
        known.append(mcnemar([[0, (a & ~b).sum()], [(b & ~a).sum(), 0]], exact=True).pvalue)
    contrasts = [significance.rows[index, "accuracy"].contrast for index in (1, 2, 3)]
    assert all(one is not None and one.models.test == "McNemar, exact" for one in contrasts)
    assert [one.models.p_value for one in contrasts if one] == pytest.approx(known)
    assert [one.models.p_holm for one in contrasts if one] == pytest.approx(
        list(multipletests(known, method="holm")[1])
    )
    differences_N = outcomes[3].hits["accuracy"].astype(int) - outcomes[0].hits["accuracy"]
    assert contrasts[2] is not None
    assert contrasts[2].difference == pytest.approx(differences_N.mean())
    assert contrasts[2].effect_size == pytest.approx(differences_N.mean() / differences_N.std(ddof=1), rel=1e-5)
    assert all(one is not None and one.p_value is one.p_holm is one.interval is None for one in contrasts)
    assert significance.rows[0, "accuracy"].contrast is None


def test_several_seeds_are_tested_on_their_average() -> None:
    study = Study([seeds(0.6, 3), seeds(0.6, 3, 40), seeds(0.7, 3, 20)])
    significance = study.significance()
    first = significance.rows[1, "accuracy"].contrast
    assert first is not None
    assert first.models.test == "sign flips, exact"
    means_RN = [
        np.mean([study.outcomes[f"{row}-{seed}", "test"].hits["accuracy"] for seed in range(3)], axis=0)
        for row in (0, 1)
    ]
    differences_N = means_RN[1] - means_RN[0]
    flips_PN = np.random.default_rng(0).integers(0, 2, (20_000, ROWS)) * 2 - 1
    near = float((np.abs(flips_PN @ differences_N) >= abs(differences_N.sum()) - 1e-9).mean())
    assert first.models.p_value == pytest.approx(near, abs=0.01)
    assert 0.05 < near < 0.95
    assert first.difference == pytest.approx(differences_N.mean())


def test_other_metrics_are_tested_by_permutation() -> None:
    study = Study([seeds(0.6, 3), seeds(0.6, 3, 40), seeds(0.8, 3, 20)])
    significance = study.significance()
    near, far = (significance.rows[index, "macro_f1"].contrast for index in (1, 2))
    assert near is not None
    assert far is not None
    assert near.models.test == "permutation of 9,999"
    assert near.models.p_value > 0.05
    assert far.models.p_value == pytest.approx(1 / 10_000)
    assert far.models.p_holm == pytest.approx(2 / 10_000)
    figures = [np.mean([run.metrics()["macro_f1"] for run in row.runs]) for row in study.rows]
    assert far.difference == pytest.approx(figures[2] - figures[0])


def test_unequal_numbers_of_runs_are_exchanged_too() -> None:
    study = Study([seeds(0.6, 1), seeds(0.6, 3, 40), seeds(0.8, 3, 20)], best={"macro_f1": (2,), "accuracy": (2,)})
    study.fix(0)
    significance = study.significance()
    for metric, test in (("accuracy", "sign flips, exact"), ("macro_f1", "permutation of 9,999")):
        near, far = (significance.rows[index, metric].contrast for index in (1, 2))
        assert near is not None
        assert far is not None
        assert near.models.test == far.models.test == f"{test} and exchange of runs"
        assert near.models.p_value > 0.05 > far.models.p_value
        assert [significance.rows[index, metric].tied_with_best for index in range(3)] == [False, False, True]
    assert any("unequal numbers of runs" in sentence for sentence in significance.methods)
    hits_N = [study.outcomes[key, "test"].hits["accuracy"].astype(int) for key in ("0-0", "1-0", "1-1", "1-2")]
    of_row_N, rng = sum(hits_N), np.random.default_rng(0)
    alone_P = rng.hypergeometric(of_row_N, 4 - of_row_N, 1, (20_000, ROWS)).sum(axis=1)
    observed = abs(hits_N[0].sum() - of_row_N.sum() / 4)
    near = significance.rows[1, "accuracy"].contrast
    assert near is not None
    assert near.models.p_value >= float((np.abs(alone_P - of_row_N.sum() / 4) >= observed - 1e-9).mean()) - 0.01


def test_one_run_without_the_few_errors_of_each_of_ten_runs_is_not_significant() -> None:
    reference_N = (np.arange(100) % 3).astype(np.int16)

    def wrong_on(rows: Sequence[int]) -> Outcomes:
        predicted_N = reference_N.copy()
        predicted_N[list(rows)] = (predicted_N[list(rows)] + 1) % 3
        hits_N = predicted_N == reference_N
        return Outcomes(
            100, "these", {"accuracy": hits_N}, {"brier": 1 - hits_N.astype(np.float32)}, 3, reference_N, predicted_N
        )

    ten = [wrong_on(range(3 * run, 3 * run + 3)) for run in range(10)]
    study = Study([ten, [wrong_on(())]], best={"accuracy": (1,), "brier": (1,)})
    study.fix(1)
    significance = study.significance()
    of_ten = stats.binom(30, 1 / 11)  # on how many of the 30 rows the single run would be wrong
    for metric, near in (("accuracy", 1e-9), ("brier", 0.05)):  # sign flips alone: 2 / 2**30
        contrast = significance.rows[1, metric].contrast
        assert contrast is not None
        assert contrast.models.p_value == pytest.approx(of_ten.cdf(0) + of_ten.sf(5), abs=near)
        assert contrast.p_value is not None
        assert contrast.p_value >= contrast.models.p_value
        assert significance.rows[0, metric].tied_with_best is True


def test_the_same_answers_of_one_run_and_of_several_are_no_difference() -> None:
    one = outcome(0.7, 1)
    study = Study([[one], [one] * 3, [one] * 7], best={"macro_f1": (0,), "brier": (0,)})
    study.fix(0)
    significance = study.significance()
    for index in (1, 2):
        for metric in ("accuracy", "macro_f1", "mcc", "brier"):
            contrast = significance.rows[index, metric].contrast
            assert contrast is not None
            assert (contrast.p_value, contrast.models.p_value, contrast.effect_size) == (1, 1, None), metric
        assert significance.rows[index, "macro_f1"].tied_with_best is True
        assert significance.rows[index, "brier"].tied_with_best is True


def test_five_rows_that_differ_are_not_significant() -> None:
    one = outcome(0.9, 1, rows=200)
    assert one.reference is not None
    assert one.predicted is not None
    predicted_N = one.predicted.copy()
    wrong = np.flatnonzero(predicted_N != one.reference)[:5]
    predicted_N[wrong] = one.reference[wrong]
    significance = Study(
        [[one], [replace(one, hits={"accuracy": predicted_N == one.reference}, predicted=predicted_N)]]
    ).significance()
    for metric in ("accuracy", "macro_f1", "mcc", "weighted_f1", "cohen_kappa"):
        contrast = significance.rows[1, metric].contrast
        assert contrast is not None
        assert contrast.models.p_value == pytest.approx(2 / 32, abs=0.01), metric


def test_averages_over_a_rare_label_have_no_interval_over_rows() -> None:
    one = outcome(0.7, 1)
    assert one.reference is not None
    rare_N = np.where((one.reference == 2) & (np.arange(ROWS) > 24), 0, one.reference).astype(np.int16)
    significance = Study([[replace(one, reference=rare_N, hits={})]]).significance()
    assert ("0-0", "macro_f1") not in significance.runs
    assert ("0-0", "mcc") in significance.runs
    assert any("fewer than 10 rows" in sentence for sentence in significance.methods)
    assert not any("fewer than 10 rows" in sentence for sentence in Study([[one]]).significance().methods)


def test_one_row_gives_no_warning() -> None:
    assert Study([[outcome(1.0, 1, rows=1)], [outcome(1.0, 2, rows=1)]]).significance().runs.keys() == {
        ("0-0", "accuracy"),
        ("1-0", "accuracy"),
    }


def test_runs_whose_rows_cannot_be_read_are_named_once(caplog: pytest.LogCaptureFixture) -> None:
    gone = Outcomes(0, "", unread="its references are unknown")
    study = Study([seeds(0.6, 2), seeds(0.7, 2, 5), seeds(0.7, 2, 9)])
    study.outcomes |= {("0-1", "test"): gone, ("1-0", "test"): gone}
    del study.outcomes["2-1", "test"]
    assert study.significance().unread == ("0-1", "1-0", "2-1")
    assert [record.getMessage() for record in caplog.records] == [
        "no statistics over the rows of 0-1, 1-0: its references are unknown"
    ]


def test_ties_and_marks_need_the_same_rows() -> None:
    study = Study([seeds(0.8, 2), seeds(0.79, 2, 10)], best={"accuracy": (0,)})
    assert same_rows(study.comparison, study.outcomes, "test")
    assert same_rows(study.comparison, {}, "test")
    study.outcomes["1-0", "test"] = replace(study.outcomes["1-0", "test"], fingerprint="those")
    assert not same_rows(study.comparison, study.outcomes, "test")
    assert same_rows(study.comparison, study.outcomes, "validation")
    assert all(one.tied_with_best is None for one in study.significance().rows.values())


def test_other_rows_are_never_paired() -> None:
    others = outcome(0.8, 2, fingerprint="those")
    significance = Study(
        [[outcome(0.6, 1)], [others], [outcome(0.8, 3), others]], best={"accuracy": (1,)}
    ).significance()
    assert all(one.contrast is None for one in significance.rows.values())
    assert significance.rows[1, "accuracy"].tied_with_best is None
    assert significance.rows[1, "accuracy"].interval is not None


def test_each_row_has_its_own_baseline_or_none() -> None:
    study = Study([seeds(0.5, 1), seeds(0.9, 1, 5), seeds(0.9, 1, 6), seeds(0.5, 1, 7)], baselines=(0, 1, 1, None))
    significance = study.significance()
    contrast = significance.rows[2, "accuracy"].contrast
    assert contrast is not None
    assert abs(contrast.difference) < 0.1
    assert [significance.rows[index, "accuracy"].contrast for index in (0, 1, 3)] == [None, None, None]


def test_ties_are_of_whole_rows_and_the_metrics_direction() -> None:
    rows = [seeds(0.8, 5), seeds(0.79, 5, 10), seeds(0.5, 5, 20), [*seeds(0.8, 3, 30), None]]
    best = {"accuracy": (0,), "brier": (0,), "macro_f1": (0,)}
    significance = Study(rows, best=best).significance()
    for metric in best:
        assert [significance.rows[index, metric].tied_with_best for index in range(4)] == [True, True, False, None], (
            metric
        )
    assert any(sentence.startswith("Tied with the best") for sentence in significance.methods)
    apart = Study(rows, best=best, comparable=False).significance()
    assert all(one.tied_with_best is None for one in apart.rows.values())


def test_metrics_that_differ_from_the_rows_have_no_statistics_over_rows() -> None:
    study = Study([seeds(0.6, 1), seeds(0.9, 1, 5)], best={"accuracy": (1,)})
    run = study.rows[1].runs[0]
    run.set("test", {**run.metrics(), "accuracy": 0.123})
    significance = study.significance()
    assert ("1-0", "accuracy") not in significance.runs
    assert significance.rows[1, "accuracy"].contrast is None
    assert significance.rows[1, "macro_f1"].contrast is not None
    assert any("accuracy" in sentence and "other values" in sentence for sentence in significance.methods)


def test_runs_without_rows_and_empty_tables_are_allowed() -> None:
    study = Study([seeds(0.6, 2), seeds(0.7, 1)])
    significance = assess(study.comparison, {})
    assert {one.interval.method for one in significance.rows.values() if one.interval} == {"t over 2 seeds"}
    assert significance.runs == {}
    assert Study([[None], [None]]).significance() == Significance({}, {})


def test_the_same_table_gives_the_same_significance() -> None:
    rows = [seeds(0.6, 2), seeds(0.7, 3, 10), seeds(0.65, 1, 20)]
    assert Study(rows, best={"macro_f1": (1,)}).significance() == Study(rows, best={"macro_f1": (1,)}).significance()
