"""The backend `transformers`: the model in this process, in the fastest way that it allows."""

from __future__ import annotations

from collections.abc import Sequence

from sft.inference.answer import TextAnswers, complete, score_prompts
from sft.inference.backends.base import Opening
from sft.inference.generating.engine import GenerationSettings
from sft.inference.scoring.scores import LabelScores
from sft.log import Progress
from sft.model.adapters import load_adapter
from sft.prompting.render import LabelledPrompt, Prompt
from sft.protocols import LanguageModel


class TransformersBackend:
    """A causal or encoder-decoder model of transformers, or a PEFT model around one.

    Raises:
        ModelError: the model or adapter does not exist.
    """

    engine = "prompts and label tree in one sequence"

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self.model = _loaded(opening) if opening.trained is None else opening.trained

    def score_labels(self, prompts: Sequence[LabelledPrompt], labels: int, progress: Progress) -> LabelScores:
        """Score every label after every prompt (see `sft.inference.classification`)."""
        return score_prompts(self.model, prompts, labels, self._opening.batch_size, progress)

    def generate(self, prompts: Sequence[Prompt], settings: GenerationSettings, progress: Progress) -> TextAnswers:
        """Generate the answer of each prompt (see `sft.inference.generating.engine`)."""
        opening = self._opening
        return complete(self.model, opening.tokenizer, prompts, settings, opening.batch_size, progress)

    def close(self, succeeded: bool) -> None:
        """Give the base back."""
        if succeeded:
            self._opening.models.give_back(self.model)


def _loaded(opening: Opening) -> LanguageModel:
    base = opening.models.load(opening.model)
    return base if opening.adapter is None else load_adapter(base, opening.adapter)
