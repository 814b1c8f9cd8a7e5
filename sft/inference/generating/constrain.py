"""Constrain generated answers to a JSON schema, a regular expression or a list of choices.

A grammar, compiled once for the run, determines at each step which tokens may come next; all others get probability 0.
An answer may end only where the grammar is satisfied, so an answer that the model ends is always valid; one that
`max_new_tokens` cuts may be invalid. The optional package llguidance (https://github.com/guidance-ai/llguidance)
implements this.

Shapes: B rows, S ids of a row, V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sft.config.checking.constrain import CONSTRAIN, grammar
from sft.config.sections.inference import ConstrainConfig
from sft.errors import ModelError
from sft.protocols import Tokenizer

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

_SILENT = 0  # level of llguidance's own log


class Constraint:
    """The constraint on every answer of a run.

    Args:
        config: the section `inference.constrain`.
        tokenizer: a fast tokenizer of transformers.

    Raises:
        MissingPackageError: llguidance is not installed.
        ModelError: llguidance cannot read the tokenizer.
    """

    def __init__(self, config: ConstrainConfig, tokenizer: Tokenizer) -> None:
        self._grammar = grammar(config)
        backend: Any = getattr(tokenizer, "backend_tokenizer", None)
        if not hasattr(backend, "to_str"):
            raise ModelError(f"{CONSTRAIN} needs a fast tokenizer, got {type(tokenizer).__name__}")
        self._core = backend
        self._compiled: tuple[int, tuple[int, ...], LLMatcher] | None = None

    def batch(self, start: int, stop_ids: Sequence[int]) -> ConstrainedBatch:
        """Return the constraint on one batch before it is generated.

        Args:
            start: number of ids of each row before its answer.
            stop_ids: ids that end an answer.

        Raises:
            ModelError: `stop_ids` is empty.
        """
        if not stop_ids:
            raise ModelError(
                f"{CONSTRAIN} needs a token that ends an answer, but the model's tokenizer has none; "
                "set inference.generation_args.eos_token_id"
            )
        return ConstrainedBatch(self, start, tuple(stop_ids))

    def is_met(self, ids: Sequence[int]) -> bool:
        """Whether an answer of the latest batch, without its end of turn, satisfies the grammar."""
        if self._compiled is None:
            return False
        matcher = self._compiled[-1].deep_copy()
        return bool(matcher.try_consume_tokens(list(ids)) == len(ids) and matcher.is_accepting())

    def matcher(self, vocabulary: int, stop_ids: tuple[int, ...]) -> LLMatcher:
        """Return the grammar at the start of an answer.

        Args:
            vocabulary: size of the model's logits, which may exceed the tokenizer's vocabulary.
            stop_ids: ids that end an answer.
        """
        if self._compiled is None or self._compiled[:2] != (vocabulary, stop_ids):
            self._compiled = vocabulary, stop_ids, self._compile(vocabulary, stop_ids)
        return self._compiled[-1].deep_copy()

    def _compile(self, vocabulary: int, stop_ids: tuple[int, ...]) -> LLMatcher:
        from llguidance import LLMatcher

        matcher = LLMatcher(self._tokens(vocabulary, stop_ids), self._grammar, log_level=_SILENT)
        if matcher.is_error():
            raise ModelError(f"{CONSTRAIN} cannot be used: {' '.join(matcher.get_error().split())[:300]}")
        return matcher

    def _tokens(self, vocabulary: int, stop_ids: tuple[int, ...]) -> LLTokenizer:
        from llguidance import LLTokenizer

        core = copy.copy(self._core)
        core.no_padding()
        core.no_truncation()
        known = max(vocabulary, core.get_vocab_size(with_added_tokens=True))
        try:
            return LLTokenizer(core.to_str(), n_vocab=known, eos_token=list(stop_ids))
        except ValueError as error:
            raise ModelError(f"{CONSTRAIN} cannot read the model's tokenizer: {error}") from None


class ConstrainedBatch:
    """The constraint on the rows of one batch: a logits processor of transformers.

    Args:
        constraint: provides the rows' matchers.
        start: number of ids of each row before its answer.
        stop_ids: ids that end an answer; allowed only where the grammar is satisfied.
    """

    def __init__(self, constraint: Constraint, start: int, stop_ids: tuple[int, ...]) -> None:
        self._constraint, self._start, self._stop_ids = constraint, start, stop_ids
        self._matchers: list[LLMatcher | None] = []  # None: the row has ended

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the scores [B, V], set to minus infinity for tokens that may not come next."""
        vocabulary = scores.shape[1]
        if input_ids.shape[1] == self._start:
            self._matchers = [self._constraint.matcher(vocabulary, self._stop_ids) for _ in range(len(input_ids))]
        else:
            for row, token in enumerate(input_ids[:, -1].tolist()):
                self._advance(row, token)
        allowed_BV = torch.from_numpy(np.stack([self._allowed(matcher, vocabulary) for matcher in self._matchers]))
        # another rule may have excluded all tokens that the grammar allows: the grammar takes precedence
        scores = scores.clamp_min(torch.finfo(scores.dtype).min)
        return scores.masked_fill(~allowed_BV.to(scores.device), -torch.inf)

    def _advance(self, row: int, token: int) -> None:
        matcher = self._matchers[row]
        if matcher is None or token in self._stop_ids:
            self._matchers[row] = None
        else:
            matcher.consume_token(token)

    def _allowed(self, matcher: LLMatcher | None, vocabulary: int) -> NDArray[np.bool_]:
        if matcher is None:  # the rest is padding
            return np.ones(vocabulary, dtype=np.bool_)
        stops = [token for token in self._stop_ids if token < vocabulary]
        if matcher.is_error():  # the grammar is too complex here: the answer ends and counts as incomplete
            return _only(stops, vocabulary)
        packed = np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8)
        allowed_V = np.zeros(vocabulary, dtype=np.bool_)
        unpacked = np.unpackbits(packed, count=min(vocabulary, 8 * len(packed)), bitorder="little")
        allowed_V[: len(unpacked)] = unpacked
        allowed_V[stops] = matcher.is_accepting()  # a stop id that is also ordinary text would cut the answer short
        return allowed_V if allowed_V.any() else _only(stops, vocabulary)


def _only(tokens: Sequence[int], vocabulary: int) -> NDArray[np.bool_]:
    allowed_V = np.zeros(vocabulary, dtype=np.bool_)
    allowed_V[list(tokens)] = True
    return allowed_V
