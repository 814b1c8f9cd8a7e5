"""`nearest`: for each row the texts of the pool that are most like its own, by BM25; the most similar one shown last.

Examples like the question help more than others (Liu et al. 2022, arXiv 2101.06804, by embeddings; Rubin et al. 2022,
arXiv 2112.08633, and Agrawal et al. 2023, arXiv 2212.02437, by BM25 too). The nearest stands next to the question, as
is usual; when a prompt is too long, the least similar go first. BM25 is Lucene's, of the library bm25s (Lù 2024, arXiv
2407.03618), with k1 1.5 and b 0.75. It needs no model and no language, and nothing is drawn. Labels play no part: those
shown are as many as `balanced` shows (`icl_examples` times the labels) but of any label, so that the labels of the
neighbours speak too.
"""

from __future__ import annotations

import os
import random
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sft.errors import DataError
from sft.log import get_logger
from sft.prompting.examples import Pool
from sft.prompting.selection.base import Wanted
from sft.prompting.selection.words import words

if TYPE_CHECKING:
    import numpy as np

logger = get_logger(__name__)


class Neighbours:
    """The texts of a pool, ready to be asked which are nearest.

    A text that stands there several times counts once, as its first row. Texts equally near (with no word in common,
    say) come in an order that is always the same but not the pool's, which may be sorted by label.

    Args:
        texts: of the pool.
    """

    def __init__(self, texts: list[str]) -> None:
        first: dict[str, int] = {}
        for row, text in enumerate(texts):
            first.setdefault(text, row)
        known = list(first.items())
        random.Random("nearest").shuffle(known)  # noqa: S311 (nothing secret)
        self.rows = [row for _, row in known]
        self._place = {text: place for place, (text, _) in enumerate(known)}
        self._vocabulary: dict[str, int] = {}
        ids = [[self._vocabulary.setdefault(w, len(self._vocabulary)) for w in words(text)] for text, _ in known]
        self._ranker = _ranker(ids, dict(self._vocabulary)) if self._vocabulary else None

    def nearest(self, text: str, most: int) -> list[int]:
        """Rows of at most `most` other texts, the most similar one last."""
        import numpy as np

        scores_N = self._scores(text)
        if (itself := self._place.get(text)) is not None:
            scores_N[itself] = -np.inf
        most = min(most, len(scores_N) - (itself is not None))
        if most < 1:
            return []
        least = np.partition(scores_N, -most)[-most]
        candidates = np.flatnonzero(scores_N >= least)
        best = candidates[np.argsort(-scores_N[candidates], kind="stable")][:most]
        return [self.rows[place] for place in reversed(best.tolist())]

    def _scores(self, text: str) -> np.ndarray[Any, Any]:
        """BM25 of each text [N], 0 where no word is shared."""
        import numpy as np

        ids = [self._vocabulary[word] for word in words(text) if word in self._vocabulary]
        if self._ranker is None or not ids:
            return np.zeros(len(self.rows), dtype=np.float32)
        return self._ranker.get_scores_from_ids(ids)


def _ranker(ids: list[list[int]], vocabulary: dict[str, int]) -> Any:
    # Where jax is installed, bm25s starts it on import, which would take most of a GPU's memory from the model.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import bm25s

    ranker = bm25s.BM25(k1=1.5, b=0.75, method="lucene")
    ranker.index((ids, vocabulary), show_progress=False)
    return ranker


@lru_cache(maxsize=2)
def _neighbours(pool: Pool) -> Neighbours:
    return Neighbours(list(pool.texts))


def choose_nearest(wanted: Wanted) -> list[list[int]]:
    """The `total` nearest rows for each row. The fewer of a row are the end of the more.

    Raises:
        DataError: an empty pool.
    """
    neighbours = _neighbours(wanted.pool)
    if not neighbours.rows:
        raise DataError(f"icl_examples is {wanted.count}, but there is no row to show as an example")
    if len(neighbours.rows) < wanted.total:
        logger.warning(f"icl_examples asks for {wanted.total} in all, but the data allows {len(neighbours.rows)}")
    return [neighbours.nearest(text, wanted.total) for text in wanted.asked]
