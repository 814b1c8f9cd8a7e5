"""The protocol of a backend: prompts with known token ids go in, label scores or texts come back.

A user's own, named in a config as `inference.backend: "module:Class"`, is called with an `Opening` and returns a
`Backend`. Everything before it (data, prompts, token ids) and after it (calibration, metrics, files) is the same for
all backends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sft.config.sections.model import ModelConfig
from sft.inference.answer import TextAnswers
from sft.inference.batching import BatchSize
from sft.inference.generating.engine import GenerationSettings
from sft.inference.scoring.scores import LabelScores
from sft.log import Progress
from sft.model.resident import Models
from sft.prompting.render import LabelledPrompt, Prompt


@dataclass(frozen=True)
class Opening:
    """The model that is to answer.

    Attributes:
        model: the `model` section; its name is the folder of the trained model where all weights were trained.
        adapter: folder of the adapter on it, trained in this run or named by the config; None without one.
        tokenizer: that made the prompts' ids.
        batch_size: `inference.batch_size`.
        models: where a base of transformers comes from, and goes back to.
        trained: the torch model that was trained in this process; None where nothing was.
    """

    model: ModelConfig
    adapter: Path | None
    tokenizer: Any
    batch_size: BatchSize
    models: Models
    trained: Any | None = None


class Backend(Protocol):
    """A loaded model that answers.

    Attributes:
        engine: how labels are scored where `LabelScores.fallback` says nothing else.
        model: the torch model behind it, which lm-eval needs; None where it is elsewhere.
    """

    engine: str
    model: Any | None

    def score_labels(self, prompts: Sequence[LabelledPrompt], labels: int, progress: Progress) -> LabelScores:
        """Score every label after every prompt, in nats.

        Args:
            prompts: N prompts, each with the token ids of all labels.
            labels: how many labels there are.
            progress: called with the prompts scored so far.

        Raises:
            ModelError: scores that are not numbers.
        """

    def generate(self, prompts: Sequence[Prompt], settings: GenerationSettings, progress: Progress) -> TextAnswers:
        """Generate the answer of each of N prompts.

        Args:
            prompts: N prompts.
            settings: length, stop ids and further arguments.
            progress: called with the prompts answered so far.
        """

    def close(self, succeeded: bool) -> None:
        """Free what it holds; no more prompts come.

        Args:
            succeeded: whether the run has its result. A model that is kept for the next run is checked only then.
        """


class MakeBackend(Protocol):
    """Loads the model."""

    def __call__(self, opening: Opening, /) -> Backend: ...
