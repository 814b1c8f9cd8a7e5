"""All scores of a split, under the names of `label_scores.safetensors`. Arrays only: no files.

| name | shape | |
| --- | --- | --- |
| `sum_logprob`, `end_logprob`, `first_logprob` | [N, L] | scores of the rows, in nats |
| `token_count` | [L] | ids scored per label, the end of turn included |
| `label` | [N] | the rows' labels, as columns; for multilabel [N, labels], 1 where a label applies |
| `own_examples` | [1] | 1 if each row has in-context examples of its own, 0 if all rows have the same |
| `content_free.…` | [P, L] | content-free inputs ("N/A", "[MASK]", "") after the rows' examples |
| `domain.…` | [D, L] | random words of the split's texts after the rows' examples |
| `content_free_per_row.…`, `domain_per_row.…` | [N, P, L], [N, D, L] | the same, after each row's own examples |
| `train.…`, `train.label` | [M, L], [M] | the labelled rows that a calibration learns from |
| `calibrated_logprob` | [N, L] | the rows' calibrated log-probabilities, normalised, if the run has a calibration |

For multilabel, the L columns are yes and no for each label in turn.

`…` stands for the names of the first two lines. If each row has examples of its own, the first `content_free` and
`domain` probe has the examples of the first row, the second those of the second row, and so on. Every classification
has the groups `content_free` and `domain`; a run has the other groups only if it uses them.

Shapes: N rows, L labels, P and D probes, M labelled rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from sft.calibration.base import Evidence, Floats, Settings
from sft.calibration.kinds import Kind, Parts, label_scores
from sft.errors import UserError

Array = NDArray[Any]

CONTENT_FREE = "content_free"
DOMAIN = "domain"
PER_ROW = "_per_row"
TRAIN = "train"
LABEL = "label"
OWN_EXAMPLES = "own_examples"
CALIBRATED = "calibrated_logprob"
# Arrays that the label scores of the rows are computed from, for every kind.
NEEDED_OF_ROWS = (
    "sum_logprob", "first_logprob", "token_count", f"{CONTENT_FREE}.sum_logprob", f"{CONTENT_FREE}.token_count",
)  # fmt: skip


@dataclass(frozen=True)
class SplitScores:
    """The scores of a split's rows, of probes and of labelled rows.

    Args:
        tensors: arrays by name, as in the table above.
    """

    tensors: Mapping[str, Array]

    def __len__(self) -> int:
        return len(self.tensors["sum_logprob"])

    @property
    def labels(self) -> NDArray[np.int64]:
        """Labels of the rows [N], as columns.

        Raises:
            UserError: an earlier version stored the scores, without labels.
        """
        if LABEL not in self.tensors:
            raise UserError(
                "an earlier version stored these scores, without the rows' labels; run the evaluation again"
            )
        return cast("NDArray[np.int64]", self.tensors[LABEL])

    def scores(self, kind: Kind, group: str = "") -> NDArray[np.float32]:
        """Return the label scores of a group; by default those of the rows, [N, L].

        Raises:
            KeyError: that group was not scored.
            UserError: `pmi` without the scores of content-free inputs.
        """
        content_free = self.tensors.get(f"{CONTENT_FREE}.sum_logprob")
        if kind == "pmi" and content_free is None:
            raise UserError(
                "an earlier version stored these scores, without content-free inputs for pmi; run the evaluation again"
            )
        prefix = f"{group}." if group else ""
        names = (f"{prefix}{name}" for name in ("sum_logprob", "first_logprob", "token_count"))
        return label_scores(kind, Parts(*(self.tensors[name] for name in names)), content_free)

    def evidence(self, kind: Kind, settings: Settings | None = None) -> Evidence:
        """Return the input of a calibration, with scores of one kind."""
        return Evidence(
            scores_NL=self.scores(kind),
            content_free_PL=self._group(kind, CONTENT_FREE),
            domain_DL=self._group(kind, DOMAIN),
            content_free_NPL=self._per_row(kind, CONTENT_FREE),
            domain_NDL=self._per_row(kind, DOMAIN),
            train_ML=self._group(kind, TRAIN),
            train_labels_M=self.tensors.get(f"{TRAIN}.{LABEL}"),
            settings=settings or Settings(),
        )

    def _group(self, kind: Kind, group: str) -> Floats | None:
        return self.scores(kind, group) if f"{group}.sum_logprob" in self.tensors else None

    def _per_row(self, kind: Kind, group: str) -> Floats | None:
        """Return the probes of each row; if all rows have the same examples, the shared probes, [1, P, L]."""
        per_row = self._group(kind, f"{group}{PER_ROW}")
        own_examples = self.tensors.get(OWN_EXAMPLES)
        if per_row is not None or own_examples is None or own_examples[0]:
            return per_row
        shared = self._group(kind, group)
        return None if shared is None else shared[None]
