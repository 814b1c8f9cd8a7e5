"""The model that lm-eval evaluates. Imports the package, so it is imported only if there are tasks to evaluate.

Shapes: B rows, S tokens of the longest, V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable
from functools import cached_property, partialmethod
from typing import Any

from lm_eval.api.model import CacheHook
from lm_eval.models.huggingface import HFLM
from torch import Tensor

from sft.inference.answer_trial import require_exact_steps
from sft.log import Progress, get_logger
from sft.model.trial import FAILURES, Trials, failed
from sft.protocols import LanguageModel, Tokenizer

log = get_logger(__name__)

_PHASE = "lm-eval"


class WrappedModel:
    """A model that can only compute outputs and generate: given the model itself, the harness would tie its weights.

    Args:
        model: of transformers or PEFT, in eval mode; it is not modified.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._model, self._trials = model, Trials(model)
        self.config, self.device = model.config, model.device

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the model's outputs, with logits [B, S, V]."""
        return self._model(*args, **kwargs)

    def generate(self, **kwargs: Any) -> Any:
        """Return the ids [B, S] of prompts and answers; a cache is used only if it does not change the answers."""
        if not self.config.is_encoder_decoder and kwargs.get("use_cache") and self._cache_fault(**kwargs) is not None:
            kwargs["use_cache"] = False
        return self._model.generate(**kwargs)

    def _cache_fault(self, input_ids: Tensor, attention_mask: Tensor, max_length: int, **_: Any) -> str | None:
        """Return the fault of the model's cache in a trial on a text as long as the longest prompt and answer."""
        own_S = input_ids[int(attention_mask.sum(dim=1).argmax())][-int(attention_mask.sum(dim=1).max()) :]
        length = len(own_S) + max(0, max_length - input_ids.shape[1])
        tried = self._trials.of(("lm-eval",), length)
        if tried is None:
            fault = None
            text_S = own_S.repeat(-(-length // len(own_S)))[:length]
            try:
                require_exact_steps(self._model, text_S[None], use_cache=True)
            except FAILURES as error:
                if (fault := failed(error)) is None:
                    raise
                log.info("lm-eval's answers are generated without a cache: %s. Slower, but exact", fault)
            tried = self._trials.note(("lm-eval",), length, fault)
        return tried.fault


class HarnessModel(HFLM):
    """The harness's transformers model around a loaded model; reports the progress of its requests.

    Args:
        model: see `WrappedModel`.
        tokenizer: of the model; it is not modified.
        batch_size: rows per batch.
        tasks: the harness's tasks to evaluate.
        progress: called after each request.
    """

    # evaluate() does not turn off the progress bars of these
    loglikelihood = partialmethod(HFLM.loglikelihood, disable_tqdm=True)
    loglikelihood_rolling = partialmethod(HFLM.loglikelihood_rolling, disable_tqdm=True)
    generate_until = partialmethod(HFLM.generate_until, disable_tqdm=True)

    def __init__(
        self, model: LanguageModel, tokenizer: Tokenizer, batch_size: int, tasks: Collection[Any], progress: Progress
    ) -> None:
        super().__init__(
            pretrained=WrappedModel(model),
            tokenizer=copy.deepcopy(tokenizer),  # the harness changes its padding token and side
            backend="seq2seq" if model.config.is_encoder_decoder else "causal",
            batch_size=batch_size,
            softmax_dtype="float32",  # in bfloat16, answers would tie
        )
        self.set_cache_hook(_AnswerCounter(tasks, progress))


class _AnswerCounter(CacheHook):
    """Counter of answers, at the hook where a cache of the harness would store them."""

    def __init__(self, tasks: Collection[Any], progress: Progress) -> None:
        super().__init__(None)
        self._tasks, self._progress, self._done = tasks, progress, 0
        progress(_PHASE, 0, 1)

    @cached_property
    def _total(self) -> int:
        """Number of requests: the harness builds all of them before it runs the first."""
        return sum(request.repeats for task in self._tasks for request in task.instances)

    def add_partial(self, attr: str, req: Iterable[Any], res: Any) -> None:
        """Count one answer."""
        self._done += 1
        self._progress(_PHASE, self._done, max(self._total, self._done))
