"""Arguments of transformers' `generate` from the settings of a run, without contradictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from transformers import GenerationConfig

from sft.errors import ModelError
from sft.foreign import explained
from sft.inference.generating.criteria import StopTexts
from sft.log import get_logger

if TYPE_CHECKING:
    from sft.inference.generating.constrain import Constraint

logger = get_logger(__name__)

_SAMPLING = (  # arguments that have an effect only with do_sample
    "temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff",
)  # fmt: skip
_READS_PADDING = (  # arguments whose rules depend on the prompt's ids, padding included
    "repetition_penalty", "no_repeat_ngram_size", "encoder_repetition_penalty", "encoder_no_repeat_ngram_size",
    "sequence_bias", "watermarking_config", "guidance_scale", "prompt_lookup_num_tokens",
)  # fmt: skip
_REFUSED = {
    "num_return_sequences": "one answer per prompt is evaluated",
    "return_dict_in_generate": "only the ids are used",
    "stop_strings": "set inference.stop_strings instead",
    "assistant_model": "only one model is loaded",
}


@dataclass(frozen=True)
class GenerationSettings:
    """Settings of generation.

    Attributes:
        max_new_tokens: length of the longest answer, in tokens; an argument of that name overrides it.
        stop_ids: ids that end an answer (the template's end of turn); an `eos_token_id` argument adds to them.
        arguments: further arguments of transformers' `generate`.
        stop_texts: texts that end an answer; None if only ids do.
        constraint: constraint on answers, or None.
    """

    max_new_tokens: int
    stop_ids: Sequence[int] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    stop_texts: StopTexts | None = None
    constraint: Constraint | None = None

    def reads_padding(self) -> bool:
        """Whether the rule of an argument depends on the prompt's ids."""
        return any(self.arguments.get(name) is not None for name in _READS_PADDING)


def configured(settings: GenerationSettings) -> GenerationConfig:
    """Build the GenerationConfig: greedy unless the arguments say otherwise.

    Raises:
        ModelError: an argument is not supported.
    """
    arguments = {name: value for name, value in settings.arguments.items() if value is not None}
    for name, reason in _REFUSED.items():
        if arguments.get(name) not in (None, False, 1):
            raise ModelError(f"inference.generation_args.{name} is not supported: {reason}")
    if not arguments.get("do_sample"):
        _drop(arguments, _SAMPLING, "answers are greedy unless do_sample is true")
    if arguments.get("num_beams", 1) == 1:
        _drop(arguments, ("early_stopping", "length_penalty"), "they need num_beams above 1")
    _drop(arguments, ("max_length", "min_length"), "lengths are counted in new tokens: max_new_tokens, min_new_tokens")
    more = arguments.pop("eos_token_id", [])
    if not all(isinstance(token, int) for token in ([more] if not isinstance(more, list) else more)):
        raise ModelError(f"inference.generation_args.eos_token_id: expected a token id or a list of them, got {more!r}")
    stop_ids = sorted({*settings.stop_ids, *([more] if isinstance(more, int) else more)})
    arguments = {"max_new_tokens": settings.max_new_tokens, "do_sample": False, "use_cache": True, **arguments}
    for name in _REFUSED:
        arguments.pop(name, None)
    # any id can be used for padding: it is masked, and answers are cut before their first stop id
    padding = {"pad_token_id": stop_ids[0] if stop_ids else 0}
    with explained("inference.generation_args", ModelError):
        return GenerationConfig(**{**padding, **arguments, "eos_token_id": stop_ids or None})


def _drop(arguments: dict[str, Any], names: Sequence[str], reason: str) -> None:
    dropped = [name for name in names if arguments.pop(name, None) is not None]
    if dropped:
        logger.info("inference.generation_args: %s has no effect: %s", ", ".join(dropped), reason)
