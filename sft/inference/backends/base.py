"""The protocol of a backend, from prompts with token ids to label scores or texts.

A custom backend, named in a config as `inference.backend: "module:Class"`, is called with an `Opening` and returns a
`Backend`. Data, prompts, token ids, calibration, metrics and files are the same for all backends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sft.config.sections.model import ModelConfig
from sft.inference.answer import TextAnswers
from sft.inference.batching import BatchSize
from sft.inference.generating.engine import GenerationSettings
from sft.inference.scoring.scores import LabelScores
from sft.log import Progress
from sft.model.resident import Models
from sft.prompting.render import LabelledPrompt, Prompt
from sft.protocols import LanguageModel, Tokenizer


@dataclass(frozen=True)
class Opening:
    """The model that a backend loads.

    Attributes:
        model: the `model` section; its name is the folder of the trained model where all weights were trained.
        adapter: folder of the adapter on it, trained in this run or named by the config; None without one.
        tokenizer: the tokenizer of the prompts.
        batch_size: `inference.batch_size`.
        models: lends the base as a transformers model, and takes it back.
        trained: the torch model that was trained in this process, or None.
    """

    model: ModelConfig
    adapter: Path | None
    tokenizer: Tokenizer
    batch_size: BatchSize
    models: Models
    trained: LanguageModel | None = None


class Backend(Protocol):
    """A loaded model that scores labels and generates answers.

    Attributes:
        engine: the way of scoring labels, if `LabelScores.fallback` is None.
    """

    engine: str

    @property
    def model(self) -> LanguageModel | None:
        """The torch model, which lm-eval needs; None if it is not in this process."""

    def score_labels(self, prompts: Sequence[LabelledPrompt], labels: int, progress: Progress) -> LabelScores:
        """Score every label after every prompt, in nats.

        Args:
            prompts: N prompts, each with the token ids of all labels.
            labels: number of labels.
            progress: called with the number of scored prompts.

        Raises:
            ModelError: a score is NaN or infinite.
        """

    def generate(self, prompts: Sequence[Prompt], settings: GenerationSettings, progress: Progress) -> TextAnswers:
        """Generate the answer of each of N prompts.

        Args:
            prompts: N prompts.
            settings: length, stop ids and further arguments.
            progress: called with the number of answered prompts.
        """

    def close(self, succeeded: bool) -> None:
        """Free all resources.

        Args:
            succeeded: whether the run has its result. Only then is a model that is kept for the next run checked.
        """


class MakeBackend(Protocol):
    """A callable that loads the model."""

    def __call__(self, opening: Opening, /) -> Backend: ...
