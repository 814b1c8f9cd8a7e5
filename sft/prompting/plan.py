"""Which examples go with which row, and the prompts of a whole run: those trained on and those judged.

Puts together the task (rows, labels, shots), the choice of in-context examples and the renderer. It knows no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

from sft.config.arguments import translate_trainer_args
from sft.config.experiment import Experiment
from sft.config.inference import InferenceConfig
from sft.dataset.task import LabelledRows, Task
from sft.errors import DataError
from sft.log import get_logger
from sft.prompting.examples import Pool, choose_fixed, choose_for_row, hold_out, rounds_for_rows
from sft.prompting.planned import JudgedPrompts, TrainingPrompts
from sft.prompting.render import Example, LabelledPrompt, Prompt, Renderer
from sft.prompting.truncate import keep_rounds
from sft.prompting.view import ShownRow

log = get_logger(__name__)

NEW_TOKENS = 256  # of a generated answer, where neither max_output_length nor max_new_tokens says


class _Chosen(NamedTuple):
    """One row's examples: their rows in the train split, and how many were dropped before, for want of room."""

    rows: tuple[int, ...] = ()
    dropped: int = 0


class _Limit(NamedTuple):
    """The most tokens of prompt and answer, and what sets them."""

    tokens: int | None
    name: str


class PromptPlan:
    """The prompts of one experiment.

    Args:
        experiment: its config and seed.
        task: its opened data.
        tokenizer: of the model; never changed.
        context: the most tokens that the model reads; None: no limit known.
    """

    def __init__(self, experiment: Experiment, task: Task, tokenizer: Any, context: int | None) -> None:
        self._experiment, self._task = experiment, task
        self._config = experiment.config
        self._inference = self._config.inference or InferenceConfig()
        self._seed = experiment.seed_of("icl")
        self._tokenizer = tokenizer
        limit = _least(
            _Limit(self._inference.max_seq_length, "inference.max_seq_length"),
            _Limit(context, "what the model reads at most"),
        )
        self.renderer = self._renderer(limit)
        training_limit = _least(limit, _Limit(self._trainer_limit(), "training.trainer_args.max_length"))
        self._training_renderer = self.renderer if training_limit == limit else self._renderer(training_limit)

    def _renderer(self, limit: _Limit) -> Renderer:
        renderer = Renderer(
            self._tokenizer,
            self._config.prompting,
            limit.tokens,
            generation=self._task.labels is None,
            round_size=len(self._task.labels or ("",)),
            reserve=self.max_new_tokens if self._task.labels is None else 0,
        )
        renderer.limit_name = limit.name
        return renderer

    @property
    def max_new_tokens(self) -> int:
        """Longest generated answer, in tokens."""
        given = self._inference.generation_args.get("max_new_tokens", self._config.prompting.max_output_length)
        return NEW_TOKENS if given is None else int(given)

    def training(self) -> TrainingPrompts:
        """Prompts and completions of the shots.

        Raises:
            DataError: too few shots for the in-context examples asked for, or a row that cannot fit.
        """
        training = self._config.training
        count = training.icl_examples if training is not None else 0
        shots = self._task.shots.indices
        if not count or training is None:
            return self._trained(shots, [_Chosen()] * len(shots))
        pool = self._pool(shots)
        if not training.random_icl:
            fixed = choose_fixed(pool, count, self._seed, self._task.labels)
            kept = [shots[i] for i in hold_out(pool, fixed.indices, self._task.labels)]
            rows, drawn = self._train().select(kept), tuple(shots[i] for i in fixed.indices)
            answers = [(text,) for text in rows.shown] if self._task.labels is None else []
            examples = self._fitting(self._training_renderer, drawn, [rows], answers)
            return self._trained(kept, [examples] * len(kept), held_out=len(shots) - len(kept))
        rounds = rounds_for_rows(pool, count, self._task.labels, training=True)
        chosen = []
        for row, text in zip(shots, pool.texts, strict=True):
            choice = choose_for_row(pool, rounds, self._seed, row, text, self._task.labels)
            chosen.append(_Chosen(tuple(shots[i] for i in choice.indices)))
        return self._trained(shots, chosen)

    def look_at_training(self, trains: bool, count: int) -> list[ShownRow]:
        """The first prompts that are trained on; without training, the first rows as they would be."""
        first = range(min(count, len(self._train())))
        trained = self.training() if trains else self._trained(first, [_Chosen()] * len(first))
        looked_at = list(zip(trained.rows, trained.prompts, trained.shown, strict=True))[:count]
        inputs = self._inputs(self._train().select([row for row, _, _ in looked_at]))
        return [
            ShownRow(row, prompt, self._label_ids(self._labelled(one, shown)))
            for (row, prompt, shown), one in zip(looked_at, inputs, strict=True)
        ]

    def look_at_judged(self, role: str, count: int) -> list[ShownRow]:
        """The first prompts of a judged split; a labelled row with the completion of its own label."""
        judged = self.judged(role).part(0, count)
        if not judged.labelled:
            return [ShownRow(row, prompt, {}) for row, prompt in enumerate(judged.open)]
        rows = []
        for row, one in enumerate(judged.labelled):
            labels = self._label_ids(one)
            own = labels[self._task.judged[role].answers[row]]
            rows.append(ShownRow(row, replace(one.prompt, completion_ids=own), labels))
        return rows

    def _labelled(self, row: dict[str, object], shown: Sequence[int]) -> LabelledPrompt | None:
        texts = self._task.label_texts
        return None if texts is None else self.renderer.render_labels(row, self._examples(shown), texts)

    def _label_ids(self, labelled: LabelledPrompt | None) -> dict[str, list[int]]:
        return {} if labelled is None else dict(zip(self._task.labels or (), labelled.label_ids, strict=True))

    def judged(self, role: str) -> JudgedPrompts:
        """Prompts of a judged split (`test`, `validation`).

        Raises:
            DataError: no examples to draw, or a row that cannot fit.
        """
        rows = self._task.judged[role]
        return self._judged(rows, self._random(rows) if self._inference.random_icl else [self._fixed] * len(rows))

    def first(self, role: str) -> JudgedPrompts:
        """The prompt of a judged split's first row alone: whether prompts can be made at all."""
        row = self._task.judged[role].select([0])
        if self._inference.random_icl:
            return self._judged(row, self._random(row))
        return self._judged(row, [self._fitting(self.renderer, self._drawn, [row])])

    def _judged(self, judged: LabelledRows, examples: Sequence[_Chosen]) -> JudgedPrompts:
        texts = self._task.label_texts
        labelled, opened, shown = [], [], []
        for row, chosen in zip(self._inputs(judged), examples, strict=True):
            if texts is not None:
                one = self.renderer.render_labels(row, self._examples(chosen.rows), texts)
                labelled.append(replace(one, prompt=_counted(one.prompt, chosen)))
                shown.append(_left(one.prompt, chosen))
            else:
                prompt = self.renderer.render(row, self._examples(chosen.rows))
                opened.append(_counted(prompt, chosen))
                shown.append(_left(prompt, chosen))
        return JudgedPrompts(tuple(labelled), tuple(opened), tuple(shown))

    @cached_property
    def _fixed(self) -> _Chosen:
        """The examples that every judged row is shown: one choice for the whole run, all its splits alike."""
        return self._fitting(self.renderer, self._drawn, list(self._task.judged.values()))

    @cached_property
    def _drawn(self) -> tuple[int, ...]:
        """The fixed examples, before some are dropped for want of room; never a text of any judged split."""
        count = self._inference.icl_examples
        if not count:
            return ()
        places = self._places()
        asked = {self._text(row) for rows in self._task.judged.values() for row in self._inputs(rows)}
        fixed = choose_fixed(self._pool(places), count, self._seed, self._task.labels, exclude=asked)
        return tuple(places[i] for i in fixed.indices)

    def _random(self, judged: LabelledRows) -> list[_Chosen]:
        """For each judged row, examples of its own."""
        count, labels = self._inference.icl_examples, self._task.labels
        if not count:
            return [_Chosen()] * len(judged)
        places = self._places()
        pool, texts = self._pool(places), [self._text(row) for row in self._inputs(judged)]
        rounds = rounds_for_rows(pool, count, labels)
        choices = (choose_for_row(pool, rounds, self._seed, n, text, labels) for n, text in enumerate(texts))
        return [_Chosen(tuple(places[i] for i in choice.indices)) for choice in choices]

    def _places(self) -> tuple[int, ...]:
        """Rows of the train split that the examples of judged rows are drawn from."""
        train, pool = self._task.train, self._inference.icl_pool
        if train is None:
            raise DataError("inference.icl_examples: the data has no train split to draw examples from")
        from_shots = pool == "shots" or (pool is None and len(self._task.shots))
        return self._task.shots.indices if from_shots else tuple(range(len(train)))

    def _fitting(
        self,
        renderer: Renderer,
        drawn: tuple[int, ...],
        splits: Sequence[LabelledRows],
        answers: Sequence[Sequence[str]] = (),
    ) -> _Chosen:
        """Of the fixed examples the rounds that fit before every row: decided once, so that the prefix is shared.

        Args:
            renderer: of the prompts that show them.
            drawn: the examples.
            splits: all the rows that are shown them.
            answers: for each row its answer, where the answer is free text that is trained on.
        """
        if not drawn:
            return _Chosen()
        inputs = [row for rows in splits for row in self._inputs(rows)]
        texts = self._task.label_texts
        possible = answers if texts is None else [texts] * len(inputs)
        fitting = renderer.rounds_that_fit(inputs, self._examples(drawn), possible)
        kept = tuple(keep_rounds(drawn, fitting, renderer.round_size))
        if len(kept) < len(drawn):
            log.warning(
                "Only %d of %d in-context examples fit into %s tokens (%s): all rows are shown those",
                *(len(kept), len(drawn), renderer.max_seq_length, renderer.limit_name),
            )
        return _Chosen(kept, len(drawn) - len(kept))

    def _trained(self, rows: Sequence[int], examples: Sequence[_Chosen], held_out: int = 0) -> TrainingPrompts:
        """Rows of the train split with their answers."""
        train = self._train()
        chosen = train.select(list(rows))
        among = self._task.label_texts or ()
        prompts = tuple(
            self._training_renderer.render(row, self._examples(shown.rows), answer, among)
            for row, shown, answer in zip(self._inputs(chosen), examples, chosen.shown, strict=True)
        )
        counted = tuple(map(_counted, prompts, examples))
        return TrainingPrompts(counted, tuple(rows), held_out, tuple(map(_left, prompts, examples)))

    def _trainer_limit(self) -> int | None:
        """The trainer's `max_length`: prompts are shortened to it here, so that no answer is cut off there."""
        training = self._config.training
        limit = None if training is None else translate_trainer_args(training.trainer_args).args.get("max_length")
        return None if limit is None else int(limit)

    def _examples(self, rows: Sequence[int]) -> tuple[Example, ...]:
        return tuple(self._example(row) for row in rows)

    def _example(self, row: int) -> Example:
        train = self._train()
        columns = self._config.prompting.input_columns
        return Example({name: train.rows[row][name] for name in columns}, train.shown[row])

    def _train(self) -> LabelledRows:
        if self._task.train is None:
            raise DataError(f"{self._config.dataset.path}: there is no train split; set dataset.train_split")
        return self._task.train

    def _pool(self, rows: Sequence[int]) -> Pool:
        """Rows of the train split that examples are drawn from."""
        chosen = self._train().select(list(rows))
        labels = chosen.answers if self._task.labels is not None else None
        return Pool([self._text(row) for row in self._inputs(chosen)], labels)

    def _inputs(self, rows: LabelledRows) -> list[dict[str, object]]:
        columns = list(self._config.prompting.input_columns)
        inputs: list[dict[str, object]] = rows.rows.select_columns(columns).to_list()
        return inputs

    def _text(self, row: dict[str, object]) -> str:
        return "\n".join(str(row[name]) for name in self._config.prompting.input_columns)


def _left(prompt: Prompt, chosen: _Chosen) -> tuple[int, ...]:
    """The rows that a prompt does show: those that the renderer dropped were the last."""
    return chosen.rows[: len(chosen.rows) - prompt.dropped_examples]


def _counted(prompt: Prompt, chosen: _Chosen) -> Prompt:
    """The prompt, with what was dropped before it was rendered counted too."""
    return replace(prompt, dropped_examples=prompt.dropped_examples + chosen.dropped)


def _least(*limits: _Limit) -> _Limit:
    known = [limit for limit in limits if limit.tokens is not None]
    return min(known, key=lambda limit: limit.tokens or 0, default=_Limit(None, "no limit"))
