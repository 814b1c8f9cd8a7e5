"""Generated answers: ids in, new ids out. No configs, tokenizers or data sets.

What all prompts begin with is read once; its keys and values open every batch's cache. What is left of each prompt runs
sorted by length, padded on the left, and answers come back in the caller's order, each cut before its end of turn.
Greedy unless the arguments say `do_sample`: what the model's own `generation_config` suggests is left aside, so that a
result depends on nothing that the user has not written. Where padding would change an answer, prompts of one length run
together; where a cache cannot be continued exactly, prompts are read whole. Sampling draws from torch's global
generator: the caller seeds it.

Shapes: B rows, S ids of a row.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache, GenerationConfig
from transformers.generation import GenerationMode

from sft.inference.batching import AnyBatchSize, Capacity, Costs, run_batches
from sft.inference.decoder import Decoder, evaluating, has_virtual_tokens, left_padded
from sft.inference.generation_arguments import GenerationSettings, configured
from sft.inference.growing import growing_cache
from sft.inference.logprobs import StepLogprobs, reread
from sft.inference.packed import SHORTEST_PREFIX, common_prefix
from sft.inference.shared_attention import reading, sharing
from sft.inference.stopping import StopAtTexts
from sft.inference.telling import Telling
from sft.log import Progress, get_logger, silent

__all__ = ["GenerationSettings", "Written", "generate", "own_defaults_set_aside"]

logger = get_logger(__name__)

Ids = Sequence[int]
_STEPWISE = (GenerationMode.GREEDY_SEARCH, GenerationMode.SAMPLE)  # one forward, one token of each row
_BEAMS = (GenerationMode.BEAM_SEARCH, GenerationMode.BEAM_SAMPLE)


class Written(NamedTuple):
    """One answer.

    Attributes:
        ids: without the end of turn; the text that ended it (`stop_texts`) is still in them.
        logprob: of all that was written, what ended it included, under the model's own distribution.
        tokens: how many ids that is.
    """

    ids: list[int]
    logprob: float
    tokens: int


def generate(
    model: torch.nn.Module,
    prompts: Sequence[Ids],
    settings: GenerationSettings,
    *,
    batch_size: AnyBatchSize = "auto",
    progress: Progress = silent,
) -> list[Written]:
    """Each prompt's answer. The model stays as it is.

    Args:
        model: a transformers causal model, or a PEFT model around one; no pad token is needed.
        prompts: lists of ids, none empty.
        settings: how to answer.
        batch_size: prompts in a batch, or `"auto"`. Either is halved when memory runs out.
        progress: told how many prompts are done.

    Raises:
        ValueError: an empty prompt.
        ModelError: an encoder-decoder model, or an argument that has no meaning here.
    """
    if any(not len(prompt) for prompt in prompts):
        raise ValueError("a prompt has no ids: there is nothing to continue")
    config = configured(settings)
    if not prompts:
        return []
    with evaluating(model), own_defaults_set_aside(model), warnings.catch_warnings():
        # PEFT drops the positions that transformers makes for it, and says so at every step
        warnings.filterwarnings("ignore", message="Position ids are not supported")
        return _Writer(model, prompts, settings, config).run(batch_size, progress)


class _Opening(NamedTuple):
    """What every row begins with and is read already.

    Attributes:
        ids: stand-ins for an adapter's virtual tokens, then what all prompts begin with.
        prefix: how many ids of each prompt are among them.
        cache: one row of their keys and values.
    """

    ids: list[int]
    prefix: int
    cache: DynamicCache


class _Writer:
    """One call of `generate`."""

    def __init__(self, model: Any, prompts: Sequence[Ids], settings: GenerationSettings, config: Any) -> None:
        self.model, self.prompts, self.settings, self.config = model, prompts, settings, config
        self.decoder = Decoder(model, max(map(len, prompts)) + config.max_new_tokens)
        self.opening = self._opened()
        self.prefix = self.opening.prefix if self.opening is not None else 0
        self.answers: list[Written | None] = [None] * len(prompts)
        self.shares = False  # one copy of the opening for all rows

    def run(self, batch_size: AnyBatchSize, progress: Progress) -> list[Written]:
        """All answers, in the order of the prompts."""
        drafts = self.config.get_generation_mode() == GenerationMode.ASSISTED_GENERATION  # one prompt at a time
        with self._sharing() as self.shares:
            self._run(Capacity.of(self.decoder.device, 1 if drafts else batch_size), progress)
        return [answer for answer in self.answers if answer is not None]

    def _run(self, capacity: Capacity, progress: Progress) -> None:
        costs, beams = Costs.of(self.decoder.base), self.config.num_beams or 1
        opened = len(self.opening.ids) if self.opening is not None else 0
        copied = costs.cached_layer if self.shares else costs.cached  # for each row: in one layer at a time, or in all
        telling = Telling(progress, len(self.prompts), self.config.max_new_tokens)

        def rows_from(row: int, left: int) -> int:
            length = len(self.prompts[row]) - self.prefix
            cost = costs.prompt(length + self.config.max_new_tokens) + opened * copied
            return capacity.rows(cost * beams, length, left)

        finished = 0
        for order in self._orders():
            report = partial(telling.done, finished)
            run_batches(order, rows_from, lambda rows: self._answer(rows, telling), capacity, report)
            finished += len(order)

    def _opened(self) -> _Opening | None:
        """What all prompts begin with, read; None where the whole of each has to be read from the start."""
        prefix = common_prefix(self.prompts)
        prefix = prefix if prefix >= SHORTEST_PREFIX else 0
        if (reason := self._why_whole()) is not None:
            if prefix:
                logger.info("The %d tokens that all prompts begin with are read with each: %s", prefix, reason)
            return None
        cache = self.decoder.opening(self.prompts[0][:prefix])
        stand_ins = [0] * (cache.get_seq_length() - prefix)
        return _Opening([*stand_ins, *self.prompts[0][:prefix]], prefix, cache)

    def _why_whole(self) -> str | None:
        """Why `generate` cannot go on exactly from a cache of ours."""
        if self.decoder.obstacle is not None:
            return self.decoder.obstacle
        if not self.decoder.shares_prefix:
            return "its sliding window is shorter than the prompts"
        if self.config.get_generation_mode() not in (*_STEPWISE, *_BEAMS):
            return "tokens are drafted ahead and taken back"
        if self.config.cache_implementation is not None:
            return "generation_args.cache_implementation asks for another cache"
        if not self.config.use_cache:
            return "generation_args.use_cache is false"
        if has_virtual_tokens(self.model) and self.settings.reads_padding():
            return "an argument looks at the prompt's ids, and the adapter's virtual tokens have none"
        return None

    def _orders(self) -> list[list[int]]:
        """Rows by length, the longest first: all in one list, or a list for each length where padding would matter."""
        ordered = sorted(range(len(self.prompts)), key=lambda row: -len(self.prompts[row]))
        whole = self.opening is None and (self.decoder.obstacle is not None or has_virtual_tokens(self.model))
        if not whole and not self.settings.reads_padding():
            return [ordered]
        return [list(rows) for _, rows in groupby(ordered, key=lambda row: len(self.prompts[row]))]

    def _answer(self, rows: Sequence[int], telling: Telling) -> None:
        ids_BS, mask_BS = self._inputs(rows)
        start = ids_BS.shape[1]
        steps = StepLogprobs(len(rows), stepwise=self.config.get_generation_mode() in _STEPWISE)
        criteria: list[Any] = [steps, telling.batch(len(rows), start)]
        if self.settings.stop_texts is not None:
            criteria.append(StopAtTexts(self.settings.stop_texts, start))
        processors: list[Any] = []
        if self.settings.constraint is not None:
            processors.append(self.settings.constraint.batch(start, self.config.eos_token_id or ()))
        # continuing through a PEFT model would put its virtual tokens in a second time
        model = self.model if self.opening is None or not has_virtual_tokens(self.model) else self.decoder.base
        with steps.listening(self.decoder.base), self._cache(len(rows)) as cache:
            output_BS = model.generate(
                input_ids=ids_BS,
                attention_mask=mask_BS,
                generation_config=self.config,
                logits_processor=processors,
                stopping_criteria=criteria,
                **({} if cache is None else {"past_key_values": cache}),
            )
        table = steps.table()
        for place, (row, new) in enumerate(zip(rows, output_BS[:, start:].tolist(), strict=True)):
            self.answers[row] = self._written(row, new, None if table is None else table[place])

    def _inputs(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Ids [B, S] and mask [B, S]: what is read already, padding, the rest of each prompt."""
        ids_BS, mask_BS = left_padded([self.prompts[row][self.prefix :] for row in rows], self.decoder.device)
        if self.opening is None or not self.opening.ids:
            return ids_BS, mask_BS
        opened_BS = ids_BS.new_tensor([self.opening.ids]).expand(len(rows), -1)
        return torch.cat([opened_BS, ids_BS], dim=1), torch.cat([torch.ones_like(opened_BS), mask_BS], dim=1)

    def _sharing(self) -> contextlib.AbstractContextManager[bool]:
        if self.opening is None:
            return contextlib.nullcontext(False)
        return sharing(self.decoder.base, self.opening.cache)

    def _cache(self, rows: int) -> contextlib.AbstractContextManager[DynamicCache | None]:
        """The cache of a batch; None where transformers makes one."""
        if self.opening is None:
            return contextlib.nullcontext(None)
        if self.shares:
            return reading(self.opening.cache)
        return contextlib.nullcontext(growing_cache(self.opening.cache, rows * (self.config.num_beams or 1)))

    def _written(self, row: int, new: list[int], logprobs: list[float] | None) -> Written:
        """One row's answer from all its new ids, those after its end among them."""
        stops = self.config.eos_token_id or ()
        ids = new[: next((place for place, token in enumerate(new) if token in stops), None)]
        count = min(len(ids) + 1, len(new))
        if self.settings.stop_texts is not None and (end := self.settings.stop_texts.end(ids)) is not None:
            ids, count = ids[:end], end
        if logprobs is None:
            logprobs = reread(self.decoder, self.prompts[row], new[:count])
        return Written(ids, sum(logprobs[:count]), count)


@contextlib.contextmanager
def own_defaults_set_aside(model: Any) -> Iterator[None]:
    """Empty the model's own `generation_config`, whose values fill what a call leaves open; put back afterwards."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    holders = [holder for holder in (base, model) if "generation_config" in vars(holder)]
    own = [holder.generation_config for holder in holders]
    for holder in holders:
        holder.generation_config = GenerationConfig()
    try:
        yield
    finally:
        for holder, config in zip(holders, own, strict=True):
            holder.generation_config = config
