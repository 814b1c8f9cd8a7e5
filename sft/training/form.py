"""In which form batches reach a model: side by side with what rows share once, padded, or as TRL takes them.

Side by side is exact where the model takes a mask of who sees whom; whether it really does is tried before training, on
rows of the run. Knows nothing of optimisers.
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
from sft.training.base import TrainRequest
from sft.training.collators import IGNORED, CompletionCollator, Masks, PartsCollator, packed
from sft.training.parts import Costs, Part, Row, Splitter, common_prefix

LARGEST_LOGITS = 2**27  # that are made at once: half a GiB, several times in the backward pass
_DROPS = re.compile(r"^(?!classifier|summary).*drop")  # in a model's config; the two are of heads that are not used
_TRIED = 12  # tokens before those that are learnt, for the head's mask

log = get_logger(__name__)
Collator = CompletionCollator | PartsCollator


def choose_collator(request: TrainRequest, arguments: TrainingArguments) -> Collator:
    """How the rows of a request become batches; said in the log.

    Raises:
        ConfigError: `training.shared_prefix` is true, and the model or the rest of the config does not allow it.
    """
    plain = CompletionCollator(padding_id(request.tokenizer))
    asked, ordinary = request.config.shared_prefix, _ordinary(request.model, arguments)
    masks = None
    if (obstacle := ordinary or _obstacle(request, arguments)) is None:
        masks, obstacle = _exact_masks(request, arguments)
    if asked is True and obstacle is not None:
        reason = f"rows cannot share what they begin with: {obstacle}"
        raise ConfigError("", [Problem("training.shared_prefix", reason)])
    if obstacle is None and asked is not False:
        log.info("What rows of a batch begin with is computed once")
        return _parts(request, masks, plain.pad_id)
    if asked is None:
        log.info("What rows of a batch begin with is computed for each row: %s", obstacle)
    padded = _parts(request, None, plain.pad_id)
    if ordinary is None and _computes_padded(request, padded):
        # on CUDA, TRL's head also works on the answers alone, and in pieces
        return plain if request.model.device.type == "cuda" and request.config.max_batch_tokens is None else padded
    if request.config.max_batch_tokens is not None:
        log.warning("training.max_batch_tokens has no effect: %s", ordinary or "the model makes all logits at once")
    return plain


def _parts(request: TrainRequest, masks: Masks | None, pad_id: int) -> PartsCollator:
    config = text_config(base_of(request.model))
    splitter = Splitter(
        Costs.of(config, request.model.device.type == "cpu"),
        shares=masks is not None,
        most_tokens=request.config.max_batch_tokens,
        most_learnt=LARGEST_LOGITS // config.vocab_size,
    )
    return PartsCollator(splitter, masks, pad_id)


def _ordinary(model: Any, arguments: Any) -> str | None:
    """Why the loss has to be TRL's own computation, or None."""
    base = base_of(model)
    config = text_config(base)
    if arguments.loss_type != "nll" or arguments.label_smoothing_factor:
        return "the loss is not the plain one"
    if arguments.use_liger_kernel:
        return "Liger's kernels compute the loss"
    coefficient = arguments.router_aux_loss_coef  # TRL's, over that of the model
    if coefficient is None:
        coefficient = getattr(config, "router_aux_loss_coef", None)
    if hasattr(config, "output_router_logits") and coefficient:
        return "the loss also weighs how its experts are used"
    if arguments.world_size > 1:
        return "there are several processes"
    if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
        return "the adapter puts virtual tokens before each row"
    if re.search("lomo|layerwise", str(arguments.optim)):
        return "the optimiser steps in each backward pass"
    if "logits_to_keep" not in inspect.signature(type(base).forward).parameters:
        return "the model makes the logits of all positions"
    return None


def _obstacle(request: TrainRequest, arguments: Any) -> str | None:
    """Why rows cannot lie side by side, or None."""
    model, base = request.model, base_of(request.model)
    longest = _longest(request)
    if arguments.neftune_noise_alpha:
        return "noise on the embeddings would be the same for all rows"
    structural = refuses_masks(base) or _no_places(base) or _stateful(base)
    if structural is not None:
        return structural
    if (getattr(text_config(base), "attention_chunk_size", None) or longest) < longest:
        return "its attention works in chunks shorter than the rows"
    if getattr(text_config(base), "attn_temperature_tuning", None):
        return "its attention depends on places in the sequence"
    if rope_grows(base, longest):
        return "its position encoding changes with the length of the text"
    if getattr(getattr(model, "active_peft_config", None), "alora_invocation_tokens", None):
        return "the adapter looks for invocation tokens in each row"
    if request.config.shared_prefix is not True and (dropout := _dropout(model)):
        return f"dropout ({dropout}) would be the same for all rows there; training.shared_prefix: true does it anyway"
    return None


def _no_places(base: Any) -> str | None:
    accepts = inspect.signature(type(base).forward).parameters
    return None if "position_ids" in accepts else "the model takes no positions"


def _stateful(base: Any) -> str | None:
    kinds = set(getattr(text_config(base), "layer_types", None) or ())
    other = sorted(kinds - {"full_attention", "sliding_attention", "chunked_attention"})
    if getattr(base, "_is_stateful", False) or other:
        return "the model keeps a running state"
    return None


def _dropout(model: nn.Module) -> str | None:
    """A layer that drops out values of tokens, and how many of them."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Dropout) and module.p > 0:
            return f"{module.p} in {name}"
    settings = text_config(base_of(model)).to_dict()  # of what is dropped out without a module
    shares = {name: share for name, share in settings.items() if _DROPS.search(name) and isinstance(share, float)}
    return next((f"{share} by {name}" for name, share in shares.items() if share > 0), None)


def _windows(request: TrainRequest) -> tuple[tuple[str, int | None], ...]:
    """Sliding windows by type of layer, where one is shorter than a row."""
    base, longest = base_of(request.model), _longest(request)
    short = [window for window in windows(base) if window < longest]
    if not short:
        return (("full_attention", None),)
    kinds = sorted(set(getattr(text_config(base), "layer_types", None) or ("sliding_attention",)))
    return tuple((kind, short[0] if kind == "sliding_attention" else None) for kind in kinds)


def _longest(request: TrainRequest) -> int:
    return max(map(len, (*request.rows, *request.validation)))


def _mask_dtype(model: Any, arguments: Any) -> torch.dtype:
    """That of the scores of attention."""
    if arguments.bf16:
        return torch.bfloat16
    if arguments.fp16:
        return torch.float16
    dtype: torch.dtype = model.get_input_embeddings().weight.dtype
    return dtype


def _exact_masks(request: TrainRequest, arguments: Any) -> tuple[Masks | None, str | None]:
    """The masks with which rows side by side give what each gives alone; or what is wrong with them.

    An architecture that makes something of its own of masks, windows or positions would train on something else, and
    nothing would say so.
    """
    dtype, windows_of_config = _mask_dtype(request.model, arguments), _windows(request)
    masks = Masks(dtype, windows_of_config)
    fault = _fault(request, masks)
    if fault is None or not any(window for _, window in windows_of_config):
        return masks, fault
    full = Masks(dtype, tuple((kind, None) for kind, _ in windows_of_config))
    if _fault(request, full) is not None:
        return masks, fault
    log.info("Rows are packed without the sliding window of the model's config: with it, %s", fault)
    return full, None


def _fault(request: TrainRequest, masks: Masks) -> str | None:
    """Try the longest row behind the shortest: what is wrong with its learnt tokens, or None."""
    model = request.model
    by_length = sorted(request.rows, key=len)
    rows = [Row([*row.prompt_ids, *row.completion_ids], len(row.prompt_ids)) for row in (by_length[0], by_length[-1])]
    together = packed(rows, Part((0, 1), common_prefix(*rows)), masks)
    learnt = rows[1].ids[rows[1].start :]
    del together["targets"]
    casting = masks.dtype != model.get_input_embeddings().weight.dtype
    try:
        with (
            torch.no_grad(),
            at_rest(model),
            torch.autocast(model.device.type, masks.dtype) if casting else nullcontext(),
        ):
            packed_TV = _logits(model, together)[0, -len(learnt) :]
            fed_1S = torch.tensor([rows[1].ids[:-1]], device=model.device)
            plain_TV = plain_logits(model, fed_1S, len(learnt))[0]
        fast_T, plain_T = (chosen_logprobs(logits_TV, learnt) for logits_TV in (packed_TV, plain_TV))
        require_agreement(fast_T, plain_T, tolerance(model, masks.dtype) * largest(plain_TV), "log-probabilities")
    except FAILURES as error:
        if (fault := failed(error)) is None:
            raise
        return fault
    return None


def _computes_padded(request: TrainRequest, collator: PartsCollator) -> bool:
    """Whether the model's head takes a mask of the tokens to work on, which not all code beyond the library does."""
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
        log.info("The model's head works on every position: it takes no mask of them (%s)", one_line(error))
        return False


def _logits(model: Any, inputs: dict[str, Any]) -> Tensor:
    logits_BTV: Tensor = model(**send_to_device(inputs, model.device), use_cache=False).logits
    return logits_BTV.float()
