"""Generate answers to prompts, from ids to new ids.

The shared prefix of all prompts is read once into a cache that every batch continues. The rest of each prompt is sorted
by length and padded on the left. Answers are in the caller's order, each cut before its end of turn.

Generation is greedy unless `do_sample` is set. The model's own `generation_config` is ignored, so that a result depends
only on the user's config. Where padding would change an answer, only prompts of equal length form a batch; where a
cache cannot be continued exactly, prompts are read whole. A trial on rows of the run checks that the cache does not
change the numbers. Sampling uses torch's global generator, which the caller seeds.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import GenerationConfig

from sft.errors import ModelError
from sft.foreign import OF_ARGUMENTS, explained
from sft.inference.answer_trial import AnswerTrial
from sft.inference.batching import BatchSize
from sft.inference.generating.arguments import GenerationSettings, configured
from sft.inference.scoring.packed_scorer import SHORTEST_PREFIX, common_prefix
from sft.inference.ways import BARE, Way, ways
from sft.inference.writing import Writer, Written
from sft.log import Progress, get_logger, silent
from sft.model.structure import base_of
from sft.model.trial import FAILURES, DisagreementError
from sft.modes import evaluating
from sft.protocols import LanguageModel

__all__ = ["GenerationSettings", "Written", "generate", "own_defaults_set_aside"]

logger = get_logger(__name__)

Ids = Sequence[int]
_logged: WeakKeyDictionary[LanguageModel, str] = WeakKeyDictionary()  # each fallback of a model is logged once


def generate(
    model: LanguageModel,
    prompts: Sequence[Ids],
    settings: GenerationSettings,
    *,
    batch_size: BatchSize = "auto",
    progress: Progress = silent,
) -> list[Written]:
    """Generate the answer to each prompt. The model is not changed.

    Args:
        model: a transformers causal model, or a PEFT model around one; no pad token is needed.
        prompts: lists of ids, none empty.
        settings: generation settings.
        batch_size: prompts in a batch, or `"auto"`. Halved when memory runs out.
        progress: called with the number of finished prompts.

    Raises:
        ValueError: a prompt is empty.
        ModelError: the model is an encoder-decoder model, or an argument is not supported.
    """
    if any(not len(prompt) for prompt in prompts):
        raise ValueError("a prompt is empty; expected at least one id")
    config = configured(settings)
    if not prompts:
        return []
    with evaluating(model), own_defaults_set_aside(model), warnings.catch_warnings():
        # PEFT drops the positions of transformers and warns at every step
        warnings.filterwarnings("ignore", message="Position ids are not supported")
        run = _Run(model, prompts, settings, batch_size, progress)
        refused = explained("inference.generation_args", ModelError, OF_ARGUMENTS)
        with refused if settings.arguments else contextlib.nullcontext():
            return run.answers(config)


class _Run(NamedTuple):
    """One call of `generate`."""

    model: LanguageModel
    prompts: Sequence[Ids]
    settings: GenerationSettings
    batch_size: BatchSize
    progress: Progress

    def answers(self, config: GenerationConfig) -> list[Written]:
        """Return the answers of the first way that agrees with plain forwards."""
        longest = max(map(len, self.prompts)) + config.max_new_tokens
        generators, fault = _generators(), None
        for way in ways(self.model, longest, config):
            text = way.name and f"{way.name}: {fault}"
            written, fault_of_way = self._in_one_way(way, longest)
            if fault_of_way is None:
                _log_once(self.model, text)
                return [answer._replace(fallback=text) for answer in written]
            fault = fault or fault_of_way
            _restore(generators)  # samples must not depend on failed ways
        raise AssertionError("the last way needs no trial")

    def _in_one_way(self, way: Way, longest: int) -> tuple[list[Written], str | None]:
        """Return the answers, or the fault of the way."""
        if way.plain or way.is_approximate:
            return self._written(way, None), None
        shared = common_prefix(self.prompts) >= SHORTEST_PREFIX
        trial = AnswerTrial(self.model, way.decoder, (*way.key, len(self.prompts) > 1, shared))
        if (known := trial.known_fault(longest)) is not None:
            return [], known
        try:
            return self._written(way, trial), None
        except FAILURES as error:
            # the error may be about the cache that the user requested
            blames_cache = isinstance(error, DisagreementError) or way.config.cache_implementation is None
            fault = trial.fault(error) if blames_cache else None
            if fault is None:
                raise
            trial.note_fault(longest, fault)
            return [], fault

    def _written(self, way: Way, trial: AnswerTrial | None) -> list[Written]:
        return Writer(self.model, self.prompts, self.settings, way).run(self.batch_size, self.progress, trial)


def _log_once(model: LanguageModel, text: str | None) -> None:
    if text is not None and _logged.get(model) != text:
        _logged[model] = text
        logger.info("Answers are generated %s. %s", text, "Slower, but exact" if text.startswith(BARE) else "Exact")


def _generators() -> list[Tensor]:
    """Return the states of torch's global generators: the CPU's, then those of the CUDA devices in use."""
    on_devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return [torch.get_rng_state(), *on_devices]


def _restore(states: Sequence[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if len(states) > 1:
        torch.cuda.set_rng_state_all(list(states[1:]))


@contextlib.contextmanager
def own_defaults_set_aside(model: LanguageModel) -> Iterator[None]:
    """Inside, the model's own `generation_config`, which sets the defaults of `generate`, is empty."""
    base = base_of(model)
    holders = [holder for holder in (base, model) if "generation_config" in vars(holder)]
    own = [holder.generation_config for holder in holders]
    for holder in holders:
        holder.generation_config = GenerationConfig()
    try:
        yield
    finally:
        for holder, config in zip(holders, own, strict=True):
            holder.generation_config = config
