"""Trials: compare the result of a fast form on one row of the run with the model's plain forward of that row.

Caches, packed rows and masks are chosen by a model's config and signature. Some architectures deviate from these: they
ignore a window of their config, or count positions themselves. The numbers would be silently wrong. So one row is
computed again, alone and whole, before the others are trusted. Scoring, generation and training use trials.

Shapes: B rows, S tokens, T tokens whose logits are wanted, V vocabulary.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from sft.errors import SftError
from sft.foreign import one_line
from sft.memory import is_out_of_memory
from sft.model.quantised.quantization import quantization_method
from sft.model.structure import attention_of, base_of, text_config
from sft.protocols import LanguageModel

# Largest difference of log-probabilities that rounding makes, relative to the largest logit: the forms sum the same
# numbers in another order. Measured with two trained models and random ones of up to 32 layers: 1.9e-6 in float32,
# 1.3e-2 in bfloat16, 1.6e-3 in float16 (it grows with depth). Where activations are quantised, it also depends on what
# else is in the batch: 2.5e-2 with bitsandbytes' default threshold.
TOLERANCE = {torch.float64: 2e-5, torch.float32: 2e-5, torch.bfloat16: 2e-2, torch.float16: 4e-3}
QUANTISED_TOLERANCE = 5e-2


class DisagreementError(SftError):
    """A fast form disagrees with the plain forward. Callers catch it and use another form."""


# errors of a trial: a disagreement, or an error of a model with unusual inputs
FAILURES = (DisagreementError, RuntimeError, ValueError, TypeError, LookupError, AttributeError)


def plain_logits(model: LanguageModel, ids_BS: Tensor, keep: int) -> Tensor:
    """Compute the logits [B, keep, V] at the last tokens of rows of equal length: no cache, padding or positions."""
    accepts = inspect.signature(base_of(model).forward).parameters
    hands_on = any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepts.values())
    options: dict[str, Any] = {"use_cache": False} if "use_cache" in accepts or hands_on else {}
    if "logits_to_keep" in accepts:
        options["logits_to_keep"] = keep
    logits: Tensor = model(input_ids=ids_BS, attention_mask=torch.ones_like(ids_BS), **options).logits
    return logits[:, -keep:]


def chosen_logprobs(logits_TV: Tensor, ids: Sequence[int]) -> Tensor:
    """Return the log-probability [T] of each id at its position, from an fp32 log-softmax."""
    return logits_TV.float().log_softmax(dim=-1)[range(len(ids)), list(ids)]


def tolerance(model: LanguageModel, dtype: torch.dtype | None = None) -> float:
    """Return the largest difference from a plain forward, relative to the largest logit, that rounding explains.

    Args:
        model: a transformers or PEFT model.
        dtype: dtype of its activations; None for the model's own.
    """
    base = base_of(model)
    dtype = dtype or base.dtype
    if dtype == torch.float32 and base.device.type == "cuda" and "tf32" in _cuda_precisions():
        dtype = torch.float16  # as precise as products in TF32
    if not quantization_method(base):
        return TOLERANCE.get(dtype, QUANTISED_TOLERANCE)
    return QUANTISED_TOLERANCE if _quantises_activations(base) else TOLERANCE[torch.bfloat16]


def _cuda_precisions() -> tuple[str, str]:
    return torch.backends.fp32_precision, torch.backends.cuda.matmul.fp32_precision


def _quantises_activations(base: LanguageModel) -> bool:
    """Whether activations are quantised too: True unless the method is known to quantise weights only."""
    method = quantization_method(base)
    if method == "bitsandbytes":
        return bool(getattr(base, "is_loaded_in_8bit", False))
    return method not in ("gptq", "awq")


def largest(logits: Tensor) -> float:
    """Return the largest absolute value of the finite logits; at least 1."""
    sizes = logits.float().abs()
    return float(sizes[sizes.isfinite()].max().clamp_min(1.0)) if sizes.isfinite().any() else 1.0


def difference(fast: Tensor, plain: Tensor) -> Tensor:
    """Return absolute differences; 0 for equal infinities, and wherever the plain value is NaN."""
    fast, plain = fast.double().cpu(), plain.double().cpu()
    gaps = torch.where((fast == plain) | plain.isnan(), 0.0, (fast - plain).abs())
    return gaps.nan_to_num(nan=torch.inf, posinf=torch.inf)


def require_agreement(fast: Tensor, plain: Tensor, allowed: float | Tensor, what: str) -> None:
    """Compare values of one row.

    Args:
        fast: values of the form under trial.
        plain: values of a plain forward.
        allowed: the largest allowed difference, of all or of each.
        what: the name of the values, for the message: "its … differ by …".

    Raises:
        DisagreementError: they differ by more.
    """
    gaps = difference(fast, plain)
    if (gaps > allowed).any():
        raise DisagreementError(f"its {what} differ by up to {float(gaps.max()):.2g} from those of a plain forward")


def failed(error: Exception) -> str | None:
    """Return the fault of a form that raised `error`; None if another form would not help (out of memory)."""
    if isinstance(error, DisagreementError):
        return str(error)
    if isinstance(error, FAILURES) and not is_out_of_memory(error):
        return f"it fails with {type(error).__name__} ({one_line(error)[:160]})"
    return None


class Tried(NamedTuple):
    """Result of the trials of one form of one model.

    Attributes:
        longest: number of tokens of the longest tried row.
        fault: the fault, or None.
    """

    longest: int
    fault: str | None


class Trials:
    """Results of a model's trials, so that rows like the tried ones are not tried again.

    Two lengths are alike if no number of the model's config lies between them, since a window or a position limit,
    whatever its name, has an effect beyond some length. Lengths that differ by a factor of two are never alike.

    Args:
        model: a transformers or PEFT model.
    """

    _all: ClassVar[WeakKeyDictionary[LanguageModel, dict[tuple[Any, ...], Tried]]] = WeakKeyDictionary()

    def __init__(self, model: LanguageModel) -> None:
        self._found = self._all.setdefault(model, {})
        self._model = _fingerprint(model)
        self._numbers = sorted(set(_numbers(text_config(base_of(model)).to_dict())))

    def of(self, form: tuple[Any, ...], tokens: int) -> Tried | None:
        """Return the result for rows of up to `tokens` tokens; None if they need a trial."""
        tried = self._found.get((self._model, *form))
        if tried is None:
            return None
        shorter = tried.fault is None and tokens <= tried.longest  # longer rows were correct
        return tried if shorter or self.alike(tokens, tried.longest) else None

    def note(self, form: tuple[Any, ...], tokens: int, fault: str | None = None) -> Tried:
        """Store the result of a trial."""
        tried = self._found[self._model, *form] = Tried(tokens, fault)
        return tried

    def alike(self, length: int, other: int) -> bool:
        """Whether the result for rows of one length holds for those of another."""
        low, high = sorted((length, other))
        near = high < 2 * low and not any(low <= number <= high for number in self._numbers)
        return near or low == high


def _fingerprint(model: LanguageModel) -> str:
    """Fingerprint of everything but the weights that determines which form of a model is exact."""
    base = base_of(model)
    adapter = getattr(model, "active_peft_config", None)
    return json.dumps(
        [
            base.config.to_dict(), attention_of(base), str(base.dtype), str(base.device),
            getattr(model, "active_adapters", None) if adapter is not None else None,
            adapter.to_dict() if adapter is not None else None,
        ],
        sort_keys=True, default=str,
    )  # fmt: skip


def _numbers(value: Any) -> Iterator[int]:
    """Yield the integers of a config, at any depth."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for part in value:
            yield from _numbers(part)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield value
