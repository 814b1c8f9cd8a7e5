"""What the scoring engine is measured against: two peers, the naive re-run, and the bound.

Shapes: P tokens of the shared beginning, T tokens of a forward, H heads, D numbers of a head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from scoring_cases import Case, Ids, tree_nodes
from torch.nn import functional
from transformers import DynamicCache

SHAPES = ((1, 128), (1, 256), (1, 512), (2, 64), (4, 64), (8, 64), (4, 128), (16, 32))  # of the bound's forwards


@torch.inference_mode()
def token_by_token(model: Any, prompts: Sequence[Ids], labels: Sequence[Ids]) -> list[list[float]]:
    """Each prompt read once; each label continues its cache token by token, and is cut off it again."""
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
    """Prompt and label in one forward; in float64 from the logits on."""
    logits = model(input_ids=torch.tensor([[*prompt, *label]]), use_cache=False).logits[0]
    logprobs = logits[-len(label) - 1 : -1].double().log_softmax(-1)
    return float(logprobs[torch.arange(len(label)), torch.tensor(label)].sum())


class LmEval:
    """lm-eval's `HFLM` at the level of token ids."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        from lm_eval.models.huggingface import HFLM

        self._lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=16, max_length=2048, device="cpu")

    def __call__(self, prompts: Sequence[Ids], labels: Sequence[Ids]) -> list[list[float]]:
        """Scores of every label after every prompt."""
        requests = [(("", ""), list(prompt), list(label)) for prompt in prompts for label in labels]
        found = self._lm._loglikelihood_tokens(requests, disable_tqdm=True)
        scores = [score for score, _ in found]
        return [scores[start : start + len(labels)] for start in range(0, len(scores), len(labels))]


class Bound(NamedTuple):
    """The least that must be done.

    Attributes:
        body: every distinct token once through the body, the head and a log-softmax on those that are read. The shared
            beginning is one causal sequence; what is each row's own runs in plain causal batches of the best shape
            found, without any mask, cache, padding or position of its own. No such token sees the beginning.
        attention: what `body` leaves out although every token must do it: attention, without a mask, of each row's own
            tokens to the beginning, in forwards of as many tokens.
    """

    body: Callable[[], None]
    attention: Callable[[], None]


def make_bound(model: Any, case: Case, shape: tuple[int, int]) -> Bound:
    """The bound of a case with forwards of that shape (sequences, tokens of each)."""
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
        for one in sizes:
            ids = torch.randint(10, config.vocab_size, one)
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
