"""Build the records of a run folder: predictions, shots, prompts, and the result with its provenance."""

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
from sft.steps.calibrate import NO_SAMPLE, LabelledSample
from sft.steps.evaluate import Evaluated
from sft.steps.provenance import count_rows, rows_by_key
from sft.steps.setup import Setup

log = get_logger(__name__)


def recorded_config(experiment: Experiment) -> dict[str, Any]:
    """Return the validated config without default values, with name and seed: enough to run it again.

    The date of the prompts is included wherever a chat template could show it, even if it is the default.
    """
    config: dict[str, Any] = experiment.config.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    if may_read_clock(experiment.config):
        config["prompting"] = {**config["prompting"], "date": experiment.config.prompting.date}
    return {**config, "name": experiment.name, "seed": experiment.seed}


def prediction_columns(setup: Setup, evaluated: Evaluated) -> dict[str, Sequence[Any]]:
    """Return the columns of the split, those of `answer_columns`, and the metrics of each row."""
    ours = answer_columns(setup, evaluated.predictions, evaluated.labels, evaluated.texts)
    ours |= {name: list(map(_six_digits, values)) for name, values in evaluated.by_row.items()}
    return {**data_columns(evaluated.rows, ours), **ours}


def answer_columns(
    setup: Setup, predictions: Sequence[str], labels: LabelAnswers | None, texts: TextAnswers | None
) -> dict[str, Sequence[Any]]:
    """Return `predictions`; for labels `probabilities` as `{label: p}`; for texts their `logprob` and `tokens`."""
    columns: dict[str, Sequence[Any]] = {"predictions": predictions}
    if labels is not None:
        columns["probabilities"] = label_probabilities(setup, labels)
    if texts is not None:
        columns["logprob"] = [_six_digits(value) if isfinite(value) else None for value in texts.logprob_N.tolist()]
        columns["tokens"] = texts.tokens_N.tolist()
    return columns


def data_columns(rows: LabelledRows, ours: Collection[str] = ()) -> dict[str, Sequence[Any]]:
    """Return the split's own columns; a name that collides with a column of ours gets the suffix `_of_data`."""
    taken = {"predictions", "probabilities", *ours}
    names = rows.rows.column_names
    return {f"{name}_of_data" if name in taken else name: rows.rows.texts(name) for name in names}


def label_probabilities(setup: Setup, answers: LabelAnswers) -> list[dict[str, float]]:
    """Return the probability of each label for each row, to six digits."""
    labels = setup.task.labels or ()
    return [dict(zip(labels, map(_six_digits, row), strict=True)) for row in answers.probabilities_NL.tolist()]


def shots_record(setup: Setup, adapted: Adapted, evaluated: Mapping[str, Evaluated]) -> dict[str, Any]:
    """Return row numbers of the train split: drawn, trained on, shown in each evaluated split, calibrated with."""
    shots = setup.task.shots
    return {
        "requested": shots.requested,
        "indices": list(shots.indices),
        "per_label": shots.per_label,
        "trained_on": list(dict.fromkeys(adapted.prompts.rows)),
        "validated_on": list(dict.fromkeys(_validation(adapted))),
        "shown": {role: _shown(split) for role, split in evaluated.items()},
        "calibration": list(_sample(evaluated).rows),
    }


def prompts_record(setup: Setup, adapted: Adapted, evaluated: Mapping[str, Evaluated]) -> list[dict[str, Any]]:
    """Return the first training prompt and the first test prompt, split into parts, for display.

    An error here must not cost the run its results: it is logged, and no prompts are stored.
    """
    try:
        shown = [("train", row) for row in _first_trained(adapted)]
        if "test" in evaluated:
            shown += [("test", row) for row in setup.plan.look_at("test", evaluated["test"].prompts, 1)]
        return [kept_row(role, row, setup.tokenizer) for role, row in shown]
    except Exception as error:
        log.warning("No example prompts are stored: %s: %s", type(error).__name__, error)
        return []


def _first_trained(adapted: Adapted) -> list[ShownRow]:
    trained = adapted.prompts
    return [ShownRow(row, prompt, {}) for row, prompt in zip(trained.rows[:1], trained.prompts[:1], strict=True)]


def build_result(
    setup: Setup, adapted: Adapted, evaluated: Mapping[str, Evaluated], lm_eval: Mapping[str, Any] | None = None
) -> RunResult:
    """Build the result of a run; `lm_eval` holds the metrics of the lm-eval tasks, if any."""
    experiment = setup.experiment
    results: dict[str, Any] = dict(evaluated["test"].metrics) if "test" in evaluated else {}
    results |= {role: dict(split.metrics) for role, split in evaluated.items() if role != "test"}
    if lm_eval is not None:
        results["lm_eval"] = dict(lm_eval)
    return RunResult(
        name=experiment.name,
        id=experiment.id,
        recipe_id=experiment.recipe_id,
        seed=experiment.seed,
        endpoint=experiment.endpoint,
        config=recorded_config(experiment),
        results=results,
        shots=_shots_summary(setup, adapted, evaluated),
        labelled_examples=labelled_examples(setup, adapted, evaluated),
        training=_training(adapted),
        timings=setup.clock.seconds(),
        resources={**resources(setup.models.cpu_before), **_halvings()},
        environment=environment(),
        data=fingerprint(setup.task),
    )


def _halvings() -> dict[str, int]:
    return {"batch_halvings": times} if (times := halvings()) else {}


def labelled_examples(setup: Setup, adapted: Adapted, evaluated: Mapping[str, Evaluated]) -> int:
    """Return the number of distinct labelled rows that the recipe used: trained on, shown, or calibrated with.

    The training rows of `model.adapter`, or of a base trained by this tool, count too, by their records.
    """
    rows = adapted.labelled_rows.union(*(shown for split in evaluated.values() for shown in split.prompts.shown))
    rows |= _sample(evaluated).labelled_rows
    earlier = rows_by_key(adapted.earlier)
    rows |= earlier.pop(train_key(setup.config), frozenset())
    return len(rows) + sum(map(len, earlier.values()))  # other data: no overlap with these rows


def _sample(evaluated: Mapping[str, Evaluated]) -> LabelledSample:
    """Return the labelled rows that the calibration was fitted on: the same for all splits."""
    return next((split.sample for split in evaluated.values()), NO_SAMPLE)


def _validation(adapted: Adapted) -> Sequence[int]:
    """Return the rows that the training was validated on."""
    return () if adapted.prompts.validation is None else adapted.prompts.validation.rows


def _of_adapter(adapted: Adapted) -> int | None:
    """Return how many labelled rows the loaded model was trained on before; None if unknown."""
    return count_rows(adapted.earlier) if adapted.is_earlier_known else None


def _shots_summary(setup: Setup, adapted: Adapted, evaluated: Mapping[str, Evaluated]) -> dict[str, Any]:
    shots = setup.task.shots
    return {
        "requested": shots.requested,
        "drawn": len(shots),
        "per_label": shots.per_label,
        "trained_on": len(set(adapted.prompts.rows)),
        "validated_on": len(set(_validation(adapted))),
        "held_out_as_examples": adapted.prompts.held_out,
        "adapter_labelled_examples": _of_adapter(adapted),
        "calibrated_with": len(_sample(evaluated).rows),
        "training_prompts": _prompt_counts(adapted.prompts.prompts),
        "prompts": {role: _prompt_counts(split.prompts.prompts) for role, split in evaluated.items()},
        "examples_per_prompt": _examples_per_prompt(setup, adapted, evaluated),
        "examples_shown": {
            role: len({row for s in split.prompts.shown for row in s}) for role, split in evaluated.items()
        },
    }


def _examples_per_prompt(
    setup: Setup, adapted: Adapted, evaluated: Mapping[str, Evaluated]
) -> dict[str, dict[str, int]]:
    """Return how many in-context examples the prompts show, for each role whose prompts have any."""
    inference, training = setup.config.inference, setup.config.training
    shown = {role: split.prompts.shown for role, split in evaluated.items() if inference and inference.icl_examples}
    if training is not None and training.icl_examples:
        shown["train"] = adapted.prompts.shown
    labels = 1 if setup.task.labels is None else len(setup.task.labels)
    return {
        role: {"fewest": min(map(len, rows)), "most": max(map(len, rows)), "labels": labels}
        for role, rows in shown.items()
        if rows
    }


def _prompt_counts(prompts: Sequence[Prompt]) -> dict[str, int]:
    """Return the number of prompts, their greatest length, and how much was cut so that they fit."""
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
    return {**asdict(adapted.outcome), "adapter": str(adapted.folder)}


def _shown(evaluated: Evaluated) -> dict[str, Any]:
    """Return the rows of the examples: one list if all rows have the same examples, else one per row."""
    distinct = set(evaluated.prompts.shown)
    if len(distinct) <= 1:
        return {"fixed": list(next(iter(distinct), ()))}
    return {"per_row": [list(shown) for shown in evaluated.prompts.shown]}


def _six_digits(value: float) -> float:
    return float(f"{value:.6g}")
