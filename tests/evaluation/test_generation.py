"""Metrics of generated text, against figures computed by hand, sacrebleu and rouge-score."""

from __future__ import annotations

import logging

import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer

from sft.evaluation.generation import (
    bleu,
    chrf,
    exact_match,
    generation_metrics,
    rouge,
    row_metrics,
    ter,
    token_f1,
)

REFERENCES = [
    "The cat sat on the mat, quietly.",
    "Two rivers meet below the old town.",
    "Nothing of the kind ever happened.",
    "42",
]
PREDICTIONS = [
    "A cat sat on the mat quietly",
    "Two rivers meet near the town wall.",
    "",
    "42",
]


def test_all_keys_and_no_others() -> None:
    results = generation_metrics(REFERENCES, PREDICTIONS)
    assert list(results) == ["exact_match", "token_f1", "rouge1", "rouge2", "rougeL", "bleu", "chrf"]
    assert all(isinstance(value, float) for value in results.values())


def test_metrics_are_the_means_of_the_row_values() -> None:
    each = row_metrics(REFERENCES, PREDICTIONS)
    results = generation_metrics(REFERENCES, PREDICTIONS)
    assert list(each) == ["exact_match", "token_f1", "rouge1", "rouge2", "rougeL"]
    assert {name: sum(values) / 4 for name, values in each.items()} == {name: results[name] for name in each}
    assert each["exact_match"] == [0, 0, 0, 1]
    assert generation_metrics(REFERENCES, PREDICTIONS, rows=each) == results


def test_values_are_those_of_sacrebleu_and_rouge_score() -> None:
    results = generation_metrics(REFERENCES, PREDICTIONS)
    assert results["bleu"] == pytest.approx(sacrebleu.BLEU().corpus_score(PREDICTIONS, [REFERENCES]).score)
    assert results["chrf"] == pytest.approx(sacrebleu.CHRF().corpus_score(PREDICTIONS, [REFERENCES]).score)
    assert ter(REFERENCES, PREDICTIONS) == pytest.approx(sacrebleu.TER().corpus_score(PREDICTIONS, [REFERENCES]).score)
    assert 1 < results["bleu"] < 100
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"])
    for name in ("rouge1", "rouge2", "rougeL"):
        each = [scorer.score(r, p)[name].fmeasure for r, p in zip(REFERENCES, PREDICTIONS, strict=True)]
        assert results[name] == pytest.approx(sum(each) / 4)


def test_references_and_predictions_are_not_swapped() -> None:
    references, predictions = ["a b c d e f g h i j k l"], ["a b c d e f"]
    assert bleu(references, predictions) < 40 < bleu(predictions, references)


@pytest.mark.parametrize(
    ("reference", "prediction", "equal"),
    [
        ("blue lamp", " blue \n lamp\t", True),
        ("caf\u00e9", "cafe\u0301", True),  # one letter, or a letter and its accent
        ("blue lamp", "Blue lamp", False),
        ("-5", "5", False),
        ("3.5", "35", False),
        ("", "  ", True),
        ("", "x", False),
    ],
)
def test_exact_match_forgives_white_space_and_nothing_else(reference: str, prediction: str, equal: bool) -> None:
    assert exact_match([reference], [prediction]) == float(equal)


@pytest.mark.parametrize(
    ("reference", "prediction", "expected"),
    [
        ("The cat sat.", "cat sat", 1.0),
        ("cat sat down", "a cat", 2 * 1 / (3 + 1)),
        ("no no yes", "no yes yes", 2 * 2 / 6),  # as often as both have it
        ("rain", "sun", 0.0),
        ("the", "...", 1.0),  # no words in either
        ("the", "sun", 0.0),
        ("", "", 1.0),
        ("theatre banana", "atre bn", 0.0),  # articles are whole words
    ],
)
def test_token_f1_computed_by_hand(reference: str, prediction: str, expected: float) -> None:
    assert token_f1([reference], [prediction]) == pytest.approx(expected)


def test_means_are_over_rows() -> None:
    assert exact_match(["a", "b", "c", "d"], ["a", "b", "c", "x"]) == 0.75
    assert token_f1(["a1", "b1"], ["a1", "x"]) == 0.5


def test_a_segmenter_splits_text_without_spaces() -> None:
    references, predictions = ["我喜欢红色的猫和狗"], ["我喜欢红色的猫和鸟"]
    whole = generation_metrics(references, predictions)
    assert whole["token_f1"] == 0
    assert whole["rouge1"] == 0
    results = generation_metrics(references, predictions, segment=list)
    assert results["token_f1"] == pytest.approx(8 / 9)
    assert results["rouge1"] == pytest.approx(8 / 9)
    assert results["rouge2"] == pytest.approx(7 / 8)
    spaced = [[" ".join(text) for text in texts] for texts in (predictions, references)]
    expected = sacrebleu.corpus_bleu(spaced[0], [spaced[1]], tokenize="none").score
    assert results["bleu"] == pytest.approx(expected)
    assert results["chrf"] == whole["chrf"]


def test_rouge_warns_if_references_have_no_words_for_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="sft"):
        rouge(["plain words", "...", ""], ["x", "y", "z"])
        rouge(["кошка"], ["кошка"], segment=str.split)
        assert not caplog.records
        rouge(["кошка"], ["кошка"])
    assert "evaluation.tokenizer_name" in caplog.text


@pytest.mark.parametrize("rows", [1, 120])
def test_empty_texts_and_perfect_ones(rows: int) -> None:
    empty = generation_metrics([""] * rows, [""] * rows)
    assert empty["exact_match"] == 1
    assert empty["bleu"] == 0
    perfect = generation_metrics(["one two three four five ."] * rows, ["one two three four five ."] * rows)
    assert perfect["bleu"] == pytest.approx(100)
    assert perfect["chrf"] == pytest.approx(100)
    assert [perfect[name] for name in ("exact_match", "token_f1", "rouge1", "rouge2", "rougeL")] == [1] * 5
    generation_metrics(["one two three four ."] * rows, ["one two three four ."] * rows, segment=str.split)
    assert chrf(["a"], [""]) == 0


def test_invalid_input_is_refused() -> None:
    for metric in (generation_metrics, exact_match, token_f1, rouge, bleu, chrf, ter):
        with pytest.raises(ValueError, match="no rows"):
            metric([], [])
        with pytest.raises(ValueError, match="1 references and 2 predictions"):
            metric(["a"], ["a", "b"])
