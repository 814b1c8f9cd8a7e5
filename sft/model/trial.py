"""A trial: what a fast form computes for one row of the run, against the model's plain forward of that row.

Caches, packed rows and masks are chosen by what a model's config and signature say. Some architectures then compute
something else: they ignore a window that their config names, or number the tokens themselves. The numbers would be
wrong and nothing would say so. So one row is computed again, alone and whole, before the others are believed. Scoring,
generation and training all ask here. It knows ids and numbers; no labels, prompts or trainers.

Shapes: B rows, S tokens, T tokens whose logits are wanted, V vocabulary.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from sft.errors import SftError
from sft.foreign import one_line
from sft.memory import is_out_of_memory
from sft.model.quantization import quantization_method
from sft.model.structure import base_of, text_config

# Largest difference of log-probabilities that rounding makes, relative to the largest logit: the forms sum the same
# numbers in another order. Measured with two trained models and random ones of up to 32 layers: 1.9e-6 in float32,
# 1.3e-2 in bfloat16, 1.6e-3 in float16 (it grows with depth). Where activations are quantised, it also depends on what
# else is in the batch: 2.5e-2 with bitsandbytes' default threshold.
TOLERANCE = {torch.float64: 2e-5, torch.float32: 2e-5, torch.bfloat16: 2e-2, torch.float16: 4e-3}
QUANTISED_TOLERANCE = 5e-2


class DisagreementError(SftError):
    """A fast form does not compute what the plain forward computes. Caught by whoever has another form."""


# what a trial may end with; beside a disagreement, what a model raises that is fed in an unusual way
FAILURES = (DisagreementError, RuntimeError, ValueError, TypeError, LookupError, AttributeError)


def plain_logits(model: Any, ids_BS: Tensor, keep: int) -> Tensor:
    """Logits [B, keep, V] at the last tokens of rows of one length: no cache, no padding, no positions of ours."""
    accepts = inspect.signature(base_of(model).forward).parameters
    hands_on = any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepts.values())
    options: dict[str, Any] = {"use_cache": False} if "use_cache" in accepts or hands_on else {}
    if "logits_to_keep" in accepts:
        options["logits_to_keep"] = keep
    logits: Tensor = model(input_ids=ids_BS, attention_mask=torch.ones_like(ids_BS), **options).logits
    return logits[:, -keep:]


def chosen_logprobs(logits_TV: Tensor, ids: Sequence[int]) -> Tensor:
    """The log-probability [T] of each id at its position, from an fp32 log-softmax."""
    return logits_TV.float().log_softmax(dim=-1)[range(len(ids)), list(ids)]


def tolerance(model: Any, dtype: torch.dtype | None = None) -> float:
    """Largest difference from a plain forward, relative to the largest logit, that rounding explains.

    Args:
        model: a transformers or PEFT model.
        dtype: of its activations; None: the model's own.
    """
    base = base_of(model)
    dtype = dtype or base.dtype
    if dtype == torch.float32 and base.device.type == "cuda" and "tf32" in _cuda_precisions():
        dtype = torch.float16  # of as many bits as products in TF32
    if not quantization_method(base):
        return TOLERANCE.get(dtype, QUANTISED_TOLERANCE)
    return QUANTISED_TOLERANCE if _quantises_activations(base) else TOLERANCE[torch.bfloat16]


def _cuda_precisions() -> tuple[str, str]:
    return torch.backends.fp32_precision, torch.backends.cuda.matmul.fp32_precision


def _quantises_activations(base: Any) -> bool:
    """Whether more than the weights is quantised, as far as is known: no weights-only method of the usual ones."""
    method = quantization_method(base)
    if method == "bitsandbytes":
        return bool(getattr(base, "is_loaded_in_8bit", False))
    return method not in ("gptq", "awq")


def largest(logits: Tensor) -> float:
    """The largest finite logit, by size; at least 1."""
    sizes = logits.float().abs()
    return float(sizes[sizes.isfinite()].max().clamp_min(1.0)) if sizes.isfinite().any() else 1.0


def difference(fast: Tensor, plain: Tensor) -> Tensor:
    """How far numbers are apart. Equal infinities are not, nor is anything from a plain number that is NaN."""
    fast, plain = fast.double().cpu(), plain.double().cpu()
    gaps = torch.where((fast == plain) | plain.isnan(), 0.0, (fast - plain).abs())
    return gaps.nan_to_num(nan=torch.inf, posinf=torch.inf)


def require_agreement(fast: Tensor, plain: Tensor, allowed: float | Tensor, what: str) -> None:
    """Compare numbers of one row.

    Args:
        fast: of the form on trial.
        plain: the same of a plain forward.
        allowed: the largest difference, of all or of each.
        what: the numbers, for the message: "its … differ by …".

    Raises:
        DisagreementError: they differ by more.
    """
    gaps = difference(fast, plain)
    if (gaps > allowed).any():
        raise DisagreementError(f"its {what} differ by up to {float(gaps.max()):.2g} from those of a plain forward")


def failed(error: Exception) -> str | None:
    """What went wrong, for a form that raised `error`; None where another form would not help (memory ran out)."""
    if isinstance(error, DisagreementError):
        return str(error)
    if isinstance(error, FAILURES) and not is_out_of_memory(error):
        return f"it fails with {type(error).__name__} ({one_line(error)[:160]})"
    return None


class Tried(NamedTuple):
    """What trials of one form of one model found.

    Attributes:
        longest: tokens of the longest row tried.
        fault: what was wrong; None: nothing.
    """

    longest: int
    fault: str | None


class Trials:
    """What was found for a model, so that rows like those tried are not tried again.

    Rows are alike in length when no number of the model's config lies between them: a window or a limit of positions,
    under whatever name, acts from some length on. Beyond twice a length they are not taken to be alike either.

    Args:
        model: a transformers or PEFT model.
    """

    _all: ClassVar[WeakKeyDictionary[nn.Module, dict[tuple[Any, ...], Tried]]] = WeakKeyDictionary()

    def __init__(self, model: nn.Module) -> None:
        self._found = self._all.setdefault(model, {})
        self._model = _fingerprint(model)
        self._numbers = sorted(set(_numbers(text_config(base_of(model)).to_dict())))

    def of(self, form: tuple[Any, ...], tokens: int) -> Tried | None:
        """What was found for rows of up to so many tokens; None: they have to be tried."""
        tried = self._found.get((self._model, *form))
        if tried is None:
            return None
        shorter = tried.fault is None and tokens <= tried.longest  # what was right for longer rows is right for them
        return tried if shorter or self.alike(tokens, tried.longest) else None

    def note(self, form: tuple[Any, ...], tokens: int, fault: str | None = None) -> Tried:
        """Keep what was found."""
        tried = self._found[self._model, *form] = Tried(tokens, fault)
        return tried

    def alike(self, one: int, other: int) -> bool:
        """Whether what is found for rows of one length holds for those of another."""
        low, high = sorted((one, other))
        near = high < 2 * low and not any(low <= number <= high for number in self._numbers)
        return near or low == high


def _fingerprint(model: Any) -> str:
    """Everything about a model, but its weights, that decides which form is exact."""
    base = base_of(model)
    adapter = getattr(model, "active_peft_config", None)
    return json.dumps(
        [
            base.config.to_dict(), base.config._attn_implementation, str(base.dtype), str(base.device),
            getattr(model, "active_adapters", None) if adapter is not None else None,
            adapter.to_dict() if adapter is not None else None,
        ],
        sort_keys=True, default=str,
    )  # fmt: skip


def _numbers(value: Any) -> Iterator[int]:
    """The integers of a config, at any depth."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for part in value:
            yield from _numbers(part)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield value
