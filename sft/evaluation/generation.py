"""Metrics of generated text against one reference per row. No model, no files.

Scales: `exact_match`, `token_f1` and ROUGE in 0..1, means over rows, whose values `row_metrics` gives one by one;
`bleu`, `chrf` and `ter` as sacrebleu gives them, in 0..100 (`ter`: lower is better, may exceed 100), over the whole
corpus. `segment`, where one is given, splits a text into words for languages that write without spaces.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sft.log import get_logger

logger = get_logger(__name__)

Segment = Callable[[str], list[str]]
RowMetrics = Mapping[str, Sequence[float]]  # for each metric one value per row

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ROUGE = ("rouge1", "rouge2", "rougeL")


def row_metrics(
    references: Sequence[str], predictions: Sequence[str], *, segment: Segment | None = None
) -> dict[str, list[float]]:
    """exact_match, token_f1, rouge1, rouge2 and rougeL of each row.

    Raises:
        ValueError: no rows, or unequal lengths.
    """
    return {
        "exact_match": exact_matches(references, predictions),
        "token_f1": token_f1s(references, predictions, segment),
        **rouges(references, predictions, segment),
    }


def generation_metrics(
    references: Sequence[str],
    predictions: Sequence[str],
    *,
    segment: Segment | None = None,
    rows: RowMetrics | None = None,
) -> dict[str, float]:
    """exact_match, token_f1, rouge1, rouge2, rougeL, bleu and chrf.

    Args:
        references: one text per row.
        predictions: one text per row.
        segment: splits a text into words.
        rows: what `row_metrics` gives for the same texts, where that is at hand.

    Raises:
        ValueError: no rows, or unequal lengths.
    """
    _check(references, predictions)
    each = row_metrics(references, predictions, segment=segment) if rows is None else rows
    return {
        **{name: _mean(values) for name, values in each.items()},
        "bleu": bleu(references, predictions, segment),
        "chrf": chrf(references, predictions),
    }


def exact_match(references: Sequence[str], predictions: Sequence[str]) -> float:
    """Share of predictions equal to their reference, once both are in Unicode form NFC with every run of white space
    made one space and none at the ends. Case and punctuation count."""
    return _mean(exact_matches(references, predictions))


def exact_matches(references: Sequence[str], predictions: Sequence[str]) -> list[float]:
    """For each row 1 or 0, as `exact_match` says."""
    return [float(_plain(r) == _plain(p)) for r, p in _pairs(references, predictions)]


def token_f1(references: Sequence[str], predictions: Sequence[str], segment: Segment | None = None) -> float:
    """Mean F1 of the words that prediction and reference share, as in SQuAD (Rajpurkar et al. 2016, arXiv 1606.05250).

    Lower case, without ASCII punctuation and English articles; repeated words count as often as both have them. Two
    texts without words agree, one without words and one with do not.
    """
    return _mean(token_f1s(references, predictions, segment))


def token_f1s(references: Sequence[str], predictions: Sequence[str], segment: Segment | None = None) -> list[float]:
    """The F1 of each row, as `token_f1` says."""
    return [_shared_f1(_words(r, segment), _words(p, segment)) for r, p in _pairs(references, predictions)]


def rouge(references: Sequence[str], predictions: Sequence[str], segment: Segment | None = None) -> dict[str, float]:
    """Mean F-measures of ROUGE-1, ROUGE-2 and ROUGE-L (Lin 2004) by rouge-score, without stemming.

    Its own tokenizer knows only a-z and 0-9; other scripts need `segment`.
    """
    return {name: _mean(values) for name, values in rouges(references, predictions, segment).items()}


def rouges(
    references: Sequence[str], predictions: Sequence[str], segment: Segment | None = None
) -> dict[str, list[float]]:
    """The F-measures of each row, as `rouge` says."""
    from rouge_score.rouge_scorer import RougeScorer

    if segment is None and any(_invisible_to_rouge(reference) for reference in references):
        logger.warning(
            "ROUGE splits words at all but a-z and 0-9, and some references have none of these: "
            "set evaluation.tokenizer_name for this language"
        )
    scorer = RougeScorer(list(_ROUGE), tokenizer=_Segmenter(segment) if segment else None)
    scores = [scorer.score(reference, prediction) for reference, prediction in _pairs(references, predictions)]
    return {name: [float(score[name].fmeasure) for score in scores] for name in _ROUGE}


def bleu(references: Sequence[str], predictions: Sequence[str], segment: Segment | None = None) -> float:
    """Corpus BLEU (Papineni et al. 2002) by sacrebleu, tokenizer 13a; with `segment`, on the words it gives."""
    from sacrebleu import corpus_bleu

    _check(references, predictions)
    if segment is None:
        return float(corpus_bleu(list(predictions), [list(references)]).score)
    joined = [[" ".join(segment(text)) for text in texts] for texts in (predictions, references)]
    return float(corpus_bleu(joined[0], [joined[1]], tokenize="none", force=True).score)


def chrf(references: Sequence[str], predictions: Sequence[str]) -> float:
    """Corpus chrF2 (Popović 2015) by sacrebleu: characters, so that no segmentation is needed."""
    from sacrebleu import corpus_chrf

    _check(references, predictions)
    return float(corpus_chrf(list(predictions), [list(references)]).score)


def ter(references: Sequence[str], predictions: Sequence[str]) -> float:
    """Corpus translation edit rate (Snover et al. 2006) by sacrebleu."""
    from sacrebleu import corpus_ter

    _check(references, predictions)
    return float(corpus_ter(list(predictions), [list(references)]).score)


class _Segmenter:
    """A `segment` function in the shape that rouge-score asks for."""

    def __init__(self, segment: Segment) -> None:
        self._segment = segment

    def tokenize(self, text: str) -> list[str]:
        return self._segment(text)


def _invisible_to_rouge(text: str) -> bool:
    return any(map(str.isalnum, text)) and not re.search("[a-z0-9]", text.lower())


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def _words(text: str, segment: Segment | None) -> list[str]:
    bare = _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION))
    return [word for word in segment(bare) if word.strip()] if segment else bare.split()


def _shared_f1(reference: list[str], prediction: list[str]) -> float:
    if not reference or not prediction:
        return float(reference == prediction)
    shared = sum((Counter(reference) & Counter(prediction)).values())
    return 2 * shared / (len(reference) + len(prediction))


def _pairs(references: Sequence[str], predictions: Sequence[str]) -> Any:
    _check(references, predictions)
    return zip(references, predictions, strict=True)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _check(references: Sequence[str], predictions: Sequence[str]) -> None:
    if not references:
        raise ValueError("metrics of no rows are not defined")
    if len(references) != len(predictions):
        raise ValueError(f"{len(references)} references and {len(predictions)} predictions")
