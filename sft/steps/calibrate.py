"""Plan what is scored for a split: its rows, calibration probes, and labelled rows to fit a calibration on.

Rows, content-free probes and random words of the domain share a prefix and are scored in one call. Probes are scored
even without a calibration in the config, so that any can be applied to the stored scores later, without a model.

Shapes: N rows, L labels, M labelled rows.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from math import prod
from typing import NamedTuple

import numpy as np

from sft.calibration.stored import CONTENT_FREE, DOMAIN, LABEL, OWN_EXAMPLES, PER_ROW, TRAIN, Array, SplitScores
from sft.config.identity import chooses_threshold, random_sources
from sft.config.sections.calibration import CalibrationConfig
from sft.config.sections.schema import DEFAULT_SEED
from sft.dataset.shots import draw_shots
from sft.dataset.task import LabelledRows, calibration_rows, train_key
from sft.errors import DataError
from sft.inference.backends.base import Backend
from sft.inference.scoring.scores import LabelScores
from sft.log import Progress, get_logger
from sft.plugins import DOMAIN_PROBES
from sft.prompting.encoding.truncate import Row
from sft.prompting.probes import content_free_rows, domain_rows
from sft.prompting.prompt import EvaluationPrompts, LabelledPrompt
from sft.steps.provenance import TrainingRecord, of_base, rows_by_key
from sft.steps.setup import Setup

log = get_logger(__name__)


class Group(NamedTuple):
    """Prompts stored under one name ("": the rows), in arrays whose first axes are `shape`."""

    name: str
    shape: tuple[int, ...]
    prompts: tuple[LabelledPrompt, ...]


@dataclass(frozen=True)
class ScoringPlan:
    """All prompts to score for a split, the rows first.

    Args:
        groups: prompts in scoring order.
        known: arrays stored with the scores that need no model.
    """

    groups: tuple[Group, ...]
    known: Mapping[str, Array]

    @property
    def prompts(self) -> tuple[LabelledPrompt, ...]:
        """All prompts."""
        return tuple(prompt for group in self.groups for prompt in group.prompts)

    def scored(self, scores: LabelScores) -> SplitScores:
        """Return the scores of all prompts in the form in which they are stored."""
        tensors = dict(self.known)
        start = 0
        for group in self.groups:
            stop = start + prod(group.shape)
            for name, array in scores.tensors().items():
                part = array if array.ndim == 1 else array[start:stop].reshape(*group.shape, -1)
                tensors[f"{group.name}.{name}" if group.name else name] = np.ascontiguousarray(part)
            start = stop
        return SplitScores(tensors)


@dataclass(frozen=True)
class LabelledSample:
    """Labelled rows that a calibration is fitted on.

    Args:
        rows: row numbers in the train split.
        prompts: the prompts of the rows.
        tensors: scores and labels by the names under which they are stored; empty before scoring.
    """

    rows: tuple[int, ...] = ()
    prompts: EvaluationPrompts = field(default_factory=lambda: EvaluationPrompts((), (), ()))
    tensors: Mapping[str, Array] = field(default_factory=dict)

    @property
    def labelled_rows(self) -> frozenset[int]:
        """Rows of the train split whose labels are used: the rows themselves and the examples shown with them."""
        return frozenset(self.rows).union(*self.prompts.shown)


NO_SAMPLE = LabelledSample()


def draw_sample(setup: Setup) -> LabelledSample:
    """Draw the labelled rows for the experiment's calibration, not scored yet; none if it needs none.

    For multilabel tasks, they are the shots, and the threshold is chosen on them. For classification, they are drawn
    balanced and seeded from the rows of the train split that were neither trained on nor shown to all evaluated rows.
    (With in-context examples per row, some evaluated rows may be shown one of them.)

    Raises:
        DataError: no such row is left.
    """
    if chooses_threshold(setup.config, setup.experiment.endpoint):
        return LabelledSample(setup.task.shots.indices)
    wanted = calibration_rows(setup.experiment)
    if not wanted:
        return NO_SAMPLE
    train, labels = setup.task.train, setup.task.labels or ()
    if train is None:
        raise DataError(f"{_needs_rows(setup)}, but the data has no train split; set dataset.train_split")
    left = setup.plan.unseen(_used_rows(setup))
    rows = tuple(left[index] for index in _balanced([train.answers[row] for row in left], labels, setup)[:wanted])
    if not rows:
        raise DataError(
            f"{_needs_rows(setup)} that were neither trained on nor shown, but the train split has none left; lower "
            "dataset.shots or inference.icl_examples, or choose a calibration without labelled rows (batch, contextual)"
        )
    if len(rows) < wanted:
        log.warning("Expected %d labelled rows to calibrate with, only %d are left: using these", wanted, len(rows))
    if lacking := len(labels) - len({train.answers[row] for row in rows}):
        log.warning(
            "%d of %d labels have no row among the %d labelled rows to calibrate with "
            "(inference.calibration_args.num_train_samples)",
            *(lacking, len(labels), len(rows)),
        )
    return LabelledSample(rows)


def _balanced(answers: Sequence[str], labels: Sequence[str], setup: Setup) -> tuple[int, ...]:
    """Order all rows in rounds of one row per label, in a seeded order, so that an incomplete round is unbiased."""
    seed = setup.experiment.seed_of("icl")
    order = random.Random(f"{seed} labels").sample(list(labels), len(labels))  # noqa: S311 (nothing secret)
    return draw_shots(answers, order, "all", seed).indices


def score_sample(setup: Setup, backend: Backend, sample: LabelledSample, progress: Progress) -> LabelledSample:
    """Return the labelled sample with its scores. They are computed once for all splits."""
    if not sample.rows:
        return sample
    with setup.clock("prompts"):
        prompts = setup.plan.asked(sample.rows)
    with setup.clock("answer"):
        scoring_plan = ScoringPlan((_sample_group(prompts),), _sample_labels(setup, sample))
        return LabelledSample(sample.rows, prompts, score_all(setup, backend, scoring_plan, progress).scored.tensors)


class Scored(NamedTuple):
    """Scores; `fallback` names the slower way where the model did not allow the fast one."""

    scored: SplitScores
    fallback: str | None


def score_all(setup: Setup, backend: Backend, scoring_plan: ScoringPlan, progress: Progress) -> Scored:
    """Score all prompts of a plan in one call."""
    scores = score_part(setup, backend, scoring_plan.prompts, progress)
    return Scored(scoring_plan.scored(scores), scores.fallback)


def score_part(setup: Setup, backend: Backend, prompts: Sequence[LabelledPrompt], progress: Progress) -> LabelScores:
    """Score some prompts of a plan."""
    return backend.score_labels(prompts, len(setup.task.columns), progress)


def plan_scoring(
    setup: Setup, role: str, prompts: EvaluationPrompts, sample: LabelledSample = NO_SAMPLE
) -> ScoringPlan:
    """Plan the scoring of an evaluated split: its rows, their probes, and the labelled rows if not scored yet.

    Args:
        setup: the experiment.
        role: `test` or `validation`.
        prompts: the prompts of the rows.
        sample: labelled rows to fit the calibration on.
    """
    rows = setup.task.evaluated[role]
    own_examples = len(set(prompts.shown)) > 1
    known: dict[str, Array] = {
        LABEL: _columns(setup, rows),
        OWN_EXAMPLES: np.array([int(own_examples)]),
        **sample.tensors,
    }
    groups = [Group("", (len(prompts.labelled),), prompts.labelled), *_probes(setup, role, prompts, own_examples)]
    if sample.rows and not sample.tensors:
        groups.append(_sample_group(setup.plan.asked(sample.rows)))
        known |= _sample_labels(setup, sample)
    return ScoringPlan(tuple(groups), known)


def _probes(setup: Setup, role: str, prompts: EvaluationPrompts, own_examples: bool) -> Iterator[Group]:
    if setup.task.type.takes_several:
        return
    config, plan = setup.inference.calibration_args, setup.plan
    texts: Sequence[Row] = plan.inputs(role)
    count, language = (DOMAIN_PROBES, "en") if config is None else (config.domain_probes, config.language)
    contents = {
        CONTENT_FREE: content_free_rows(setup.config.prompting.input_columns),
        DOMAIN: domain_rows(texts, count, _seed(setup), language),
    }
    for name, probes in contents.items():
        yield Group(name, (len(probes),), plan.probes(probes, list(islice(cycle(prompts.shown), len(probes)))))
        if own_examples and config is not None and _needs_own_probes(config, name):
            shown = [examples for examples in prompts.shown for _ in probes]
            log.info("Each of the %d rows has %d probes of its own (%s)", len(prompts.shown), len(probes), name)
            shape = (len(prompts.shown), len(probes))
            yield Group(f"{name}{PER_ROW}", shape, plan.probes(probes * len(prompts.shown), shown))


def _needs_own_probes(config: CalibrationConfig, group: str) -> bool:
    return config.spec.per_row and group == config.spec.probes


def _seed(setup: Setup) -> int:
    """Return the seed of the random words; a constant for a run without seed, whose result does not depend on them."""
    experiment = setup.experiment
    drawn = "icl" in random_sources(experiment.config, experiment.endpoint)
    return experiment.seed_of("icl") if drawn else DEFAULT_SEED


def _sample_group(prompts: EvaluationPrompts) -> Group:
    return Group(TRAIN, (len(prompts.labelled),), prompts.labelled)


def _sample_labels(setup: Setup, sample: LabelledSample) -> dict[str, Array]:
    train = setup.task.train
    return {} if train is None else {f"{TRAIN}.{LABEL}": _columns(setup, train.select(list(sample.rows)))}


def _columns(setup: Setup, rows: LabelledRows) -> Array:
    """Return each row's label as a column of the scores; for multilabel, which of the labels apply."""
    return setup.task.truth(rows).astype(np.int64)


def _used_rows(setup: Setup) -> frozenset[int]:
    """Return the rows of the train split that are shots of this run, or that the loaded model was trained on."""
    adapter, records = setup.config.model.adapter, list(of_base(setup.config.model))
    if adapter is not None and not setup.experiment.trains:
        record = TrainingRecord.in_folder(adapter)
        if record is None:
            log.warning("model.adapter has no sft.json: the calibration may use rows that it was trained on")
        else:
            records += record.all()
    earlier = rows_by_key(records)
    rows = earlier.pop(train_key(setup.config), frozenset())
    if earlier:
        log.warning(
            "%s was trained on rows of another data set or slice: the calibration may use some of them too; this is "
            "not checked",
            "model.name" if adapter is None or setup.experiment.trains else "model.adapter",
        )
    return rows.union(setup.task.shots.indices)


def _needs_rows(setup: Setup) -> str:
    config = setup.inference.calibration_args
    name = config.calibration_fn if config is not None else ""
    return f'inference.calibration_args: "{name}" needs labelled rows'
