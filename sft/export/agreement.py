"""Compare two models by the label scores or the scores of a few answers.

Legend: P probes, A answers of all probes together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sft.config.experiment import Experiment
from sft.errors import UserError
from sft.inference.classification import score_labels
from sft.log import get_logger
from sft.protocols import LanguageModel, Tokenizer
from sft.steps.setup import prepare

log = get_logger(__name__)

ROWS = 8  # of the run's test split
LONGEST = 8  # tokens of a free answer, from its start
EXACT = 1e-3  # the largest difference of an answer's log-probability, in nats, from summing in another order
ROUNDING = {"float32": EXACT, "float16": 0.1, "bfloat16": 0.5}  # usual limit for rounding to the dtype
TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "Two plus three equals five, and seven minus four equals three.",
    "Dear colleague, thank you for the report that you sent last week.",  # words: fixed name
)


class Probe(NamedTuple):
    """Ids of a prompt, and ids of some answers to it."""

    prompt: list[int]
    answers: list[list[int]]


@dataclass(frozen=True)
class Probes:
    """Probes for both models, with a description."""

    probes: Sequence[Probe]
    description: str

    def scores(self, model: LanguageModel) -> NDArray[np.float32]:
        """Return the log-probabilities [A] of all answers, in nats. The model is not changed."""
        rows = [score_labels(model, [p.prompt], p.answers, batch_size=1).sum_logprob_NL[0] for p in self.probes]
        return np.concatenate(rows)


def probes_for(experiment: Experiment | None, tokenizer: Tokenizer) -> Probes:
    """Return rows of the run's test split with all labels, or plain sentences if the data cannot be opened.

    Args:
        experiment: the run; None if unknown.
        tokenizer: tokenizer of the model, for the sentences.
    """
    if experiment is not None:
        try:
            return _of_run(experiment)
        except UserError as error:
            log.warning("The run's own rows cannot be scored (%s); scoring plain sentences instead", error)
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
    if all(row.labels for row in rows):
        probes = [Probe(list(row.prompt.ids), [list(ids) for ids in row.labels.values()]) for row in rows]
        return Probes(probes, f"the label scores of {len(rows)} test rows")
    sentences = [Probe(list(row.prompt.ids[:-LONGEST]), [list(row.prompt.ids[-LONGEST:])]) for row in rows]
    return Probes([probe for probe in sentences if probe.prompt], f"the last {LONGEST} tokens of {len(rows)} prompts")


def difference(before_A: NDArray[np.float32], after_A: NDArray[np.float32]) -> float:
    """Return the largest difference in nats; infinite if either value is NaN or infinite."""
    largest = float(np.abs(before_A.astype(np.float64) - after_A).max())
    return largest if np.isfinite(largest) else float("inf")
