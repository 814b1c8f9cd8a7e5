"""Wrap an encoder-decoder model for scoring: each prompt runs through the encoder once, labels in the decoder.

It has the interface of a `Decoder` for scoring each label in a row of its own. These decoders derive positions from the
index in the sequence (T5's distances, BART's embeddings), so labels cannot be packed into one sequence.

Shapes: B prompts, S tokens of the longest, H hidden size, C labels, T tokens of the longest, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from sft.errors import ModelError
from sft.inference.caches import ReadOnlyLayer, branched_cache
from sft.model.structure import base_of
from sft.protocols import LanguageModel


class Encoded(NamedTuple):
    """Encoded prompts: the decoder's cache after its start token, the mask, and the logits of the first token.

    Attributes:
        states_BSH: the encoder's hidden states.
    """

    cache: EncoderDecoderCache
    mask_BK: Tensor
    logits_BV: Tensor
    states_BSH: Tensor


class EncoderDecoder:
    """An encoder-decoder model with the forwards `read`, `extend` and `whole_labels`.

    Args:
        model: a transformers encoder-decoder model, or a PEFT model around one.

    Raises:
        ModelError: it has no decoder start token, or its adapter adds virtual tokens.
    """

    obstacle: str | None = None
    apart: str | None = "its decoder counts positions by index"
    windowed, slides, has_virtual_tokens = True, False, False
    shares_prefix = False  # an encoder reads in both directions: the states of a prefix depend on the rest

    def __init__(self, model: LanguageModel) -> None:
        base: Any = base_of(model)  # has members that causal models lack
        self.base = base
        if bool(getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False)):
            raise ModelError(f"labels cannot be scored with virtual tokens on {type(self.base).__name__}")
        self._start = self.base.config.decoder_start_token_id
        if self._start is None:
            raise ModelError(f"{type(self.base).__name__} has no decoder_start_token_id in its config")
        self.device: torch.device = self.base.get_input_embeddings().weight.device

    def prefix_cache(self, prefix: Sequence[int]) -> DynamicCache:
        """Return an empty cache: prompts share no prefix."""
        del prefix
        return DynamicCache()

    def read(self, rows: Sequence[Sequence[int]], prefix_cache: DynamicCache) -> Encoded:
        """Encode prompts, padded on the right, and read the decoder's start token after each."""
        del prefix_cache
        longest = max(map(len, rows))
        ids_BS = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=self.device)
        lengths_B = torch.tensor([len(row) for row in rows], device=self.device)
        mask_BS = (torch.arange(longest, device=self.device) < lengths_B[:, None]).long()
        states_BSH = self.base.get_encoder()(input_ids=ids_BS, attention_mask=mask_BS)[0]
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        start_B1 = torch.full((len(rows), 1), self._start, device=self.device)
        logits_B1V = self._decode(start_B1, states_BSH, mask_BS, cache)
        return Encoded(cache, mask_BS, logits_B1V[:, 0], states_BSH)

    def extend(self, read: Encoded, ids_CT: Tensor, mask_CT: Tensor) -> Tensor:
        """Compute the logits [B * C, T, V] of every label after every prompt; row b * C + c continues b with c.

        No token of a label attends to the padding after its end, so `mask_CT` is not needed.
        """
        del mask_CT
        rows, count = read.mask_BK.shape[0], ids_CT.shape[0]
        texts = DynamicCache()
        texts.layer_class_to_replicate = None
        texts.layers = [ReadOnlyLayer(layer, count) for layer in read.cache.cross_attention_cache.layers]
        cache = EncoderDecoderCache(branched_cache(read.cache.self_attention_cache, count), texts)
        states, mask = (
            tensor[:, None].expand(rows, count, *tensor.shape[1:]).flatten(0, 1)
            for tensor in (read.states_BSH, read.mask_BK)
        )
        return self._decode(ids_CT.repeat(rows, 1), states, mask, cache)

    def whole_labels(self, prompts: Sequence[Sequence[int]], labels: Sequence[Sequence[int]]) -> Tensor:
        """Compute the logits [M, T, V] that predict each label's tokens after its prompt, each pair run whole.

        Args:
            prompts: M prompts of equal length.
            labels: M labels of T tokens each.
        """
        ids_MS = torch.tensor([list(prompt) for prompt in prompts], device=self.device)
        fed_MT = torch.tensor([[self._start, *label[:-1]] for label in labels], device=self.device)
        outputs = self.base(
            input_ids=ids_MS, attention_mask=torch.ones_like(ids_MS), decoder_input_ids=fed_MT, use_cache=False
        )
        logits: Tensor = outputs.logits
        return logits

    def _decode(self, ids_MT: Tensor, states_MSH: Tensor, mask_MS: Tensor, cache: EncoderDecoderCache) -> Tensor:
        outputs = self.base(
            encoder_outputs=BaseModelOutput(last_hidden_state=states_MSH),
            attention_mask=mask_MS,
            decoder_input_ids=ids_MT,
            past_key_values=cache,
            use_cache=True,
        )
        logits: Tensor = outputs.logits
        return logits
