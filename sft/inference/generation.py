"""Generated answers: ids in, new ids out. No configs, tokenizers or data sets.

Prompts run sorted by length, padded on the left, and come back in the caller's order, each cut before its end of turn.
Greedy unless the arguments say `do_sample`: what the model's own `generation_config` suggests is left aside, so that a
result depends on nothing that the user has not written. Where padding would change an answer, prompts of one length run
together. Sampling draws from torch's global generator: the caller seeds it.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby, takewhile
from typing import Any

import torch
from transformers import GenerationConfig

from sft.errors import ModelError
from sft.inference.batching import AnyBatchSize, Capacity, Costs, run_batches
from sft.inference.decoder import Decoder, evaluating, has_virtual_tokens, left_padded
from sft.log import Progress, get_logger, silent

logger = get_logger(__name__)

Ids = Sequence[int]

_SAMPLING = (  # arguments that mean something only with do_sample
    "temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff",
)  # fmt: skip
_READS_PADDING = (  # arguments whose rules look at the prompt's ids, the padding among them
    "repetition_penalty", "no_repeat_ngram_size", "encoder_repetition_penalty", "encoder_no_repeat_ngram_size",
    "sequence_bias", "watermarking_config", "guidance_scale", "prompt_lookup_num_tokens",
)  # fmt: skip
_REFUSED = {
    "num_return_sequences": "one answer per prompt is judged",
    "return_dict_in_generate": "only the ids are used",
    "stop_strings": "answers end at the end of turn",
    "assistant_model": "a second model is not loaded",
}


@dataclass(frozen=True)
class GenerationSettings:
    """How to answer.

    Attributes:
        max_new_tokens: longest answer, in tokens; an argument of that name wins.
        stop_ids: ids that end an answer (the template's end of turn); an `eos_token_id` argument adds to them.
        arguments: further arguments of transformers' `generate`.
    """

    max_new_tokens: int
    stop_ids: Sequence[int] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)


def generate(
    model: torch.nn.Module,
    prompts: Sequence[Ids],
    settings: GenerationSettings,
    *,
    batch_size: AnyBatchSize = "auto",
    progress: Progress = silent,
) -> list[list[int]]:
    """The new ids of each prompt's answer, without end of turn and padding. The model stays as it is.

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
    config = _configured(settings)
    answers: list[list[int]] = [[] for _ in prompts]
    if not prompts:
        return answers
    with evaluating(model), own_defaults_set_aside(model), warnings.catch_warnings():
        # PEFT drops the positions that transformers makes for it, and says so at every step
        warnings.filterwarnings("ignore", message="Position ids are not supported")
        decoder = Decoder(model, max(map(len, prompts)) + config.max_new_tokens)
        capacity = Capacity.of(decoder.device, 1 if config.prompt_lookup_num_tokens else batch_size)
        costs = Costs.of(decoder.base)
        alike = decoder.obstacle is not None or has_virtual_tokens(model) or _reads_padding(settings.arguments)

        def rows_from(row: int, left: int) -> int:
            length = len(prompts[row])
            cost = costs.prompt(length + config.max_new_tokens) * (config.num_beams or 1)
            return capacity.rows(cost, length, left)

        def answer(rows: Sequence[int]) -> None:
            ids_BS, mask_BS = left_padded([prompts[row] for row in rows], decoder.device)
            output_BS = model.generate(input_ids=ids_BS, attention_mask=mask_BS, generation_config=config)
            for row, new in zip(rows, output_BS[:, ids_BS.shape[1] :].tolist(), strict=True):
                answers[row] = _until_stop(new, config.eos_token_id or ())

        finished = 0
        for order in _orders(prompts, alike):
            report = partial(_report, progress, finished, len(prompts))
            run_batches(order, rows_from, answer, capacity, report)
            finished += len(order)
    return answers


def _report(progress: Progress, before: int, total: int, done: int) -> None:
    progress("generate", before + done, total)


def _configured(settings: GenerationSettings) -> Any:
    """The whole of what transformers is told, contradictions taken out."""
    arguments = {name: value for name, value in settings.arguments.items() if value is not None}
    for name, reason in _REFUSED.items():
        if arguments.get(name) not in (None, False, 1):
            raise ModelError(f"inference.generation_args.{name} is not possible here: {reason}")
    if not arguments.get("do_sample"):
        _drop(arguments, _SAMPLING, "answers are greedy unless do_sample is true")
    if arguments.get("num_beams", 1) == 1:
        _drop(arguments, ("early_stopping", "length_penalty"), "they need num_beams above 1")
    _drop(arguments, ("max_length", "min_length"), "lengths are counted in new tokens: max_new_tokens, min_new_tokens")
    more = arguments.pop("eos_token_id", [])
    stop_ids = sorted({*settings.stop_ids, *([more] if isinstance(more, int) else more)})
    arguments = {"max_new_tokens": settings.max_new_tokens, "do_sample": False, "use_cache": True, **arguments}
    for name in _REFUSED:
        arguments.pop(name, None)
    # any id may stand in the padding: it is under the mask, and answers are cut before their first stop id
    padding = {"pad_token_id": stop_ids[0] if stop_ids else 0}
    return GenerationConfig(**{**padding, **arguments, "eos_token_id": stop_ids or None})


def _drop(arguments: dict[str, Any], names: Sequence[str], reason: str) -> None:
    given = [name for name in names if arguments.pop(name, None) is not None]
    if given:
        logger.info("inference.generation_args: %s left out, %s", ", ".join(given), reason)


def _reads_padding(arguments: Mapping[str, Any]) -> bool:
    return any(arguments.get(name) is not None for name in _READS_PADDING)


def _orders(prompts: Sequence[Ids], alike: bool) -> list[list[int]]:
    """Rows by length, the longest first: all in one list, or (`alike`) a list for each length."""
    ordered = sorted(range(len(prompts)), key=lambda row: -len(prompts[row]))
    if not alike:
        return [ordered]
    return [list(rows) for _, rows in groupby(ordered, key=lambda row: len(prompts[row]))]


def _until_stop(ids: list[int], stop_ids: Sequence[int]) -> list[int]:
    return list(takewhile(lambda token: token not in stop_ids, ids))


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
