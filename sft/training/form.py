"""Choose the form of training batches: packed with the shared prefix once, padded, or TRL's own.

Packing is exact if the model respects a custom attention mask. A trial on rows of the run checks this before training.
"""

from __future__ import annotations

import inspect
import re
from contextlib import nullcontext
from typing import Any

import torch
from accelerate.utils import send_to_device
from torch import Tensor, nn
from transformers import TrainingArguments

from sft.errors import ConfigError, Problem
from sft.foreign import one_line
from sft.log import get_logger
from sft.model.structure import base_of, refuses_masks, rope_grows, text_config, windows
from sft.model.tokenizer import padding_id
from sft.model.trial import FAILURES, chosen_logprobs, failed, largest, plain_logits, require_agreement, tolerance
from sft.modes import at_rest
from sft.protocols import LanguageModel
from sft.training.base import TrainRequest
from sft.training.collators import IGNORED, CompletionCollator, Masks, PartsCollator, packed
from sft.training.parts import Costs, Part, Row, Splitter, common_prefix

LARGEST_LOGITS = 2**27  # logits computed at once: half a GiB, and several times that in the backward pass
_DROPS = re.compile(
    r"^(?!classifier|summary).*drop"
)  # keys in a model's config; the two exceptions belong to unused heads
_TRIED = 12  # tokens before the target in the trial of the head's mask

log = get_logger(__name__)
Collator = CompletionCollator | PartsCollator


def choose_collator(request: TrainRequest, arguments: TrainingArguments) -> Collator:
    """Return the collator for the rows of a request, and log the choice.

    Raises:
        ConfigError: `training.shared_prefix` is true, but the model or the rest of the config does not allow it.
    """
    plain = CompletionCollator(padding_id(request.tokenizer))
    shared_prefix, split_obstacle = request.config.shared_prefix, _split_obstacle(request.model, arguments)
    masks = None
    if (obstacle := split_obstacle or _packing_obstacle(request, arguments)) is None:
        masks, obstacle = _exact_masks(request, arguments)
    if shared_prefix is True and obstacle is not None:
        raise ConfigError("", [Problem("training.shared_prefix", f"prefix sharing is not possible: {obstacle}")])
    if obstacle is None and shared_prefix is not False:
        log.info("Prefix sharing is on")
        return _parts(request, masks, plain.pad_id)
    if shared_prefix is None:
        log.info("Prefix sharing is off: %s", obstacle)
    padded = _parts(request, None, plain.pad_id)
    if split_obstacle is None and _accepts_logits_mask(request, padded):
        # on CUDA, TRL's head also computes only the logits for answers, in chunks
        return plain if request.model.device.type == "cuda" and request.config.max_batch_tokens is None else padded
    if request.config.max_batch_tokens is not None:
        reason = split_obstacle or "the model computes all logits at once"
        log.warning("training.max_batch_tokens has no effect: %s", reason)
    return plain


def _parts(request: TrainRequest, masks: Masks | None, pad_id: int) -> PartsCollator:
    config = text_config(base_of(request.model))
    splitter = Splitter(
        Costs.of(config, request.model.device.type == "cpu"),
        shares=masks is not None,
        most_tokens=request.config.max_batch_tokens,
        most_targets=LARGEST_LOGITS // config.vocab_size,
    )
    return PartsCollator(splitter, masks, pad_id)


def _split_obstacle(model: LanguageModel, arguments: Any) -> str | None:
    """Return the reason why TRL itself must compute the loss of whole batches, or None."""
    base = base_of(model)
    config = text_config(base)
    if arguments.loss_type != "nll" or arguments.label_smoothing_factor:
        return "the loss is not the default one"
    if arguments.use_liger_kernel:
        return "Liger kernels compute the loss"
    coefficient = arguments.router_aux_loss_coef  # TRL's value overrides the model's
    if coefficient is None:
        coefficient = getattr(config, "router_aux_loss_coef", None)
    if hasattr(config, "output_router_logits") and coefficient:
        return "the loss includes an auxiliary loss for experts"
    if arguments.world_size > 1:
        return "training runs in several processes"
    if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
        return "the adapter puts virtual tokens before each row"
    if re.search("lomo|layerwise", str(arguments.optim)):
        return "the optimiser takes a step in every backward pass"
    if "logits_to_keep" not in inspect.signature(type(base).forward).parameters:
        return "the model always computes the logits of all positions"
    return None


def _packing_obstacle(request: TrainRequest, arguments: Any) -> str | None:
    """Return the reason why rows cannot be packed, or None."""
    model, base = request.model, base_of(request.model)
    longest = _longest(request)
    if arguments.neftune_noise_alpha:
        return "all rows would share the noise on the embeddings"
    structural = refuses_masks(base) or _no_positions(base) or _stateful(base)
    if structural is not None:
        return structural
    if (getattr(text_config(base), "attention_chunk_size", None) or longest) < longest:
        return "the model's attention works in chunks shorter than the rows"
    if getattr(text_config(base), "attn_temperature_tuning", None):
        return "the model's attention depends on the position in the sequence"
    if rope_grows(base, longest):
        return "the model's position encoding changes with the length of the text"
    if getattr(getattr(model, "active_peft_config", None), "alora_invocation_tokens", None):
        return "the adapter searches each row for invocation tokens"
    if request.config.shared_prefix is not True and (dropout := _dropout(model)):
        return f"all rows would share the prefix's dropout ({dropout}); to accept it, set training.shared_prefix: true"
    return None


def _no_positions(base: LanguageModel) -> str | None:
    accepts = inspect.signature(type(base).forward).parameters
    return None if "position_ids" in accepts else "the model does not accept position ids"


def _stateful(base: LanguageModel) -> str | None:
    kinds = set(getattr(text_config(base), "layer_types", None) or ())
    other = sorted(kinds - {"full_attention", "sliding_attention", "chunked_attention"})
    if getattr(base, "_is_stateful", False) or other:
        return "the model keeps a running state"
    return None


def _dropout(model: LanguageModel) -> str | None:
    """Return the rate and name of a dropout layer or setting that is active, or None."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Dropout) and module.p > 0:
            return f"{module.p} in {name}"
    settings = text_config(base_of(model)).to_dict()  # for dropout without a module
    rates = {name: rate for name, rate in settings.items() if _DROPS.search(name) and isinstance(rate, float)}
    return next((f"{rate} by {name}" for name, rate in rates.items() if rate > 0), None)


def _windows(request: TrainRequest) -> tuple[tuple[str, int | None], ...]:
    """Return the sliding window by type of layer, if one is shorter than a row."""
    base, longest = base_of(request.model), _longest(request)
    short = [window for window in windows(base) if window < longest]
    if not short:
        return (("full_attention", None),)
    kinds = sorted(set(getattr(text_config(base), "layer_types", None) or ("sliding_attention",)))
    return tuple((kind, short[0] if kind == "sliding_attention" else None) for kind in kinds)


def _longest(request: TrainRequest) -> int:
    return max(map(len, (*request.rows, *request.validation)))


def _mask_dtype(model: LanguageModel, arguments: Any) -> torch.dtype:
    """Return the dtype of the attention scores."""
    if arguments.bf16:
        return torch.bfloat16
    if arguments.fp16:
        return torch.float16
    dtype: torch.dtype = model.get_input_embeddings().weight.dtype
    return dtype


def _exact_masks(request: TrainRequest, arguments: Any) -> tuple[Masks | None, str | None]:
    """Return masks with which packed rows give the same logits as single rows, and the reason if there are none.

    An architecture that handles masks, windows or positions in its own way would otherwise silently train on something
    else.
    """
    dtype, windows_of_config = _mask_dtype(request.model, arguments), _windows(request)
    masks = Masks(dtype, windows_of_config)
    mismatch = _mismatch(request, masks)
    if mismatch is None or not any(window for _, window in windows_of_config):
        return masks, mismatch
    full = Masks(dtype, tuple((kind, None) for kind, _ in windows_of_config))
    if _mismatch(request, full) is not None:
        return masks, mismatch
    log.info("Rows are packed without the sliding window of the model's config: with it, %s", mismatch)
    return full, None


def _mismatch(request: TrainRequest, masks: Masks) -> str | None:
    """Pack the longest row after the shortest. Return how its log-probabilities differ from those alone, or None."""
    model = request.model
    by_length = sorted(request.rows, key=len)
    rows = [Row([*row.prompt_ids, *row.completion_ids], len(row.prompt_ids)) for row in (by_length[0], by_length[-1])]
    inputs = packed(rows, Part((0, 1), common_prefix(*rows)), masks)
    targets = rows[1].ids[rows[1].start :]
    del inputs["targets"]
    casting = masks.dtype != model.get_input_embeddings().weight.dtype
    try:
        with (
            torch.no_grad(),
            at_rest(model),
            torch.autocast(model.device.type, masks.dtype) if casting else nullcontext(),
        ):
            packed_TV = _logits(model, inputs)[0, -len(targets) :]
            ids_1S = torch.tensor([rows[1].ids[:-1]], device=model.device)
            plain_TV = plain_logits(model, ids_1S, len(targets))[0]
        packed_T, plain_T = (chosen_logprobs(logits_TV, targets) for logits_TV in (packed_TV, plain_TV))
        require_agreement(packed_T, plain_T, tolerance(model, masks.dtype) * largest(plain_TV), "log-probabilities")
    except FAILURES as error:
        if (mismatch := failed(error)) is None:
            raise
        return mismatch
    return None


def _accepts_logits_mask(request: TrainRequest, collator: PartsCollator) -> bool:
    """Return whether the model accepts `logits_to_keep` as a mask. Models outside transformers may not."""
    row = request.rows[0]
    ids, start = [*row.prompt_ids, *row.completion_ids], len(row.prompt_ids)
    first = slice(max(0, start - _TRIED), start + 1)
    labels = [IGNORED] * (len(ids[first]) - 1) + ids[first][-1:]
    (part,) = collator([{"input_ids": ids[first], "labels": labels}])["parts"]
    targets = part.pop("targets")
    try:
        with torch.no_grad(), at_rest(request.model):
            return _logits(request.model, part).flatten(0, -2).shape[0] == len(targets)
    except (IndexError, TypeError, ValueError, RuntimeError) as error:
        log.info("The model computes the logits of all positions: it does not accept a mask (%s)", one_line(error))
        return False


def _logits(model: LanguageModel, inputs: dict[str, Any]) -> Tensor:
    logits_BTV: Tensor = model(**send_to_device(inputs, model.device), use_cache=False).logits
    return logits_BTV.float()
