"""Open the inference backend on the model that is evaluated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from sft.errors import UserError
from sft.foreign import users_code
from sft.inference.answer import TextAnswers
from sft.inference.backends.base import Backend, MakeBackend, Opening
from sft.inference.generating.engine import GenerationSettings
from sft.inference.scoring.scores import LabelScores
from sft.log import Progress, get_logger
from sft.plugins import BACKENDS
from sft.prompting.render import LabelledPrompt, Prompt
from sft.steps.adapt import Adapted
from sft.steps.setup import Setup

log = get_logger(__name__)

DEFAULT = "transformers"


@contextmanager
def answering(setup: Setup, adapted: Adapted) -> Iterator[Backend]:
    """Open the backend that the config names on the adapted model, and close it.

    Raises:
        ModelError: it cannot load the model.
        UserError: the backend does not exist.
    """
    name = setup.inference.backend if setup.task.evaluated else DEFAULT  # a command that only trains sends no prompts
    make: MakeBackend = BACKENDS.resolve(name)
    with setup.clock("load"):
        opening = _opening(setup, adapted)
        backend = make(opening) if name in BACKENDS else _UsersBackend(make, opening, f'{BACKENDS.kind} "{name}"')
    try:
        yield backend
    except BaseException:
        try:
            backend.close(succeeded=False)
        except Exception as error:  # the error of the run is the one to report
            log.warning("The backend could not be closed: %s", error)
        raise
    backend.close(succeeded=True)


class _UsersBackend:
    """A custom backend: its errors become one line, and its results are checked."""

    def __init__(self, make: MakeBackend, opening: Opening, what: str) -> None:
        self._what = what
        with users_code(what):
            self._backend = make(opening)
            self.engine, self.model = self._backend.engine, self._backend.model

    def score_labels(self, prompts: Sequence[LabelledPrompt], labels: int, progress: Progress) -> LabelScores:
        with users_code(self._what):
            scores = self._backend.score_labels(prompts, labels, progress)
        self._check_type(scores, LabelScores)
        shapes = dict.fromkeys(("sum_logprob", "end_logprob", "first_logprob"), (len(prompts), labels))
        for name, shape in {**shapes, "token_count": (labels,)}.items():
            array = scores.tensors()[name]
            if array.shape != shape:
                raise UserError(f"{self._what}: expected {name} of shape {list(shape)}, got {list(array.shape)}")
            if not np.isfinite(array).all():
                raise UserError(f"{self._what}: expected finite numbers in {name}, got NaN or infinity")
        return scores

    def generate(self, prompts: Sequence[Prompt], settings: GenerationSettings, progress: Progress) -> TextAnswers:
        with users_code(self._what):
            answers = self._backend.generate(prompts, settings, progress)
        self._check_type(answers, TextAnswers)
        lengths = {len(values) for values in (answers.predictions, answers.logprob_N, answers.tokens_N)}
        if lengths != {len(prompts)}:
            raise UserError(
                f"{self._what}: expected {len(prompts)} answers, got {', '.join(map(str, sorted(lengths)))}"
            )
        return answers

    def close(self, succeeded: bool) -> None:
        with users_code(self._what):
            self._backend.close(succeeded)

    def _check_type(self, value: object, expected: type) -> None:
        if not isinstance(value, expected):
            raise UserError(f"{self._what}: expected {expected.__name__}, got {type(value).__name__}")


def _opening(setup: Setup, adapted: Adapted) -> Opening:
    model, adapter = setup.config.model, adapted.folder
    if adapted.folder is None:
        adapter = None if model.adapter is None else Path(model.adapter)
    elif setup.experiment.trains_whole:
        model, adapter = model.model_copy(update={"name": str(adapted.folder)}), None
    return Opening(model, adapter, setup.tokenizer, setup.inference.batch_size, setup.models, adapted.trained)
