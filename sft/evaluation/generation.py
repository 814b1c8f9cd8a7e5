"""Metrics of generated text against one reference per row. No model, no files.

Scales: `exact_match`, `token_f1` and ROUGE are means over rows, in 0..1; `row_metrics` returns their values per row.
`bleu`, `chrf` and `ter` are sacrebleu's, over the whole corpus, in 0..100 (`ter`: lower is better, may exceed 100).
An optional function `segment` splits a text into words, for languages that write without spaces.
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
RowMetrics = Mapping[str, Sequence[float]]  # for each metric, one value per row

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ROUGE = ("rouge1", "rouge2", "rougeL")


def row_metrics(
    references: Sequence[str], predictions: Sequence[str], *, segment: Segment | None = None
) -> dict[str, list[float]]:
    """Return exact_match, token_f1, rouge1, rouge2 and rougeL of each row.

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
    """Return exact_match, token_f1, rouge1, rouge2, rougeL, bleu and chrf.

    Args:
        references: one string per row.
        predictions: one string per row.
        segment: splits a text into words.
        rows: result of `row_metrics` for the same texts, if already computed.

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
    """Return the share of predictions equal to their reference. Case and punctuation count.

    Both are compared in Unicode form NFC, with each run of white space as one space and none at the ends.
    """
    return _mean(exact_matches(references, predictions))


def exact_matches(references: Sequence[str], predictions: Sequence[str]) -> list[float]:
    """Return 1 or 0 for each row, as in `exact_match`."""
    return [float(_plain(r) == _plain(p)) for r, p in _pairs(references, predictions)]


def token_f1(references: Sequence[str], predictions: Sequence[str], segment: Segment | None = None) -> float:
    """Return the mean F1 of shared words, as in SQuAD (Rajpurkar et al. 2016, arXiv 1606.05250).

    Texts are compared in lower case, without ASCII punctuation and English articles. A repeated word counts as often as
    both texts have it. Two texts without words agree; a text without words and a text with words do not.
    """
    return _mean(token_f1s(references, predictions, segment))


def token_f1s(references: Sequence[str], predictions: Sequence[str], segment: Segment | None = None) -> list[float]:
    """Return the F1 of each row, as in `token_f1`."""
    return [_shared_f1(_words(r, segment), _words(p, segment)) for r, p in _pairs(references, predictions)]


def rouge(references: Sequence[str], predictions: Sequence[str], segment: Segment | None = None) -> dict[str, float]:
    """Return the mean F-measures of ROUGE-1, ROUGE-2 and ROUGE-L (Lin 2004) by rouge-score, without stemming.

    The tokenizer of rouge-score keeps only a-z and 0-9; other scripts need `segment`.
    """
    return {name: _mean(values) for name, values in rouges(references, predictions, segment).items()}


def rouges(
    references: Sequence[str], predictions: Sequence[str], segment: Segment | None = None
) -> dict[str, list[float]]:
    """Return the F-measures of each row, as in `rouge`."""
    from rouge_score.rouge_scorer import RougeScorer

    if segment is None and any(_invisible_to_rouge(reference) for reference in references):
        logger.warning(
            "ROUGE ignores all characters except a-z and 0-9, and some references have none of these; "
            "set evaluation.tokenizer_name for this language"
        )
    scorer = RougeScorer(list(_ROUGE), tokenizer=_Segmenter(segment) if segment else None)
    scores = [scorer.score(reference, prediction) for reference, prediction in _pairs(references, predictions)]
    return {name: [float(score[name].fmeasure) for score in scores] for name in _ROUGE}


def bleu(references: Sequence[str], predictions: Sequence[str], segment: Segment | None = None) -> float:
    """Return corpus BLEU (Papineni et al. 2002) by sacrebleu, with tokenizer 13a or with `segment`."""
    from sacrebleu import corpus_bleu

    _check(references, predictions)
    if segment is None:
        return float(corpus_bleu(list(predictions), [list(references)]).score)
    joined = [[" ".join(segment(text)) for text in texts] for texts in (predictions, references)]
    return float(corpus_bleu(joined[0], [joined[1]], tokenize="none", force=True).score)


def chrf(references: Sequence[str], predictions: Sequence[str]) -> float:
    """Return corpus chrF2 (Popović 2015) by sacrebleu, on characters: no segmentation is needed."""
    from sacrebleu import corpus_chrf

    _check(references, predictions)
    return float(corpus_chrf(list(predictions), [list(references)]).score)


def ter(references: Sequence[str], predictions: Sequence[str]) -> float:
    """Return the corpus translation edit rate (Snover et al. 2006) by sacrebleu."""
    from sacrebleu import corpus_ter

    _check(references, predictions)
    return float(corpus_ter(list(predictions), [list(references)]).score)


class _Segmenter:
    """A `segment` function as a tokenizer of rouge-score."""

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
        raise ValueError("metrics are not defined for no rows")
    if len(references) != len(predictions):
        raise ValueError(
            f"expected a prediction per reference, got {len(references)} references and {len(predictions)} predictions"
        )
