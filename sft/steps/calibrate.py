"""What is scored for a split beside its rows: calibration probes, and labelled rows that a calibration learns from.

Rows, content-free probes and random words of the domain are scored in one call, since they share a prefix, whether the
config names a calibration or not: so that any can be applied to the stored scores later, without a model.

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
from sft.prompting.probes import content_free_rows, domain_rows
from sft.prompting.prompt import EvaluationPrompts, LabelledPrompt
from sft.prompting.truncate import Row
from sft.steps.provenance import TrainingRecord, of_base, rows_by_key
from sft.steps.setup import Setup

log = get_logger(__name__)


class Group(NamedTuple):
    """Prompts that are stored under one name ("": the rows), in arrays that begin with the axes `shape`."""

    name: str
    shape: tuple[int, ...]
    prompts: tuple[LabelledPrompt, ...]


@dataclass(frozen=True)
class Asked:
    """Everything that is scored for a split, the rows first.

    Args:
        groups: in the order in which they are scored.
        known: arrays that are stored with the scores and need no model.
    """

    groups: tuple[Group, ...]
    known: Mapping[str, Array]

    @property
    def prompts(self) -> tuple[LabelledPrompt, ...]:
        """All prompts."""
        return tuple(prompt for group in self.groups for prompt in group.prompts)

    def scored(self, scores: LabelScores) -> SplitScores:
        """The scores of all prompts, as they are stored."""
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
class Lesson:
    """Labelled rows that a calibration learns from.

    Args:
        rows: their numbers in the train split.
        prompts: how they were asked.
        tensors: their scores and labels, by the names under which they are stored; empty before they are scored.
    """

    rows: tuple[int, ...] = ()
    prompts: EvaluationPrompts = field(default_factory=lambda: EvaluationPrompts((), (), ()))
    tensors: Mapping[str, Array] = field(default_factory=dict)

    @property
    def labelled_rows(self) -> frozenset[int]:
        """Rows of the train split whose labels are used: those learned from, and those shown with them."""
        return frozenset(self.rows).union(*self.prompts.shown)


NO_LESSON = Lesson()


def lesson(setup: Setup) -> Lesson:
    """The labelled rows of the experiment's calibration, none where it learns from none; not scored yet.

    For multilabel they are the shots, on which the threshold is chosen, trained on or not. For classification
    they are drawn balanced and seeded from the rows of the train split that were neither trained on nor shown to all
    judged rows. (Where each judged row is shown examples of its own, others may be shown one of these.)

    Raises:
        DataError: there is no such row.
    """
    if chooses_threshold(setup.config, setup.experiment.endpoint):
        return Lesson(setup.task.shots.indices)
    wanted = calibration_rows(setup.experiment)
    if not wanted:
        return NO_LESSON
    train, labels = setup.task.train, setup.task.labels or ()
    if train is None:
        raise DataError(f"{_learns(setup)}, and the data has no train split; set dataset.train_split")
    left = setup.plan.unseen(_taken(setup))
    rows = tuple(left[place] for place in _balanced([train.answers[row] for row in left], labels, setup)[:wanted])
    if not rows:
        raise DataError(
            f"{_learns(setup)} that were neither trained on nor shown, and the train split has none left; lower "
            "dataset.shots or inference.icl_examples, or choose a calibration that learns from none (batch, contextual)"
        )
    if len(rows) < wanted:
        log.warning("Asked for %d labelled rows to calibrate with, %d are left: taking those", wanted, len(rows))
    if lacking := len(labels) - len({train.answers[row] for row in rows}):
        log.warning(
            "%d of %d labels have no row among the %d labelled ones to calibrate with "
            "(inference.calibration_args.num_train_samples)",
            *(lacking, len(labels), len(rows)),
        )
    return Lesson(rows)


def _balanced(answers: Sequence[str], labels: Sequence[str], setup: Setup) -> tuple[int, ...]:
    """All rows in rounds of one of each label, the labels in a seeded order: an unfinished round favours none."""
    seed = setup.experiment.seed_of("icl")
    order = random.Random(f"{seed} labels").sample(list(labels), len(labels))  # noqa: S311 (nothing secret)
    return draw_shots(answers, order, "all", seed).indices


def learn(setup: Setup, backend: Backend, given: Lesson, progress: Progress) -> Lesson:
    """The lesson with its scores: made once, whichever splits are judged."""
    if not given.rows:
        return given
    with setup.clock("prompts"):
        prompts = setup.plan.asked(given.rows)
    with setup.clock("answer"):
        asked = Asked((_lesson_group(prompts),), _lesson_labels(setup, given))
        return Lesson(given.rows, prompts, score_all(setup, backend, asked, progress).scored.tensors)


class Scored(NamedTuple):
    """Scores, and how they were made where the model did not allow the fast way."""

    scored: SplitScores
    fallback: str | None


def score_all(setup: Setup, backend: Backend, asked: Asked, progress: Progress) -> Scored:
    """Score all that is asked, in one call."""
    scores = score_part(setup, backend, asked.prompts, progress)
    return Scored(asked.scored(scores), scores.fallback)


def score_part(setup: Setup, backend: Backend, prompts: Sequence[LabelledPrompt], progress: Progress) -> LabelScores:
    """Score some of what is asked."""
    return backend.score_labels(prompts, len(setup.task.columns), progress)


def ask(setup: Setup, role: str, prompts: EvaluationPrompts, given: Lesson = NO_LESSON) -> Asked:
    """The rows of a judged split with their probes; and with the labelled rows, unless those are scored already.

    Args:
        setup: the experiment.
        role: `test` or `validation`.
        prompts: of the rows.
        given: what the calibration learns from.
    """
    rows = setup.task.evaluated[role]
    own = len(set(prompts.shown)) > 1
    known: dict[str, Array] = {LABEL: _columns(setup, rows), OWN_EXAMPLES: np.array([int(own)]), **given.tensors}
    groups = [Group("", (len(prompts.labelled),), prompts.labelled), *_probes(setup, role, prompts, own)]
    if given.rows and not given.tensors:
        groups.append(_lesson_group(setup.plan.asked(given.rows)))
        known |= _lesson_labels(setup, given)
    return Asked(tuple(groups), known)


def _probes(setup: Setup, role: str, prompts: EvaluationPrompts, own: bool) -> Iterator[Group]:
    if setup.task.type.takes_several:
        return
    given, plan = setup.inference.calibration_args, setup.plan
    texts: Sequence[Row] = plan.inputs(role)
    count, language = (DOMAIN_PROBES, "en") if given is None else (given.domain_probes, given.language)
    contents = {
        CONTENT_FREE: content_free_rows(setup.config.prompting.input_columns),
        DOMAIN: domain_rows(texts, count, _seed(setup), language),
    }
    for name, those in contents.items():
        yield Group(name, (len(those),), plan.probes(those, list(islice(cycle(prompts.shown), len(those)))))
        if own and given is not None and _wants_own(given, name):
            shown = [examples for examples in prompts.shown for _ in those]
            log.info("Each of the %d rows has %d probes of its own (%s)", len(prompts.shown), len(those), name)
            shape = (len(prompts.shown), len(those))
            yield Group(f"{name}{PER_ROW}", shape, plan.probes(those * len(prompts.shown), shown))


def _wants_own(given: CalibrationConfig, group: str) -> bool:
    return given.spec.per_row and group == given.spec.probes


def _seed(setup: Setup) -> int:
    """Of the random words: a constant where nothing of the result follows them, since such a run knows no seed."""
    experiment = setup.experiment
    drawn = "icl" in random_sources(experiment.config, experiment.endpoint)
    return experiment.seed_of("icl") if drawn else DEFAULT_SEED


def _lesson_group(prompts: EvaluationPrompts) -> Group:
    return Group(TRAIN, (len(prompts.labelled),), prompts.labelled)


def _lesson_labels(setup: Setup, given: Lesson) -> dict[str, Array]:
    train = setup.task.train
    return {} if train is None else {f"{TRAIN}.{LABEL}": _columns(setup, train.select(list(given.rows)))}


def _columns(setup: Setup, rows: LabelledRows) -> Array:
    """Each row's label as a column of the scores; or which of its labels apply."""
    return setup.task.truth(rows).astype(np.int64)


def _taken(setup: Setup) -> frozenset[int]:
    """Rows of the train split that this run, or a model that it loads, was trained on or drew as shots."""
    adapter, records = setup.config.model.adapter, list(of_base(setup.config.model))
    if adapter is not None and not setup.experiment.trains:
        record = TrainingRecord.beside(adapter)
        if record is None:
            log.warning("Whether the calibration learns from rows that model.adapter was trained on is unknown")
        else:
            records += record.all()
    earlier = rows_by_key(records)
    rows = earlier.pop(train_key(setup.config), frozenset())
    if earlier:
        log.warning(
            "%s was trained on rows of another data set or slice: whether the calibration learns from some of them too "
            "is not checked",
            "model.name" if adapter is None or setup.experiment.trains else "model.adapter",
        )
    return rows.union(setup.task.shots.indices)


def _learns(setup: Setup) -> str:
    given = setup.inference.calibration_args
    name = given.calibration_fn if given is not None else ""
    return f'inference.calibration_args: "{name}" learns from labelled rows'
