"""Whether two models say the same: label scores, or the scores of a few answers, before and after. Knows no files.

Legend: P probes, A answers of all of them together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sft.config.experiment import Experiment
from sft.errors import UserError
from sft.inference.classification import score_labels
from sft.log import get_logger
from sft.steps.setup import prepare

log = get_logger(__name__)

ROWS = 8  # of the run's test split
LONGEST = 8  # tokens of a free answer, the first ones
EXACT = 1e-3  # the largest difference in nats, of an answer's log-probability, that sums in another order account for
ROUNDING = {"float32": EXACT, "float16": 0.1, "bfloat16": 0.5}  # that rounding to a dtype usually stays below
TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "Two plus three equals five, and seven minus four equals three.",
    "Dear colleague, thank you for the report that you sent last week.",
)


class Probe(NamedTuple):
    """A prompt's ids, and the ids of some answers to it."""

    prompt: list[int]
    answers: list[list[int]]


@dataclass(frozen=True)
class Probes:
    """What is asked of both models; `what` says so in words."""

    probes: Sequence[Probe]
    what: str

    def scores(self, model: Any) -> NDArray[np.float32]:
        """Log-probabilities [A] of all answers, in nats. The model is left as it was."""
        rows = [score_labels(model, [one.prompt], one.answers, batch_size=1).sum_logprob_NL[0] for one in self.probes]
        return np.concatenate(rows)


def probes_for(experiment: Experiment | None, tokenizer: Any) -> Probes:
    """Rows of the run's test split with all their labels, where the data can be opened, else plain sentences.

    Args:
        experiment: the run; None where it is not known.
        tokenizer: of the model, for the sentences.
    """
    if experiment is not None:
        try:
            return _of_run(experiment)
        except UserError as error:
            log.warning("The run's own rows cannot be scored (%s): plain sentences are", error)
    probes = []
    for text in TEXTS:
        ids = list(tokenizer(text)["input_ids"])
        half = len(ids) // 2
        probes.append(Probe(ids[:half], [ids[half : half + LONGEST]]))
    return Probes(probes, f"the ends of {len(probes)} sentences")


def _of_run(experiment: Experiment) -> Probes:
    dataset = experiment.config.dataset.model_copy(update={"max_n_test": ROWS, "validation_split": None})
    few = Experiment(experiment.name, experiment.config.model_copy(update={"dataset": dataset}), experiment.seed)
    rows = prepare(few).plan.look_at_evaluated("test", ROWS)
    if all(one.labels for one in rows):
        probes = [Probe(list(one.prompt.ids), [list(ids) for ids in one.labels.values()]) for one in rows]
        return Probes(probes, f"the label scores of {len(rows)} test rows")
    sentences = [Probe(list(one.prompt.ids[:-LONGEST]), [list(one.prompt.ids[-LONGEST:])]) for one in rows]
    return Probes([one for one in sentences if one.prompt], f"the last {LONGEST} tokens of {len(rows)} prompts")


def difference(before_A: NDArray[np.float32], after_A: NDArray[np.float32]) -> float:
    """The largest difference in nats; infinite where either is no number."""
    found = float(np.abs(before_A.astype(np.float64) - after_A).max())
    return found if np.isfinite(found) else float("inf")
