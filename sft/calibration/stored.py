"""Everything that was scored for a split, under the names of `label_scores.safetensors`. Arrays only: no files.

| name | shape | |
| --- | --- | --- |
| `sum_logprob`, `end_logprob`, `first_logprob` | [N, L] | the rows; in nats |
| `token_count` | [L] | ids scored per label, the end of turn included |
| `label` | [N] | the rows' own labels, as columns; for multilabel [N, labels], 1 where one applies |
| `own_examples` | [1] | 1 where each row is shown in-context examples of its own, 0 where all are shown the same |
| `content_free.…` | [P, L] | content-free inputs ("N/A", "[MASK]", "") after the rows' examples |
| `domain.…` | [D, L] | random words of the split's texts after the same |
| `content_free_per_row.…`, `domain_per_row.…` | [N, P, L], [N, D, L] | the same after each row's own examples |
| `train.…`, `train.label` | [M, L], [M] | the labelled rows that a calibration learns from |
| `calibrated_logprob` | [N, L] | the rows' calibrated log-probabilities, normalised, where the run has a calibration |

For multilabel, the L columns are yes and no to each label in turn.

`…` stands for the names of the first two lines. Where each row has examples of its own, each of the `content_free` and
`domain` probes has those of one row, from the first row on. Groups that a run has no use for are absent, but
`content_free` and `domain`, which every classification has.

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
# What the rows' own label scores are made of, of any kind.
NEEDED_OF_ROWS = (
    "sum_logprob", "first_logprob", "token_count", f"{CONTENT_FREE}.sum_logprob", f"{CONTENT_FREE}.token_count",
)  # fmt: skip


@dataclass(frozen=True)
class SplitScores:
    """The scores of a split's rows, of probes and of labelled rows.

    Args:
        tensors: name -> array, as above.
    """

    tensors: Mapping[str, Array]

    def __len__(self) -> int:
        return len(self.tensors["sum_logprob"])

    @property
    def labels(self) -> NDArray[np.int64]:
        """The rows' own labels [N], as columns.

        Raises:
            UserError: scores of an earlier version do not say.
        """
        if LABEL not in self.tensors:
            raise UserError("the scores were stored by an earlier version, without the rows' labels")
        return cast("NDArray[np.int64]", self.tensors[LABEL])

    def scores(self, kind: Kind, group: str = "") -> NDArray[np.float32]:
        """The label scores of a group; of the rows themselves, [N, L], by default.

        Raises:
            KeyError: that group was not scored.
            UserError: `pmi` of scores without those of content-free inputs.
        """
        content_free = self.tensors.get(f"{CONTENT_FREE}.sum_logprob")
        if kind == "pmi" and content_free is None:
            raise UserError("the scores were stored by an earlier version, without content-free inputs: no pmi")
        before = f"{group}." if group else ""
        names = (f"{before}{name}" for name in ("sum_logprob", "first_logprob", "token_count"))
        return label_scores(kind, Parts(*(self.tensors[name] for name in names)), content_free)

    def evidence(self, kind: Kind, settings: Settings | None = None) -> Evidence:
        """What a calibration may look at, with scores of one kind."""
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
        """A row's own probes; where all rows have the same examples, the probes of all, [1, P, L]."""
        found = self._group(kind, f"{group}{PER_ROW}")
        own = self.tensors.get(OWN_EXAMPLES)
        if found is not None or own is None or own[0]:
            return found
        shared = self._group(kind, group)
        return None if shared is None else shared[None]
