"""Peers of the scoring engine: two other implementations, naive scoring, and the bound.

Shapes: P tokens of the shared prefix, T tokens of a forward pass, H heads, D values of a head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from scoring_cases import Case, Ids, tree_nodes
from torch.nn import functional
from transformers import DynamicCache

SHAPES = ((1, 128), (1, 256), (1, 512), (2, 64), (4, 64), (8, 64), (4, 128), (16, 32))  # of the bound's forward passes


@torch.inference_mode()
def token_by_token(model: Any, prompts: Sequence[Ids], labels: Sequence[Ids]) -> list[list[float]]:
    """Read each prompt once, and continue its cache with each label token by token, cropping the cache afterwards."""
    scores = []
    for prompt in prompts:
        cache = DynamicCache()
        logits = model(input_ids=torch.tensor([prompt]), past_key_values=cache, logits_to_keep=1).logits
        first_V = logits[0, -1].log_softmax(-1)
        row = []
        for label in labels:
            total = first_V[label[0]].item()
            for fed, target in pairwise(label):
                logits = model(input_ids=torch.tensor([[fed]]), past_key_values=cache).logits
                total += logits[0, -1].log_softmax(-1)[target].item()
            if len(label) > 1:
                cache.crop(1 - len(label))
            row.append(total)
        scores.append(row)
    return scores


@torch.inference_mode()
def naive(model: Any, prompt: Ids, label: Ids) -> float:
    """Score prompt and label in one forward pass, in float64 from the logits on."""
    logits = model(input_ids=torch.tensor([[*prompt, *label]]), use_cache=False).logits[0]
    logprobs = logits[-len(label) - 1 : -1].double().log_softmax(-1)
    return float(logprobs[torch.arange(len(label)), torch.tensor(label)].sum())


class LmEval:
    """lm-eval's `HFLM` at the level of token ids."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        from lm_eval.models.huggingface import HFLM

        self._lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=16, max_length=2048, device="cpu")

    def __call__(self, prompts: Sequence[Ids], labels: Sequence[Ids]) -> list[list[float]]:
        """Score every label after every prompt."""
        requests = [(("", ""), list(prompt), list(label)) for prompt in prompts for label in labels]
        answers = self._lm._loglikelihood_tokens(requests, disable_tqdm=True)
        scores = [score for score, _ in answers]
        return [scores[start : start + len(labels)] for start in range(0, len(scores), len(labels))]


class Bound(NamedTuple):
    """The minimum work.

    Attributes:
        body: pass every distinct token through the body once, with head and log-softmax where needed. The shared prefix
            is one causal sequence. The other tokens run in plain causal batches of the best shape, without masks,
            caches, padding or positions. They do not attend to the prefix.
        attention: the attention that `body` excludes: of each row's own tokens to the prefix, without a mask, in
            forward passes of as many tokens.
    """

    body: Callable[[], None]
    attention: Callable[[], None]


def make_bound(model: Any, case: Case, shape: tuple[int, int]) -> Bound:
    """Return the bound of a case with forward passes of a shape (sequences, tokens of each)."""
    nodes = tree_nodes(case.labels)
    own = sum(len(prompt) - case.prefix for prompt in case.prompts) + len(case.prompts) * nodes
    reads = len(case.prompts) * (1 + nodes) / own
    sequences, length = shape
    sizes = [shape] * (own // (sequences * length))
    rest = own % (sequences * length)
    sizes += [(1, rest)] if rest else []
    config = model.config
    size = config.hidden_size // config.num_attention_heads
    ids_P = torch.tensor([case.prompts[0][: case.prefix]])

    @torch.inference_mode()
    def body() -> None:
        model.model(input_ids=ids_P, use_cache=False)
        for sequences_and_tokens in sizes:
            ids = torch.randint(10, config.vocab_size, sequences_and_tokens)
            hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state.flatten(0, 1)
            model.lm_head(hidden[: round(reads * len(hidden))]).log_softmax(-1)

    @torch.inference_mode()
    def attention() -> None:
        keys_1HPD = torch.randn(1, config.num_attention_heads, case.prefix, size)
        for count, tokens in sizes:
            queries_1HTD = torch.randn(1, config.num_attention_heads, count * tokens, size)
            for _ in range(config.num_hidden_layers):
                functional.scaled_dot_product_attention(queries_1HTD, keys_1HPD, keys_1HPD)

    return Bound(body, attention)
