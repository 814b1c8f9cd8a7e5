"""The model as lm-eval is given it. Imports the package: only for who has tasks to ask.

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


class Lent:
    """A model that can be asked, and nothing else: handed the model itself the harness would tie its weights again.

    Args:
        model: of transformers or PEFT, in eval mode; stays as it is.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._model, self._trials = model, Trials(model)
        self.config, self.device = model.config, model.device

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Its outputs, logits [B, S, V] among them."""
        return self._model(*args, **kwargs)

    def generate(self, **kwargs: Any) -> Any:
        """The ids [B, S] of prompts and what was written after them, on a cache only where that changes nothing."""
        if not self.config.is_encoder_decoder and kwargs.get("use_cache") and self._cache_fault(**kwargs) is not None:
            kwargs["use_cache"] = False
        return self._model.generate(**kwargs)

    def _cache_fault(self, input_ids: Tensor, attention_mask: Tensor, max_length: int, **_: Any) -> str | None:
        """What is wrong with the model's cache, tried on a text as long as the longest prompt may become."""
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


class LentModel(HFLM):
    """The harness's model of transformers, on one that is lent; reports the requests that are answered.

    Args:
        model: see `Lent`.
        tokenizer: of the model; stays as it is.
        batch_size: rows at once.
        tasks: the harness's, that will be asked.
        progress: called after each request.
    """

    # evaluate() leaves the progress bars of these on
    loglikelihood = partialmethod(HFLM.loglikelihood, disable_tqdm=True)
    loglikelihood_rolling = partialmethod(HFLM.loglikelihood_rolling, disable_tqdm=True)
    generate_until = partialmethod(HFLM.generate_until, disable_tqdm=True)

    def __init__(
        self, model: LanguageModel, tokenizer: Tokenizer, batch_size: int, tasks: Collection[Any], progress: Progress
    ) -> None:
        super().__init__(
            pretrained=Lent(model),
            tokenizer=copy.deepcopy(tokenizer),  # it is given a padding token, and pads on either side
            backend="seq2seq" if model.config.is_encoder_decoder else "causal",
            batch_size=batch_size,
            softmax_dtype="float32",  # in bfloat16 answers would tie
        )
        self.set_cache_hook(_Answers(tasks, progress))


class _Answers(CacheHook):
    """Counts answers where a cache of the harness would keep them."""

    def __init__(self, tasks: Collection[Any], progress: Progress) -> None:
        super().__init__(None)
        self._tasks, self._progress, self._done = tasks, progress, 0
        progress(_PHASE, 0, 1)

    @cached_property
    def _total(self) -> int:
        """How many are coming: the harness builds all requests before it asks the first."""
        return sum(request.repeats for task in self._tasks for request in task.instances)

    def add_partial(self, attr: str, req: Iterable[Any], res: Any) -> None:
        """One is answered."""
        self._done += 1
        self._progress(_PHASE, self._done, max(self._total, self._done))
