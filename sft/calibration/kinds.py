"""The ways to make one score of a label's tokens: arithmetic on what was scored once.

- `sum`: log p(label and end of turn | prompt).
- `mean`: the same for each scored token.
- `first`: log p(first token of the label | prompt).
- `pmi`: the sum minus the content-free sum: log p(label | prompt) - log of the mean, over the content-free inputs, of
  p(label | prompt with that input). How much the row's text raises the label's probability: the domain conditional
  pointwise mutual information of Holtzman et al. 2021, "Surface Form Competition", arXiv 2104.08315, with content-free
  inputs in the place of the row's as the domain premise.

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
    """What scores are made of, for any number of prompts: log-probabilities in nats, and ids scored per label."""

    sum_logprob_NL: NDArray[Any]
    first_logprob_NL: NDArray[Any]
    token_count_L: NDArray[Any]


def label_scores(kind: Kind, parts: Parts, content_free_PL: NDArray[Any] | None = None) -> NDArray[np.float32]:
    """The scores [N, L] of one kind.

    Args:
        kind: of the scores.
        parts: of the prompts.
        content_free_PL: summed log-probabilities after the content-free inputs, for `pmi`.

    Raises:
        ValueError: another kind, or `pmi` without them.
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
        raise ValueError(f'label scores are "sum", "mean", "first" or (with content-free scores) "pmi", not "{kind}"')
    return np.asarray(scores, dtype=np.float32)
