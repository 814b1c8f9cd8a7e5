"""The model as lm-eval is given it. Imports the package: only for who has tasks to ask.

Shapes: B rows, S tokens of the longest, V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

from lm_eval.api.model import CacheHook
from lm_eval.models.huggingface import HFLM
from torch import Tensor

from sft.inference.answer_trial import require_exact_steps
from sft.log import Progress, get_logger
from sft.model.trial import FAILURES, Trials, failed

log = get_logger(__name__)

PHASE = "lm-eval"


class Lent:
    """A model that can be asked, and nothing else: handed the model itself the harness would tie its weights again.

    Args:
        model: of transformers or PEFT, in eval mode; stays as it is.
    """

    def __init__(self, model: Any) -> None:
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
    """The harness's model of transformers, on one that is lent; tells of each request that is answered.

    Args:
        model: see `Lent`.
        tokenizer: of the model; stays as it is.
        batch_size: rows at once.
        progress: told of requests.
    """

    def __init__(self, model: Any, tokenizer: Any, batch_size: int, progress: Progress) -> None:
        backend = "seq2seq" if model.config.is_encoder_decoder else "causal"
        super().__init__(
            pretrained=Lent(model),
            tokenizer=copy.deepcopy(tokenizer),  # it is given a padding token, and pads on either side
            backend=backend,
            batch_size=batch_size,
            softmax_dtype="float32",  # in bfloat16 answers would tie
        )
        self._told = _Told(progress)
        self.set_cache_hook(self._told)

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = True) -> Any:
        """log p of each continuation, and whether it is the greedy one."""
        self._told.expect(len(requests))
        return super().loglikelihood(requests, disable_tqdm=disable_tqdm)

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = True) -> Any:
        """log p of each whole text."""
        self._told.expect(len(requests))
        return super().loglikelihood_rolling(requests, disable_tqdm=disable_tqdm)

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = True) -> Any:
        """What is written after each prompt."""
        self._told.expect(len(requests))
        return super().generate_until(requests, disable_tqdm=disable_tqdm)


class _Told(CacheHook):
    """Is told of each answer, as a cache of the harness would be, and keeps none."""

    def __init__(self, progress: Progress) -> None:
        super().__init__(None)
        self._progress, self._done, self._total = progress, 0, 0

    def expect(self, requests: int) -> None:
        """So many requests more are coming."""
        self._total += requests

    def add_partial(self, attr: str, req: Iterable[Any], res: Any) -> None:
        """One is answered."""
        self._done += 1
        self._progress(PHASE, self._done, max(self._total, self._done))
