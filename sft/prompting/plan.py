"""The prompts of a run, for training and for evaluation, with the in-context examples of each row.

Combines the task (rows, labels, shots), the choice of in-context examples and the renderer. It uses no model.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

from sft.config.experiment import Experiment
from sft.config.sections.inference import InferenceConfig
from sft.dataset.task import LabelledRows, Task
from sft.errors import DataError
from sft.log import get_logger
from sft.prompting.chosen import EvaluationExamples
from sft.prompting.encoding.truncate import Row
from sft.prompting.examples import choose_fixed, choose_for_row, hold_out, rounds_for_rows
from sft.prompting.prompt import EvaluationPrompts, TrainingPrompts
from sft.prompting.questions import Questions
from sft.prompting.render import Example, LabelledPrompt, Prompt, Renderer
from sft.prompting.room import Limit, Room, evaluation_limit, training_limit
from sft.prompting.same_labels import refuse_same_tokens, warn_of_similar
from sft.prompting.selection import Selection, find_selection
from sft.prompting.view import ShownRow
from sft.protocols import Tokenizer

log = get_logger(__name__)

NEW_TOKENS = 256  # of a generated answer, if neither max_output_length nor max_new_tokens is set


class _Chosen(NamedTuple):
    """Examples of a row: their rows in the train split, and how many were already dropped because they did not fit."""

    rows: tuple[int, ...] = ()
    dropped: int = 0


class PromptPlan:
    """The prompts of one experiment.

    Args:
        experiment: config and seed.
        task: the opened data.
        tokenizer: tokenizer of the model; never changed.
        context: context length of the model in tokens; None: unknown.
    """

    def __init__(self, experiment: Experiment, task: Task, tokenizer: Tokenizer, context: int | None) -> None:
        self._experiment, self._task = experiment, task
        self._config = experiment.config
        self._inference = self._config.inference or InferenceConfig()
        self._seed = experiment.seed_of("icl")
        self._tokenizer = tokenizer
        self._chooser = EvaluationExamples(experiment, task)
        limit = evaluation_limit(self._config, context)
        self._questions = (
            Questions(self._config.prompting, task.labels or (), task.label_texts or ())
            if task.type.takes_several
            else None
        )
        evaluation_room = self._room(limit, self._chooser.selection)
        training_room = self._room(training_limit(self._config, limit), find_selection("balanced"))
        self.renderer = self._renderer(evaluation_room)
        self._training_renderer = self.renderer if training_room == evaluation_room else self._renderer(training_room)

    def _room(self, limit: Limit, selection: Selection) -> Room:
        return Room(limit, len(self._task.labels or ("",)) if selection.whole_rounds else 1, selection.last_stay)

    def _renderer(self, room: Room) -> Renderer:
        renderer = Renderer(
            self._tokenizer,
            self._config.prompting if self._questions is None else self._questions.prompting,
            room.limit.tokens,
            generation=self._task.labels is None,
            round_size=room.round_size,
            reserve=self.max_new_tokens if self._task.labels is None else 0,
        )
        renderer.limit_name, renderer.last_stay = room.limit.name, room.last_stay
        if self._questions is not None:
            renderer.whole = frozenset({self._questions.column})  # a cut question would not name its label
        return renderer

    @property
    def max_new_tokens(self) -> int:
        """Maximum length of a generated answer, in tokens."""
        limit = self._inference.generation_args.get("max_new_tokens", self._config.prompting.max_output_length)
        return NEW_TOKENS if limit is None else int(limit)

    def check_labels(self) -> None:
        """Check that the labels have different tokens, before anything is trained.

        Raises:
            DataError: the model would write the same tokens for two labels.
        """
        if self._task.labels is None:
            return
        if not warn_of_similar(self._task.labels):
            warn_of_similar(self._task.label_texts or ())
        try:
            labelled = self._labelled(dict.fromkeys(self._config.prompting.input_columns, "x"), ())
        except DataError:  # no prompt fits, or a label is blank: reported for the first row
            return
        if labelled is not None:
            refuse_same_tokens(self._task.columns, labelled.label_ids)

    def training(self) -> TrainingPrompts:
        """Return prompts and completions of the shots.

        Raises:
            DataError: too few shots for the requested in-context examples, or a row does not fit.
        """
        training = self._config.training
        count = training.icl_examples if training is not None else 0
        held = self._task.validation_shots
        shots = tuple(row for row in self._task.shots.indices if row not in set(held))
        if not count or training is None:
            return self._with_validation(self._trained(shots, [_Chosen()] * len(shots)), held, [_Chosen()] * len(held))
        pool = self._chooser.pool(self._train(), shots)
        if not training.random_icl:
            fixed = choose_fixed(pool, count, self._seed, self._task.labels)
            kept = [shots[i] for i in hold_out(pool, fixed.indices, self._task.labels)]
            rows, drawn = self._train().select([*kept, *held]), tuple(shots[i] for i in fixed.indices)
            answers = [(text,) for text in rows.shown] if self._task.labels is None else []
            examples = self._fitting(self._training_renderer, drawn, [rows], answers)
            trained = self._trained(kept, [examples] * len(kept), held_out=len(shots) - len(kept))
            return self._with_validation(trained, held, [examples] * len(held))
        rounds = rounds_for_rows(pool, count, self._task.labels, training=True)
        chosen = []
        texts = [*pool.texts, *self._texts(self._train().select(list(held)))]
        for row, text in zip((*shots, *held), texts, strict=True):
            choice = choose_for_row(pool, rounds, self._seed, row, text, self._task.labels)
            chosen.append(_Chosen(tuple(shots[i] for i in choice.indices)))
        return self._with_validation(self._trained(shots, chosen[: len(shots)]), held, chosen[len(shots) :])

    def _with_validation(
        self, trained: TrainingPrompts, held: Sequence[int], shown: Sequence[_Chosen]
    ) -> TrainingPrompts:
        return replace(trained, validation=self._trained(held, shown)) if held else trained

    def look_at_training(self, trains: bool, count: int) -> list[ShownRow]:
        """Return the first training prompts; without training, those of the first train rows."""
        first = range(min(count, len(self._train())))
        trained = self.training() if trains else self._trained(first, [_Chosen()] * len(first))
        looked_at = list(zip(trained.rows, trained.prompts, trained.shown, strict=True))[:count]
        inputs = self._inputs(self._train().select([row for row, _, _ in looked_at]))
        return [
            ShownRow(row, prompt, self._label_ids(self._labelled(cells, shown)) if self._questions is None else {})
            for (row, prompt, shown), cells in zip(looked_at, inputs, strict=True)
        ]

    def look_at_evaluated(self, role: str, count: int) -> list[ShownRow]:
        """Return the first prompts of an evaluated split, with the completions of their own labels."""
        return self.look_at(role, self.evaluated(role), count)

    def look_at(self, role: str, prompts: EvaluationPrompts, count: int) -> list[ShownRow]:
        """Return the first of an evaluated split's prompts, in the form of `look_at_evaluated`."""
        evaluated = prompts.part(0, count)
        if not evaluated.labelled:
            return [ShownRow(row, prompt, {}) for row, prompt in enumerate(evaluated.open)]
        rows = []
        for row, labelled in enumerate(evaluated.labelled):
            labels = self._label_ids(labelled)
            own = labels[self._task.own_column(self._task.evaluated[role].answers[row])]
            question = None
            if self._questions is not None:
                question = self._question_prompts(
                    self._questions, self.renderer, self._task.evaluated[role].select([row])
                )[0]
            rows.append(ShownRow(row, replace(labelled.prompt, completion_ids=own), labels, question))
        return rows

    def _labelled(self, row: dict[str, str], shown: Sequence[int]) -> LabelledPrompt | None:
        texts = self._task.label_texts
        if self._questions is not None:
            return self._questions.ask(self.renderer, row)
        return None if texts is None else self.renderer.render_labels(row, self._examples(shown), texts)

    def _label_ids(self, labelled: LabelledPrompt | None) -> dict[str, list[int]]:
        return {} if labelled is None else dict(zip(self._task.columns, labelled.label_ids, strict=True))

    def evaluated(self, role: str) -> EvaluationPrompts:
        """Return the prompts of an evaluated split (`test`, `validation`).

        Raises:
            DataError: no examples to draw, or a row does not fit.
        """
        rows = self._task.evaluated[role]
        by_row = self._chooser.by_row
        return self._evaluated(rows, self._own(rows) if by_row else [self._fixed] * len(rows))

    def first(self, role: str) -> EvaluationPrompts:
        """Return the prompt of an evaluated split's first row only, to check that prompts can be made."""
        row = self._task.evaluated[role].select([0])
        if self._chooser.by_row:
            return self._evaluated(row, self._own(row))
        return self._evaluated(row, [self._fitting(self.renderer, self._chooser.same, [row])])

    def probes(self, contents: Sequence[Row], shown: Sequence[Sequence[int]]) -> tuple[LabelledPrompt, ...]:
        """Return prompts of calibration probes, each after examples given as rows of the train split."""
        texts = self._task.label_texts or ()
        prompts = tuple(
            self.renderer.render_labels(row, self._examples(rows), texts)
            for row, rows in zip(contents, shown, strict=True)
        )
        if dropped := sum(labelled.prompt.dropped_examples > 0 for labelled in prompts):
            log.warning("%d calibration probes do not fit with all examples and show fewer", dropped)
        return prompts

    def asked(self, rows: Sequence[int]) -> EvaluationPrompts:
        """Return prompts of train rows like those of evaluated rows, with examples chosen in the same way."""
        chosen = self._train().select(list(rows))
        return self._evaluated(chosen, self._own(chosen) if self._chooser.by_row else [self._fixed] * len(chosen))

    def inputs(self, role: str) -> list[dict[str, str]]:
        """Return the input columns of an evaluated split's rows."""
        return self._inputs(self._task.evaluated[role])

    def unseen(self, taken: Collection[int]) -> list[int]:
        """Return train rows whose texts are not among those of taken, shared, dropped or evaluated rows."""
        texts = self._texts(self._train())
        same = () if self._chooser.by_row else self._chooser.same
        seen = {texts[row] for row in {*taken, *same, *self._task.dropped}}
        seen.update(text for rows in self._task.evaluated.values() for text in self._texts(rows))
        return [row for row, text in enumerate(texts) if text not in seen]

    def _evaluated(self, evaluated: LabelledRows, examples: Sequence[_Chosen]) -> EvaluationPrompts:
        labelled, opened, shown = [], [], []
        for row, chosen in zip(self._inputs(evaluated), examples, strict=True):
            if (prompts := self._labelled(row, chosen.rows)) is not None:
                labelled.append(replace(prompts, prompt=_counted(prompts.prompt, chosen)))
                shown.append(_kept(prompts.prompt, chosen, self.renderer))
            else:
                prompt = self.renderer.render(row, self._examples(chosen.rows))
                opened.append(_counted(prompt, chosen))
                shown.append(_kept(prompt, chosen, self.renderer))
        return EvaluationPrompts(tuple(labelled), tuple(opened), tuple(shown))

    @cached_property
    def _fixed(self) -> _Chosen:
        """The examples that every evaluated row is shown: one choice for all splits of the run."""
        return self._fitting(self.renderer, self._chooser.same, list(self._task.evaluated.values()))

    def _own(self, evaluated: LabelledRows) -> list[_Chosen]:
        """Return the examples of each evaluated row, if each has its own."""
        return [_Chosen(rows) for rows in self._chooser.own(evaluated)]

    def _fitting(
        self,
        renderer: Renderer,
        drawn: tuple[int, ...],
        splits: Sequence[LabelledRows],
        answers: Sequence[Sequence[str]] = (),
    ) -> _Chosen:
        """Return the fixed examples in the rounds that fit with every row: decided once, so that the prefix is shared.

        Args:
            renderer: renderer of the prompts.
            drawn: the examples.
            splits: all rows that are shown these examples.
            answers: answers of each row, if answers are free text that is trained on.
        """
        if not drawn:
            return _Chosen()
        inputs = [row for rows in splits for row in self._inputs(rows)]
        texts = self._task.label_texts
        possible = answers if texts is None else [texts] * len(inputs)
        fitting = renderer.rounds_that_fit(inputs, self._examples(drawn), possible)
        kept = tuple(renderer.keep(drawn, fitting))
        if len(kept) < len(drawn):
            log.warning(
                "Only %d of %d in-context examples fit into %s tokens (%s); all rows are shown only these",
                *(len(kept), len(drawn), renderer.max_seq_length, renderer.limit_name),
            )
        return _Chosen(kept, len(drawn) - len(kept))

    def _trained(self, rows: Sequence[int], examples: Sequence[_Chosen], held_out: int = 0) -> TrainingPrompts:
        """Return training prompts of train rows with their answers."""
        train = self._train()
        chosen = train.select(list(rows))
        if self._questions is not None:
            return self._trained_on_questions(self._questions, rows, chosen)
        among = self._task.label_texts or ()
        prompts = tuple(
            self._training_renderer.render(row, self._examples(shown.rows), answer, among)
            for row, shown, answer in zip(self._inputs(chosen), examples, chosen.shown, strict=True)
        )
        counted = tuple(map(_counted, prompts, examples))
        kept = (_kept(prompt, shown, self._training_renderer) for prompt, shown in zip(prompts, examples, strict=True))
        return TrainingPrompts(counted, tuple(rows), held_out, tuple(kept))

    def _trained_on_questions(self, questions: Questions, rows: Sequence[int], chosen: LabelledRows) -> TrainingPrompts:
        """Return training prompts with each row once for each of its questions."""
        prompts = self._question_prompts(questions, self._training_renderer, chosen)
        count = len(self._task.labels or ())
        return TrainingPrompts(
            tuple(prompts), tuple(row for row in rows for _ in range(count)), 0, ((),) * len(prompts)
        )

    def _question_prompts(self, questions: Questions, renderer: Renderer, rows: LabelledRows) -> list[Prompt]:
        """Return all questions of all rows, each with its answer."""
        prompts: list[Prompt] = []
        for row, own_L in zip(self._inputs(rows), self._task.truth(rows), strict=True):
            applying = [label for label, applies in zip(self._task.labels or (), own_L, strict=True) if applies]
            prompts += questions.answered(renderer, row, applying)
        return prompts

    def _examples(self, rows: Sequence[int]) -> tuple[Example, ...]:
        if new := [row for row in dict.fromkeys(rows) if row not in self._known_examples]:
            chosen = self._train().select(new)
            examples = map(Example, self._inputs(chosen), chosen.shown)
            self._known_examples.update(zip(new, examples, strict=True))
        return tuple(self._known_examples[row] for row in rows)

    @cached_property
    def _known_examples(self) -> dict[int, Example]:
        """A cache of examples by train row, since reading single rows is slow."""
        return {}

    def _train(self) -> LabelledRows:
        if self._task.train is None:
            raise DataError(f"{self._config.dataset.path}: no train split; set dataset.train_split")
        return self._task.train

    def _inputs(self, rows: LabelledRows) -> list[dict[str, str]]:
        return self._chooser.inputs(rows)

    def _texts(self, rows: LabelledRows) -> list[str]:
        return self._chooser.texts(rows)


def _kept(prompt: Prompt, chosen: _Chosen, renderer: Renderer) -> tuple[int, ...]:
    """Return the train rows of the examples in a prompt."""
    dropped = prompt.dropped_examples
    return chosen.rows[dropped:] if renderer.last_stay else chosen.rows[: len(chosen.rows) - dropped]


def _counted(prompt: Prompt, chosen: _Chosen) -> Prompt:
    """Return the prompt with examples dropped before rendering added to its count."""
    return replace(prompt, dropped_examples=prompt.dropped_examples + chosen.dropped)
