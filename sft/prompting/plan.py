"""Which examples go with which row, and the prompts of a whole run: those trained on and those judged.

Puts together the task (rows, labels, shots), the choice of in-context examples and the renderer. It knows no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sft.config.arguments import translate_trainer_args
from sft.config.experiment import Experiment
from sft.config.inference import InferenceConfig
from sft.dataset.task import LabelledRows, Task
from sft.errors import DataError
from sft.log import get_logger
from sft.prompting.examples import Pool, choose_fixed, choose_for_row, hold_out, rounds_for_rows
from sft.prompting.render import Example, LabelledPrompt, Prompt, Renderer
from sft.prompting.truncate import keep_rounds
from sft.prompting.view import ShownRow

log = get_logger(__name__)

NEW_TOKENS = 256  # of a generated answer, where neither max_output_length nor max_new_tokens says


@dataclass(frozen=True)
class TrainingPrompts:
    """What is trained on.

    Args:
        prompts: with their completions, in the order of `rows`.
        rows: row numbers in the train split.
        held_out: shots that are shown as fixed examples and so not trained on.
        shown: for each prompt the row numbers of its examples.
    """

    prompts: tuple[Prompt, ...]
    rows: tuple[int, ...]
    held_out: int
    shown: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class JudgedPrompts:
    """What a split is judged on.

    Args:
        labelled: prompts with the token ids of all labels (classification), else empty.
        open: prompts to generate from (generation), else empty.
        shown: for each row the row numbers, in the train split, of its examples.
    """

    labelled: tuple[LabelledPrompt, ...]
    open: tuple[Prompt, ...]
    shown: tuple[tuple[int, ...], ...]

    def part(self, start: int, stop: int) -> JudgedPrompts:
        """The rows from `start` to `stop` (exclusive)."""
        return JudgedPrompts(self.labelled[start:stop], self.open[start:stop], self.shown[start:stop])

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """The prompts of either kind."""
        return self.open or tuple(one.prompt for one in self.labelled)


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
        self.limit = _least(self._inference.max_seq_length, context)
        self.renderer = self._renderer(self.limit)
        training_limit = _least(self.limit, self._trainer_limit())
        self._training_renderer = self.renderer if training_limit == self.limit else self._renderer(training_limit)

    def _renderer(self, limit: int | None) -> Renderer:
        return Renderer(
            self._tokenizer,
            self._config.prompting,
            limit,
            generation=self._task.labels is None,
            round_size=len(self._task.labels or ("",)),
            reserve=self.max_new_tokens if self._task.labels is None else 0,
        )

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
            return self._trained(shots, [()] * len(shots))
        pool = self._pool(shots)
        if not training.random_icl:
            fixed = choose_fixed(pool, count, self._seed, self._task.labels)
            kept = [shots[i] for i in hold_out(pool, fixed.indices, self._task.labels)]
            examples = self._fitting(
                self._training_renderer, tuple(shots[i] for i in fixed.indices), self._train().select(kept)
            )
            return self._trained(kept, [examples] * len(kept), held_out=len(shots) - len(kept))
        rounds = rounds_for_rows(pool, count, self._task.labels, training=True)
        chosen = []
        for row, text in zip(shots, pool.texts, strict=True):
            choice = choose_for_row(pool, rounds, self._seed, row, text, self._task.labels)
            chosen.append(tuple(shots[i] for i in choice.indices))
        return self._trained(shots, chosen)

    def look_at_training(self, trains: bool, count: int) -> list[ShownRow]:
        """The first prompts that are trained on; without training, the first rows as they would be."""
        first = range(min(count, len(self._train())))
        trained = self.training() if trains else self._trained(first, [()] * len(first))
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
        return self._judged(self._task.judged[role])

    def first(self, role: str) -> JudgedPrompts:
        """The prompt of a judged split's first row alone: whether prompts can be made at all."""
        return self._judged(self._task.judged[role].select([0]))

    def _judged(self, judged: LabelledRows) -> JudgedPrompts:
        inputs = self._inputs(judged)
        chosen = self._chosen(judged, inputs)
        texts = self._task.label_texts
        labelled, opened = [], []
        for row, shown in zip(inputs, chosen, strict=True):
            examples = self._examples(shown)
            if texts is not None:
                labelled.append(self.renderer.render_labels(row, examples, texts))
            else:
                opened.append(self.renderer.render(row, examples))
        return JudgedPrompts(tuple(labelled), tuple(opened), tuple(chosen))

    def _chosen(self, judged: LabelledRows, inputs: Sequence[dict[str, object]]) -> list[tuple[int, ...]]:
        """For each judged row, the rows of the train split that it is shown."""
        count = self._inference.icl_examples
        if not count:
            return [()] * len(judged)
        train = self._task.train
        if train is None:
            raise DataError("inference.icl_examples: the data has no train split to draw examples from")
        from_shots = self._inference.icl_pool == "shots" or (self._inference.icl_pool is None and len(self._task.shots))
        places = self._task.shots.indices if from_shots else tuple(range(len(train)))
        pool, texts = self._pool(places), [self._text(row) for row in inputs]
        if self._inference.random_icl:
            rounds = rounds_for_rows(pool, count, self._task.labels)
            return [
                tuple(places[i] for i in choose_for_row(pool, rounds, self._seed, n, text, self._task.labels).indices)
                for n, text in enumerate(texts)
            ]
        fixed = choose_fixed(pool, count, self._seed, self._task.labels, exclude=set(texts))
        shown = self._fitting(self.renderer, tuple(places[i] for i in fixed.indices), judged)
        return [shown] * len(judged)

    def _fitting(self, renderer: Renderer, shown: tuple[int, ...], rows: LabelledRows) -> tuple[int, ...]:
        """Of the fixed examples the rounds that fit before every row: decided once, so that the prefix is shared."""
        texts = self._task.label_texts
        answers = [(text,) for text in rows.shown] if texts is None else [texts] * len(rows)
        is_open = texts is None and renderer is self.renderer  # generated: `reserve` stands for the answer
        fitting = renderer.rounds_that_fit(self._inputs(rows), self._examples(shown), [] if is_open else answers)
        kept = tuple(keep_rounds(shown, fitting, renderer.round_size))
        if len(kept) < len(shown):
            log.warning(
                "Only %d of %d in-context examples fit into %s tokens: all rows are shown those",
                *(len(kept), len(shown), renderer.max_seq_length),
            )
        return kept

    def _trained(self, rows: Sequence[int], examples: Sequence[tuple[int, ...]], held_out: int = 0) -> TrainingPrompts:
        """Rows of the train split with their answers."""
        train = self._train()
        chosen = train.select(list(rows))
        among = self._task.label_texts or ()
        prompts = tuple(
            self._training_renderer.render(row, self._examples(shown), answer, among)
            for row, shown, answer in zip(self._inputs(chosen), examples, chosen.shown, strict=True)
        )
        return TrainingPrompts(prompts, tuple(rows), held_out, tuple(examples))

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


def _least(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)
