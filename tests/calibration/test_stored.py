"""Stored scores: kinds, groups, and groups that earlier versions did not store."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from sft.calibration.base import Settings
from sft.calibration.kinds import KINDS, Parts, label_scores
from sft.calibration.stored import SplitScores
from sft.errors import UserError


def group(*shape: int, seed: int) -> dict[str, Any]:
    source = np.random.default_rng(seed)
    scores = {name: source.normal(-6, 2, (*shape, 3)).astype(np.float32) for name in ("sum", "end", "first")}
    return {**{f"{name}_logprob": array for name, array in scores.items()}, "token_count": np.array([1, 2, 4])}


def tensors(own: bool = False) -> dict[str, Any]:
    groups = {"content_free": (2,), "domain": (5,), "train": (4,)}
    if own:
        groups |= {"content_free_per_row": (6, 2), "domain_per_row": (6, 5)}
    arrays = {
        f"{name}.{key}": array
        for seed, (name, shape) in enumerate(groups.items())
        for key, array in group(*shape, seed=seed + 1).items()
    }
    labels = {"label": np.arange(6) % 3, "train.label": np.arange(4) % 3, "own_examples": np.array([int(own)])}
    return {**group(6, seed=0), **arrays, **labels}


def test_kinds_of_scores() -> None:
    stored = SplitScores(tensors())
    rows = stored.tensors
    assert KINDS == ("sum", "mean", "first", "pmi")
    assert len(stored) == 6
    np.testing.assert_array_equal(stored.scores("sum"), rows["sum_logprob"])
    np.testing.assert_allclose(stored.scores("mean"), rows["sum_logprob"] / [1, 2, 4], rtol=1e-6)
    np.testing.assert_array_equal(stored.scores("first"), rows["first_logprob"])
    np.testing.assert_array_equal(stored.scores("first", "domain"), rows["domain.first_logprob"])
    assert stored.scores("pmi").dtype == np.float32


def test_pmi_takes_off_the_log_of_the_mean_content_free_probability() -> None:
    stored = SplitScores(tensors())
    probes = stored.tensors["content_free.sum_logprob"].astype(float)
    for row, label in ((0, 0), (3, 2), (5, 1)):
        prior = sum(math.exp(probe[label]) for probe in probes) / len(probes)
        expected = float(stored.tensors["sum_logprob"][row, label]) - math.log(prior)
        assert stored.scores("pmi")[row, label] == pytest.approx(expected, rel=1e-6)


def test_a_label_that_is_likely_anywhere_gains_nothing_by_pmi() -> None:
    parts = Parts(np.array([[-1.0, -8.0]]), np.zeros((1, 2)), np.array([1, 1]))
    assert label_scores("sum", parts).argmax() == 0
    assert label_scores("pmi", parts, np.array([[-1.0, -11.0]])).argmax() == 1


def test_the_evidence_holds_one_kind_of_all_groups() -> None:
    stored = SplitScores(tensors(own=True))
    settings = Settings(num_estimations=3)
    evidence = stored.evidence("mean", settings)
    assert evidence.settings == settings
    np.testing.assert_array_equal(evidence.scores_NL, stored.scores("mean"))
    np.testing.assert_array_equal(evidence.needed("content_free_PL"), stored.scores("mean", "content_free"))
    np.testing.assert_array_equal(evidence.needed("domain_NDL"), stored.scores("mean", "domain_per_row"))
    assert evidence.needed("content_free_NPL").shape == (6, 2, 3)
    scores, labels = evidence.labelled
    assert scores.shape == (4, 3)
    np.testing.assert_array_equal(labels, [0, 1, 2, 0])


def test_where_all_rows_share_their_examples_the_probes_serve_each_row() -> None:
    evidence = SplitScores(tensors()).evidence("sum")
    assert evidence.needed("content_free_NPL").shape == (1, 2, 3)
    assert evidence.needed("domain_NDL").shape == (1, 5, 3)


def test_probes_of_rows_with_their_own_examples_do_not_serve_other_rows() -> None:
    own = {name: array for name, array in tensors(own=True).items() if "per_row" not in name}
    with pytest.raises(UserError, match="content-free inputs after each row's own examples"):
        SplitScores(own).evidence("sum").needed("content_free_NPL")


def test_scores_of_an_earlier_version() -> None:
    old = SplitScores(group(6, seed=0))
    assert old.evidence("sum").content_free_PL is None
    for read in (lambda: old.labels, lambda: old.scores("pmi")):
        with pytest.raises(UserError, match="an earlier version stored these scores"):
            read()
