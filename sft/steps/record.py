"""What a run leaves in its folder: predictions, shots, and the result with where it came from."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from typing import Any

from sft.config.clock import may_read_clock
from sft.config.experiment import Experiment
from sft.dataset.task import LabelledRows, fingerprint, train_key
from sft.inference.answer import LabelAnswers, TextAnswers
from sft.log import get_logger
from sft.memory import halvings
from sft.prompting.render import Prompt
from sft.prompting.view import ShownRow, kept_row
from sft.results.environment import environment, resources
from sft.results.schema import RunResult
from sft.steps.adapt import Adapted
from sft.steps.calibrate import NO_LESSON, Lesson
from sft.steps.judge import Judged
from sft.steps.provenance import count_rows, rows_by_key
from sft.steps.setup import Setup

log = get_logger(__name__)


def recorded_config(experiment: Experiment) -> dict[str, Any]:
    """The config as validated, without what equals the defaults, with name and seed: enough to run it again.

    The date of the prompts is in it wherever a chat template could show it, a default or not.
    """
    config: dict[str, Any] = experiment.config.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    if may_read_clock(experiment.config):
        config["prompting"] = {**config["prompting"], "date": experiment.config.prompting.date}
    return {**config, "name": experiment.name, "seed": experiment.seed}


def prediction_columns(setup: Setup, judged: Judged) -> dict[str, Sequence[Any]]:
    """All columns of the split, `predictions`, what is behind them (see `answer_columns`), and each row's metrics."""
    ours = answer_columns(setup, judged.predictions, judged.labels, judged.texts)
    ours |= {name: list(map(_six_digits, values)) for name, values in judged.by_row.items()}
    return {**data_columns(judged.rows, ours), **ours}


def answer_columns(
    setup: Setup, predictions: Sequence[str], labels: LabelAnswers | None, texts: TextAnswers | None
) -> dict[str, Sequence[Any]]:
    """`predictions`; for labels `probabilities` as `{label: p}`; for texts their `logprob` and `tokens`."""
    columns: dict[str, Sequence[Any]] = {"predictions": predictions}
    if labels is not None:
        columns["probabilities"] = label_probabilities(setup, labels)
    if texts is not None:
        columns["logprob"] = [_six_digits(value) if isfinite(value) else None for value in texts.logprob_N.tolist()]
        columns["tokens"] = texts.tokens_N.tolist()
    return columns


def data_columns(rows: LabelledRows, ours: Collection[str] = ()) -> dict[str, Sequence[Any]]:
    """The split's own columns; one that has the name of ours gets `_of_data` behind it."""
    taken = {"predictions", "probabilities", *ours}
    names = rows.rows.column_names
    return {f"{name}_of_data" if name in taken else name: rows.rows.texts(name) for name in names}


def label_probabilities(setup: Setup, answers: LabelAnswers) -> list[dict[str, float]]:
    """For each row the probability of each label, to six digits."""
    labels = setup.task.labels or ()
    return [dict(zip(labels, map(_six_digits, row), strict=True)) for row in answers.probabilities_NL.tolist()]


def shots_record(setup: Setup, adapted: Adapted, judged: Mapping[str, Judged]) -> dict[str, Any]:
    """Row numbers of the train split: drawn, trained on, shown to the rows of each judged split, calibrated with."""
    shots = setup.task.shots
    return {
        "requested": shots.requested,
        "indices": list(shots.indices),
        "per_label": shots.per_label,
        "trained_on": list(dict.fromkeys(adapted.prompts.rows)),
        "validated_on": list(dict.fromkeys(_validation(adapted))),
        "shown": {role: _shown(one) for role, one in judged.items()},
        "calibration": list(_lesson(judged).rows),
    }


def prompts_record(setup: Setup, adapted: Adapted, judged: Mapping[str, Judged]) -> list[dict[str, Any]]:
    """The first prompt that was trained on, and the first of the test split, each in pieces: to be looked at.

    A bug in this costs no run what it has computed: it is told, and nothing is shown.
    """
    try:
        shown = [("train", row) for row in _first_trained(adapted)]
        if "test" in judged:
            shown += [("test", row) for row in setup.plan.look_at("test", judged["test"].prompts, 1)]
        return [kept_row(role, row, setup.tokenizer) for role, row in shown]
    except Exception as error:
        log.warning("No prompts are kept to be looked at: %s: %s", type(error).__name__, error)
        return []


def _first_trained(adapted: Adapted) -> list[ShownRow]:
    trained = adapted.prompts
    return [ShownRow(row, prompt, {}) for row, prompt in zip(trained.rows[:1], trained.prompts[:1], strict=True)]


def build_result(
    setup: Setup, adapted: Adapted, judged: Mapping[str, Judged], asked: Mapping[str, Any] | None = None
) -> RunResult:
    """The whole result of a run; `asked`: what the tasks of lm-eval gave, where there are some."""
    experiment = setup.experiment
    results: dict[str, Any] = dict(judged["test"].metrics) if "test" in judged else {}
    results |= {role: dict(one.metrics) for role, one in judged.items() if role != "test"}
    if asked is not None:
        results["lm_eval"] = dict(asked)
    return RunResult(
        name=experiment.name,
        id=experiment.id,
        recipe_id=experiment.recipe_id,
        seed=experiment.seed,
        endpoint=experiment.endpoint,
        config=recorded_config(experiment),
        results=results,
        shots=_shots_summary(setup, adapted, judged),
        labelled_examples=labelled_examples(setup, adapted, judged),
        training=_training(adapted),
        timings=setup.clock.seconds(),
        resources={**resources(setup.models.cpu_before), **_halvings()},
        environment=environment(),
        data=fingerprint(setup.task),
    )


def _halvings() -> dict[str, int]:
    return {"batch_halvings": times} if (times := halvings()) else {}


def labelled_examples(setup: Setup, adapted: Adapted, judged: Mapping[str, Judged]) -> int:
    """How many labelled rows the recipe used: trained on, shown in any prompt, or calibrated with, each counted once.

    Those that an adapter of `model.adapter` or a base trained here was trained on count too, as their records say.
    """
    rows = adapted.labelled_rows.union(*(shown for one in judged.values() for shown in one.prompts.shown))
    rows |= _lesson(judged).labelled_rows
    earlier = rows_by_key(adapted.earlier)
    rows |= earlier.pop(train_key(setup.config), frozenset())
    return len(rows) + sum(map(len, earlier.values()))  # of other data: none is among those shown here


def _lesson(judged: Mapping[str, Judged]) -> Lesson:
    """The labelled rows that the calibration learned from: the same for all splits."""
    return next((one.lesson for one in judged.values()), NO_LESSON)


def _validation(adapted: Adapted) -> Sequence[int]:
    """Rows that judged the training."""
    return () if adapted.prompts.validation is None else adapted.prompts.validation.rows


def _of_adapter(adapted: Adapted) -> int | None:
    """Labelled rows that what was loaded had been trained on before; None where that is unknown."""
    return count_rows(adapted.earlier) if adapted.is_earlier_known else None


def _shots_summary(setup: Setup, adapted: Adapted, judged: Mapping[str, Judged]) -> dict[str, Any]:
    shots = setup.task.shots
    return {
        "requested": shots.requested,
        "drawn": len(shots),
        "per_label": shots.per_label,
        "trained_on": len(set(adapted.prompts.rows)),
        "validated_on": len(set(_validation(adapted))),
        "held_out_as_examples": adapted.prompts.held_out,
        "adapter_labelled_examples": _of_adapter(adapted),
        "calibrated_with": len(_lesson(judged).rows),
        "training_prompts": _prompt_counts(adapted.prompts.prompts),
        "prompts": {role: _prompt_counts(one.prompts.prompts) for role, one in judged.items()},
        "examples_per_prompt": _examples_per_prompt(setup, adapted, judged),
        "examples_shown": {role: len({row for s in one.prompts.shown for row in s}) for role, one in judged.items()},
    }


def _examples_per_prompt(setup: Setup, adapted: Adapted, judged: Mapping[str, Judged]) -> dict[str, dict[str, int]]:
    """How many in-context examples the prompts show, for all labels together; of roles whose prompts show some."""
    inference, training = setup.config.inference, setup.config.training
    shown = {role: one.prompts.shown for role, one in judged.items() if inference and inference.icl_examples}
    if training is not None and training.icl_examples:
        shown["train"] = adapted.prompts.shown
    labels = 1 if setup.task.labels is None else len(setup.task.labels)
    return {
        role: {"fewest": min(map(len, rows)), "most": max(map(len, rows)), "labels": labels}
        for role, rows in shown.items()
        if rows
    }


def _prompt_counts(prompts: Sequence[Prompt]) -> dict[str, int]:
    """How many prompts, how long, and what was left out so that they fit."""
    return {
        "prompts": len(prompts),
        "longest": max((len(one.ids) + len(one.completion_ids) for one in prompts), default=0),
        "dropped_examples": sum(one.dropped_examples for one in prompts),
        "cut_rows": sum(one.cut_tokens > 0 for one in prompts),
        "cut_tokens": sum(one.cut_tokens for one in prompts),
    }


def _training(adapted: Adapted) -> dict[str, Any]:
    if adapted.outcome is None:
        return {}
    return {**asdict(adapted.outcome), "adapter": str(adapted.place)}


def _shown(judged: Judged) -> dict[str, Any]:
    """The examples' rows: one list when all rows are shown the same, else one per row."""
    distinct = set(judged.prompts.shown)
    if len(distinct) <= 1:
        return {"fixed": list(next(iter(distinct), ()))}
    return {"per_row": [list(shown) for shown in judged.prompts.shown]}


def _six_digits(value: float) -> float:
    return float(f"{value:.6g}")
