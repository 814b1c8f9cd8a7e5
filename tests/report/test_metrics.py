"""Titles, directions and bounds of metrics, including those of lm-eval's tasks."""

from __future__ import annotations

import pytest

from sft.report.metrics import best_of, bounds, has_direction, number, numbers, title


def test_figures_of_the_harness_are_metrics_but_not_their_errors_or_properties() -> None:
    trips = {
        "acc": 0.5,
        "acc_stderr": 0.1,
        "n": 20,
        "num_fewshot": 0,
        "version": 1.0,
        "higher_is_better": {"acc": True},
    }
    found = numbers({"accuracy": 1, "lm_eval": {"trips": trips, "a.b": {"bleu": 3}}, "support": {"x": 1}, "on": True})
    assert found == {"accuracy": 1.0, "lm_eval.trips.acc": 0.5, "lm_eval.a.b.bleu": 3.0}


@pytest.mark.parametrize(
    ("metric", "shown", "better"),
    [
        ("lm_eval.trips.acc_norm", "trips acc_norm", 2),
        ("lm_eval.gsm8k.exact_match_strict_match", "gsm8k exact_match_strict_match", 2),
        ("lm_eval.wikitext.word_perplexity", "wikitext word_perplexity", 1),
        ("lm_eval.x.bits_per_byte", "x bits_per_byte", 1),
        ("lm_eval.x.sympathy", "x sympathy", None),
        ("acc_norm", "acc_norm", None),  # a metric of the user's own
        ("accuracy", "accuracy", 2),
        ("ece", "ECE", 1),
    ],
)
def test_title_and_direction(metric: str, shown: str, better: int | None) -> None:
    assert title(metric) == shown
    assert best_of(metric, (1.0, 2.0)) == better
    assert has_direction(metric) is (better is not None)


def test_scales() -> None:
    assert bounds("lm_eval.trips.acc") == (0.0, 1.0)
    assert bounds("lm_eval.x.word_perplexity") == (0.0, None)
    assert bounds("lm_eval.x.sympathy") is None
    assert number(41.234, "lm_eval.wmt.bleu") == "41.2"


def test_a_task_defines_whether_higher_is_better() -> None:
    figures = {"wer": 0.2, "higher_is_better": {"wer": False, "likelihood_diff": True}, "likelihood_diff": 3.0, "n": 4}
    found = numbers({"accuracy": 0.5, "lm_eval": {"mine": figures}})
    assert found == {"accuracy": 0.5, "lm_eval.mine.wer": 0.2, "lm_eval.mine.likelihood_diff": 3.0}
    assert best_of("lm_eval.mine.wer", (0.2, 0.1)) == 0.1
    assert best_of("lm_eval.mine.likelihood_diff", (3.0, 1.0)) == 3.0
    assert best_of("lm_eval.theirs.wer", (0.2, 0.1)) is None
