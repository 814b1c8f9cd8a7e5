"""One way of generating answers, from the opening that all prompts share to each answer's ids and log-probability.

Whether it is exact for the model is not known here: a trial (`answer_trial.py`) looks at the batches.

Shapes: B rows, S ids of a row.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache, GenerationConfig
from transformers.generation import GenerationMode

from sft.inference.answer_trial import AnswerTrial
from sft.inference.batching import BatchSize, Capacity, Costs, padded_first, run_batches
from sft.inference.decoder import has_virtual_tokens, left_padded
from sft.inference.generating.arguments import GenerationSettings
from sft.inference.generating.criteria import StopAtTexts, Telling
from sft.inference.generating.growing_cache import growing_cache
from sft.inference.generating.logprobs import StepLogprobs, reread
from sft.inference.generating.shared_prefix_attention import reading, sharing
from sft.inference.scoring.packed_scorer import SHORTEST_PREFIX, common_prefix
from sft.inference.ways import Way
from sft.log import Progress, get_logger

logger = get_logger(__name__)

Ids = Sequence[int]
_STEPWISE = (GenerationMode.GREEDY_SEARCH, GenerationMode.SAMPLE)  # one forward, one token of each row
_BEAMS = (GenerationMode.BEAM_SEARCH, GenerationMode.BEAM_SAMPLE)
_TRIED_STEPS = 3  # tokens, where the run's own steps cannot be compared


class Written(NamedTuple):
    """One answer.

    Attributes:
        ids: without the end of turn; the text that ended it (`stop_texts`) is still in them.
        logprob: of all that was written, what ended it included, under the model's own distribution.
        tokens: how many ids that is.
        fallback: how it was made where the model's cache is not what its config promises, and why, else None.
    """

    ids: list[int]
    logprob: float
    tokens: int
    fallback: str | None = None


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


class Writer:
    """One call of `generate`, in one way.

    Args:
        model: of transformers or PEFT.
        prompts: lists of ids, none empty.
        settings: how to answer.
        way: how to generate.
    """

    def __init__(self, model: Any, prompts: Sequence[Ids], settings: GenerationSettings, way: Way) -> None:
        self.model, self.prompts, self.settings = model, prompts, settings
        self.way, self.decoder, self.config = way, way.decoder, way.config
        self.opening = self._opened()
        self.prefix = self.opening.prefix if self.opening is not None else 0
        self.answers: list[Written | None] = [None] * len(prompts)
        self.shares = False  # one copy of the opening for all rows
        self.trial: AnswerTrial | None = None

    def run(self, batch_size: BatchSize, progress: Progress, trial: AnswerTrial | None) -> list[Written]:
        """All answers, in the order of the prompts.

        Raises:
            DisagreementError: `trial` found a row to be wrong.
        """
        self.trial = trial
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
        if self.way.plain:
            return None
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
        whole = self.opening is None and (self.decoder.obstacle is not None or has_virtual_tokens(self.model))
        if not (whole or self.way.plain or self.settings.reads_padding()):
            return [padded_first([len(prompt) for prompt in self.prompts])]
        ordered = sorted(range(len(self.prompts)), key=lambda row: -len(self.prompts[row]))
        return [list(rows) for _, rows in groupby(ordered, key=lambda row: len(self.prompts[row]))]

    def _answer(self, rows: Sequence[int], telling: Telling) -> None:
        stepwise = self.config.get_generation_mode() in _STEPWISE
        if not stepwise:
            self._try_steps(rows)
        new_BT, table = self._generated(rows, telling, stepwise)
        for place, (row, new) in enumerate(zip(rows, new_BT, strict=True)):
            self.answers[row] = self._written(row, new, None if table is None else table[place])
        if table is None and stepwise:
            self._try_steps(rows)
        elif table is not None and self.trial is not None:
            # up to its end, but two tokens if there are, since only the second one needs the cache
            ends = [max(self._count(new), min(len(new), 2)) for new in new_BT]
            answers = [new[:end] for new, end in zip(new_BT, ends, strict=True)]
            self.trial.check([self.prompts[row] for row in rows], answers, table)

    def _generated(
        self, rows: Sequence[int], telling: Telling, stepwise: bool
    ) -> tuple[list[list[int]], list[list[float]] | None]:
        """The new ids of each row, and the log-probability of each where every step is one forward."""
        ids_BS, mask_BS = self._inputs([self.prompts[row] for row in rows])
        start = ids_BS.shape[1]
        steps = StepLogprobs(len(rows), stepwise)
        criteria: list[Any] = [steps, telling.batch(len(rows), start)]
        if self.settings.stop_texts is not None:
            criteria.append(StopAtTexts(self.settings.stop_texts, start))
        processors: list[Any] = []
        if self.settings.constraint is not None:
            processors.append(self.settings.constraint.batch(start, self.config.eos_token_id or ()))
        output_BS = self._generate(ids_BS, mask_BS, self.config, steps, criteria, processors)
        return output_BS[:, start:].tolist(), steps.table()

    def _generate(
        self, ids_BS: Tensor, mask_BS: Tensor, config: Any, steps: StepLogprobs, criteria: list[Any], processors: Any
    ) -> Tensor:
        # continuing through a PEFT model would put its virtual tokens in a second time
        model = self.model if self.opening is None or not has_virtual_tokens(self.model) else self.decoder.base
        if self.way.plain:
            self.decoder.forget_lengths()
        with steps.listening(self.decoder.base), self._cache(len(ids_BS) * (config.num_beams or 1)) as cache:
            output_BS: Tensor = model.generate(
                input_ids=ids_BS,
                attention_mask=mask_BS,
                generation_config=config,
                logits_processor=processors,
                stopping_criteria=criteria,
                **({} if cache is None else {"past_key_values": cache}),
            )
        return output_BS

    def _try_steps(self, rows: Sequence[int]) -> None:
        """Try the cache where the run's own steps are not one forward each (beams, drafts): some greedy steps.

        They come after a text as long as the longest one of the rows may become, made of its own ids, and after a
        short one that is padded.
        """
        longest, room = list(self.prompts[rows[0]]), max(0, self.config.max_new_tokens - _TRIED_STEPS)
        if self.trial is None or not self.trial.is_due(len(longest) + room):
            return
        extended = [*longest, *(longest[place % len(longest)] for place in range(room))]
        # no padding where the run has none
        padded = [row for row in rows[1:2] if len(self.prompts[row]) < len(longest)]
        few = [extended, *(list(self.prompts[row]) for row in padded)]
        ids_BS, mask_BS = self._inputs(few)
        steps, start = StepLogprobs(len(few), stepwise=True), ids_BS.shape[1]
        config = GenerationConfig(
            max_new_tokens=_TRIED_STEPS, do_sample=False, use_cache=self.config.use_cache, pad_token_id=0,
            cache_implementation=self.config.cache_implementation,
        )  # fmt: skip
        output_BS = self._generate(ids_BS, mask_BS, config, steps, [steps], [])
        table = steps.table()
        if table is not None:
            self.trial.check(few, output_BS[:, start:].tolist(), table)

    def _inputs(self, prompts: Sequence[Ids]) -> tuple[Tensor, Tensor]:
        """Ids [B, S] and mask [B, S]: what is read already, padding, the rest of each prompt."""
        ids_BS, mask_BS = left_padded([prompt[self.prefix :] for prompt in prompts], self.decoder.device)
        if self.opening is None or not self.opening.ids:
            return ids_BS, mask_BS
        opened_BS = ids_BS.new_tensor([self.opening.ids]).expand(len(prompts), -1)
        return torch.cat([opened_BS, ids_BS], dim=1), torch.cat([torch.ones_like(opened_BS), mask_BS], dim=1)

    def _sharing(self) -> contextlib.AbstractContextManager[bool]:
        if self.opening is None:
            return contextlib.nullcontext(False)
        return sharing(self.decoder.base, self.opening.cache)

    def _cache(self, rows: int) -> contextlib.AbstractContextManager[DynamicCache | None]:
        """The cache of a batch, for so many rows (or beams); None where transformers makes one."""
        if self.opening is None:
            # a full one also grows with what it is given
            return contextlib.nullcontext(None if self.decoder.windowed else self.decoder.empty_cache())
        if self.shares:
            return reading(self.opening.cache)
        return contextlib.nullcontext(growing_cache(self.opening.cache, rows))

    def _written(self, row: int, new: list[int], logprobs: list[float] | None) -> Written:
        """One row's answer from all its new ids, those after its end among them."""
        count, stops = self._count(new), self.config.eos_token_id or ()
        ids = new[: next((place for place, token in enumerate(new[:count]) if token in stops), count)]
        if logprobs is None:
            logprobs = reread(self.decoder, self.prompts[row], new[:count])
        return Written(ids, sum(logprobs[:count]), count)

    def _count(self, new: list[int]) -> int:
        """How many of a row's new ids are its answer, what ended it included."""
        stops = self.config.eos_token_id or ()
        ids = new[: next((place for place, token in enumerate(new) if token in stops), None)]
        if self.settings.stop_texts is not None and (end := self.settings.stop_texts.end(ids)) is not None:
            return end
        return min(len(ids) + 1, len(new))
