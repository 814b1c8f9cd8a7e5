"""`nearest`: for each row, the texts of the pool that are most similar by BM25; the most similar is shown last.

Examples similar to the question help more than others (Liu et al. 2022, arXiv 2101.06804, by embeddings; Rubin et al.
2022, arXiv 2112.08633, and Agrawal et al. 2023, arXiv 2212.02437, also by BM25). As usual, the nearest example is next
to the question; if a prompt is too long, the least similar are dropped first. BM25 is Lucene's variant in the library
bm25s (Lù 2024, arXiv 2407.03618), with k1 1.5 and b 0.75. It needs no model and no language and is deterministic. It
ignores labels: there are as many examples as in `balanced` (`icl_examples` times the number of labels), but of any
label, so that the labels of the neighbours are a signal too.
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
    """An index of a pool's texts for nearest-neighbour search.

    Duplicates of a text count once, as the first row. Ties (for example, texts without a common word) have a fixed
    order, which is not the order of the pool, since that may be sorted by label.

    Args:
        texts: texts of the pool.
    """

    def __init__(self, texts: list[str]) -> None:
        first: dict[str, int] = {}
        for row, text in enumerate(texts):
            first.setdefault(text, row)
        unique = list(first.items())
        random.Random("nearest").shuffle(unique)  # noqa: S311 (nothing secret)
        self.rows = [row for _, row in unique]
        self._position = {text: position for position, (text, _) in enumerate(unique)}
        self._vocabulary: dict[str, int] = {}
        ids = [[self._vocabulary.setdefault(w, len(self._vocabulary)) for w in words(text)] for text, _ in unique]
        self._ranker = _ranker(ids, dict(self._vocabulary)) if self._vocabulary else None

    def nearest(self, text: str, most: int) -> list[int]:
        """Return the rows of at most `most` other texts, the most similar last."""
        import numpy as np

        scores_N = self._scores(text)
        if (itself := self._position.get(text)) is not None:
            scores_N[itself] = -np.inf
        most = min(most, len(scores_N) - (itself is not None))
        if most < 1:
            return []
        least = np.partition(scores_N, -most)[-most]
        candidates = np.flatnonzero(scores_N >= least)
        best = candidates[np.argsort(-scores_N[candidates], kind="stable")][:most]
        return [self.rows[position] for position in reversed(best.tolist())]

    def _scores(self, text: str) -> np.ndarray[Any, Any]:
        """Return the BM25 score of each text [N]; 0 without a common word."""
        import numpy as np

        ids = [self._vocabulary[word] for word in words(text) if word in self._vocabulary]
        if self._ranker is None or not ids:
            return np.zeros(len(self.rows), dtype=np.float32)
        return self._ranker.get_scores_from_ids(ids)


def _ranker(ids: list[list[int]], vocabulary: dict[str, int]) -> Any:
    # If jax is installed, bm25s imports it, and jax would preallocate most of the GPU's memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import bm25s

    ranker = bm25s.BM25(k1=1.5, b=0.75, method="lucene")
    ranker.index((ids, vocabulary), show_progress=False)
    return ranker


@lru_cache(maxsize=2)
def _neighbours(pool: Pool) -> Neighbours:
    return Neighbours(list(pool.texts))


def choose_nearest(wanted: Wanted) -> list[list[int]]:
    """Choose the `total` nearest rows for each row. Fewer examples are a suffix of more examples.

    Raises:
        DataError: an empty pool.
    """
    neighbours = _neighbours(wanted.pool)
    if not neighbours.rows:
        raise DataError(f"icl_examples is {wanted.count}, but there is no row to show as an example")
    if len(neighbours.rows) < wanted.total:
        logger.warning(f"icl_examples asks for {wanted.total} in all, but the data allows {len(neighbours.rows)}")
    return [neighbours.nearest(text, wanted.total) for text in wanted.asked]
