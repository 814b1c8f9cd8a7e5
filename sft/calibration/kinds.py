"""Ways to combine the scores of a label's tokens into one score.

- `sum`: log p(label and end of turn | prompt).
- `mean`: `sum` divided by the number of scored tokens.
- `first`: log p(first token of the label | prompt).
- `pmi`: log p(label | prompt) minus the log of the mean, over the content-free inputs, of p(label | prompt with that
  input). It shows how much the row's text raises the label's probability. This is the domain conditional pointwise
  mutual information of Holtzman et al. 2021, "Surface Form Competition", arXiv 2104.08315; the domain premise is the
  prompt with a content-free input instead of the row's.

Shapes: N rows, L labels, P content-free probes.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from sft.calibration.arithmetic import log_mean

Kind = Literal["sum", "mean", "first", "pmi"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Parts(NamedTuple):
    """Log-probabilities in nats for any number of prompts, and the number of ids scored per label."""

    sum_logprob_NL: NDArray[Any]
    first_logprob_NL: NDArray[Any]
    token_count_L: NDArray[Any]


def label_scores(kind: Kind, parts: Parts, content_free_PL: NDArray[Any] | None = None) -> NDArray[np.float32]:
    """Return the scores [N, L] of one kind.

    Args:
        kind: kind of score.
        parts: log-probabilities of the prompts.
        content_free_PL: summed log-probabilities after the content-free inputs, for `pmi`.

    Raises:
        ValueError: unknown kind, or `pmi` without content-free scores.
    """
    if kind == "sum":
        scores = parts.sum_logprob_NL
    elif kind == "mean":
        scores = parts.sum_logprob_NL / parts.token_count_L
    elif kind == "first":
        scores = parts.first_logprob_NL
    elif kind == "pmi" and content_free_PL is not None:
        scores = parts.sum_logprob_NL - log_mean(content_free_PL)
    else:
        raise ValueError(f'expected "sum", "mean", "first" or (with content-free scores) "pmi", got "{kind}"')
    return np.asarray(scores, dtype=np.float32)
