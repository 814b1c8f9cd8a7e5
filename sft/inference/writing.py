"""Generate answers in one way, from the shared prefix of all prompts to each answer's ids and log-probability.

A trial (`answer_trial.py`) checks batches to find out whether the way is exact for the model.

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
from sft.inference.generating.criteria import GenerationProgress, StopAtTexts
from sft.inference.generating.growing_cache import growing_cache
from sft.inference.generating.logprobs import StepLogprobs, reread
from sft.inference.generating.shared_prefix_attention import reading, sharing
from sft.inference.scoring.packed_scorer import SHORTEST_PREFIX, common_prefix
from sft.inference.ways import Way
from sft.log import Progress, get_logger
from sft.protocols import LanguageModel

logger = get_logger(__name__)

Ids = Sequence[int]
_STEPWISE = (GenerationMode.GREEDY_SEARCH, GenerationMode.SAMPLE)  # one forward gives one token of each row
_BEAMS = (GenerationMode.BEAM_SEARCH, GenerationMode.BEAM_SAMPLE)
_TRIED_STEPS = 3  # tokens, if the run's own steps cannot be compared


class Written(NamedTuple):
    """One answer.

    Attributes:
        ids: ids without the end of turn; a stop string that ended the answer is included.
        logprob: log-probability of the answer, its end included, under the unmodified model distribution.
        tokens: number of tokens that `logprob` counts.
        fallback: the slower way that was used and why, where the model's cache failed a check; else None.
    """

    ids: list[int]
    logprob: float
    tokens: int
    fallback: str | None = None


class _SharedPrefix(NamedTuple):
    """The prefix of all rows, already read into a cache.

    Attributes:
        ids: placeholders for an adapter's virtual tokens, then the shared prefix of the prompts.
        prefix: number of ids that come from the prompts.
        cache: a one-row cache of the ids.
    """

    ids: list[int]
    prefix: int
    cache: DynamicCache


class Writer:
    """One call of `generate`, in one way.

    Args:
        model: a transformers or PEFT model.
        prompts: lists of ids, none empty.
        settings: generation settings of the run.
        way: the way of generating.
    """

    def __init__(self, model: LanguageModel, prompts: Sequence[Ids], settings: GenerationSettings, way: Way) -> None:
        self.model, self.prompts, self.settings = model, prompts, settings
        self.way, self.decoder, self.config = way, way.decoder, way.config
        self.shared = self._read_prefix()
        self.prefix = self.shared.prefix if self.shared is not None else 0
        self.answers: list[Written | None] = [None] * len(prompts)
        self.shares = False  # one copy of the prefix for all rows
        self.trial: AnswerTrial | None = None

    def run(self, batch_size: BatchSize, progress: Progress, trial: AnswerTrial | None) -> list[Written]:
        """Generate all answers, in the order of the prompts.

        Raises:
            DisagreementError: `trial` found a wrong row.
        """
        self.trial = trial
        drafts = self.config.get_generation_mode() == GenerationMode.ASSISTED_GENERATION  # one prompt at a time
        with self._sharing() as self.shares:
            self._run(Capacity.of(self.decoder.device, 1 if drafts else batch_size), progress)
        return [answer for answer in self.answers if answer is not None]

    def _run(self, capacity: Capacity, progress: Progress) -> None:
        costs, beams = Costs.of(self.decoder.base), self.config.num_beams or 1
        prefix_tokens = len(self.shared.ids) if self.shared is not None else 0
        copied = costs.cached_layer if self.shares else costs.cached  # per row: one layer at a time, or all layers
        tracker = GenerationProgress(progress, len(self.prompts), self.config.max_new_tokens)

        def rows_from(row: int, left: int) -> int:
            length = len(self.prompts[row]) - self.prefix
            cost = costs.prompt(length + self.config.max_new_tokens) + prefix_tokens * copied
            return capacity.rows(cost * beams, length, left)

        finished = 0
        for order in self._orders():
            report = partial(tracker.done, finished)
            run_batches(order, rows_from, lambda rows: self._answer(rows, tracker), capacity, report)
            finished += len(order)

    def _read_prefix(self) -> _SharedPrefix | None:
        """Read the shared prefix of the prompts; None if each prompt has to be read whole."""
        if self.way.plain:
            return None
        prefix = common_prefix(self.prompts)
        prefix = prefix if prefix >= SHORTEST_PREFIX else 0
        if (reason := self._obstacle()) is not None:
            if prefix:
                logger.info(
                    "Prefix sharing is off, each prompt is read with the %d tokens that all share: %s", prefix, reason
                )
            return None
        cache = self.decoder.prefix_cache(self.prompts[0][:prefix])
        placeholders = [0] * (cache.get_seq_length() - prefix)
        return _SharedPrefix([*placeholders, *self.prompts[0][:prefix]], prefix, cache)

    def _obstacle(self) -> str | None:
        """Return the reason why `generate` cannot continue exactly from a prefix cache, or None."""
        if self.decoder.obstacle is not None:
            return self.decoder.obstacle
        if not self.decoder.shares_prefix:
            return "its sliding window is shorter than the prompts"
        if self.config.get_generation_mode() not in (*_STEPWISE, *_BEAMS):
            return "tokens are drafted ahead and may be rejected"
        if self.config.cache_implementation is not None:
            return "generation_args.cache_implementation asks for another cache"
        if not self.config.use_cache:
            return "generation_args.use_cache is false"
        if has_virtual_tokens(self.model) and self.settings.reads_padding():
            return "an argument depends on the prompt's ids, and the adapter's virtual tokens have none"
        return None

    def _orders(self) -> list[list[int]]:
        """Return rows by length, the longest first: in one list, or in a list for each length if padding matters."""
        whole = self.shared is None and (self.decoder.obstacle is not None or has_virtual_tokens(self.model))
        if not (whole or self.way.plain or self.settings.reads_padding()):
            return [padded_first([len(prompt) for prompt in self.prompts])]
        ordered = sorted(range(len(self.prompts)), key=lambda row: -len(self.prompts[row]))
        return [list(rows) for _, rows in groupby(ordered, key=lambda row: len(self.prompts[row]))]

    def _answer(self, rows: Sequence[int], tracker: GenerationProgress) -> None:
        stepwise = self.config.get_generation_mode() in _STEPWISE
        if not stepwise:
            self._try_steps(rows)
        new_BT, table = self._generated(rows, tracker, stepwise)
        for index, (row, new) in enumerate(zip(rows, new_BT, strict=True)):
            self.answers[row] = self._written(row, new, None if table is None else table[index])
        if table is None and stepwise:
            self._try_steps(rows)
        elif table is not None and self.trial is not None:
            # up to the end, but two tokens if available, since only the second one needs the cache
            ends = [max(self._count(new), min(len(new), 2)) for new in new_BT]
            answers = [new[:end] for new, end in zip(new_BT, ends, strict=True)]
            self.trial.check([self.prompts[row] for row in rows], answers, table)

    def _generated(
        self, rows: Sequence[int], tracker: GenerationProgress, stepwise: bool
    ) -> tuple[list[list[int]], list[list[float]] | None]:
        """Generate the new ids of each row, and their log-probabilities if every step is one forward."""
        ids_BS, mask_BS = self._inputs([self.prompts[row] for row in rows])
        start = ids_BS.shape[1]
        steps = StepLogprobs(len(rows), stepwise)
        criteria: list[Any] = [steps, tracker.batch(len(rows), start)]
        if self.settings.stop_texts is not None:
            criteria.append(StopAtTexts(self.settings.stop_texts, start))
        processors: list[Any] = []
        if self.settings.constraint is not None:
            processors.append(self.settings.constraint.batch(start, self.config.eos_token_id or ()))
        output_BS = self._generate(ids_BS, mask_BS, self.config, steps, criteria, processors)
        return output_BS[:, start:].tolist(), steps.table()

    def _generate(
        self,
        ids_BS: Tensor,
        mask_BS: Tensor,
        config: GenerationConfig,
        steps: StepLogprobs,
        criteria: list[Any],
        processors: list[Any],
    ) -> Tensor:
        # a PEFT model would insert its virtual tokens a second time
        model = self.model if self.shared is None or not has_virtual_tokens(self.model) else self.decoder.base
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
        """Try the cache with some greedy steps if the run's own steps are not one forward each (beams, drafts).

        The steps follow a text of the greatest possible length, made of a row's own ids, and a short padded one.
        """
        longest, room = list(self.prompts[rows[0]]), max(0, self.config.max_new_tokens - _TRIED_STEPS)
        if self.trial is None or not self.trial.is_due(len(longest) + room):
            return
        extended = [*longest, *(longest[index % len(longest)] for index in range(room))]
        # no padding if the run has none
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
        """Return ids [B, S] and mask [B, S]: the shared prefix, padding, the rest of each prompt."""
        ids_BS, mask_BS = left_padded([prompt[self.prefix :] for prompt in prompts], self.decoder.device)
        if self.shared is None or not self.shared.ids:
            return ids_BS, mask_BS
        prefix_BS = ids_BS.new_tensor([self.shared.ids]).expand(len(prompts), -1)
        return torch.cat([prefix_BS, ids_BS], dim=1), torch.cat([torch.ones_like(prefix_BS), mask_BS], dim=1)

    def _sharing(self) -> contextlib.AbstractContextManager[bool]:
        if self.shared is None:
            return contextlib.nullcontext(False)
        return sharing(self.decoder.base, self.shared.cache)

    def _cache(self, rows: int) -> contextlib.AbstractContextManager[DynamicCache | None]:
        """Return the cache of a batch of `rows` rows (or beams); None if transformers makes it."""
        if self.shared is None:
            # a full cache also grows with its input
            return contextlib.nullcontext(None if self.decoder.windowed else self.decoder.empty_cache())
        if self.shares:
            return reading(self.shared.cache)
        return contextlib.nullcontext(growing_cache(self.shared.cache, rows))

    def _written(self, row: int, new: list[int], logprobs: list[float] | None) -> Written:
        """Build one row's answer from all its new ids, including those after its end."""
        count, stops = self._count(new), self.config.eos_token_id or ()
        ids = new[: next((index for index, token in enumerate(new[:count]) if token in stops), count)]
        if logprobs is None:
            logprobs = reread(self.decoder, self.prompts[row], new[:count])
        return Written(ids, sum(logprobs[:count]), count)

    def _count(self, new: list[int]) -> int:
        """Return how many of a row's new ids belong to its answer, its end included."""
        stops = self.config.eos_token_id or ()
        ids = new[: next((index for index, token in enumerate(new) if token in stops), None)]
        if self.settings.stop_texts is not None and (end := self.settings.stop_texts.end(ids)) is not None:
            return end
        return min(len(ids) + 1, len(new))
