"""What label scoring is measured on: a random model of about 19 million parameters, and prompts and labels as ids.

All of it is made from seeds, so that anyone can make it again.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

Ids = list[int]

VOCABULARY = 1536  # that of the demo's tokenizer
END = 2  # of turn
CONFIG: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 384, "intermediate_size": 1120, "num_hidden_layers": 10,
    "num_attention_heads": 6, "num_key_value_heads": 6, "max_position_embeddings": 2048, "tie_word_embeddings": True,
    "initializer_range": 0.06, "bos_token_id": None, "eos_token_id": END, "pad_token_id": 0,
}  # fmt: skip
# ids of a label without its end of turn: how many labels have so many (77: about as banking77's names in a large BPE)
LENGTHS = {3: [1, 2, 3], 10: [1, 1, 2, 2, 2, 3, 3, 3, 4, 5], 77: [1] * 8 + [2] * 25 + [3] * 28 + [4] * 11 + [5] * 5}
PREFIX = {3: 404, 10: 464, 77: 803}  # ids of the in-context examples and the instruction
SUFFIX = 10, 60  # ids of a row's own


class Case(NamedTuple):
    """Rows and labels to score.

    Attributes:
        prefix: how many ids all prompts begin with.
        labels: with their end of turn.
    """

    name: str
    prefix: int
    prompts: list[Ids]
    labels: list[Ids]


def make_model() -> Any:
    """The same weights every time: torch's generator is seeded with 0."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**CONFIG)).eval()


def make_case(labels: int, rows: int) -> Case:
    """A case of 3, 10 or 77 labels."""
    draw = random.Random(labels)
    beginning = _ids(draw, PREFIX[labels])
    made = _labels(draw, LENGTHS[labels])
    prompts = [beginning + _ids(draw, draw.randint(*SUFFIX)) for _ in range(rows)]
    return Case(f"labels_{labels}", PREFIX[labels], prompts, made)


def _labels(draw: random.Random, lengths: Sequence[int]) -> list[Ids]:
    """Different labels of these lengths; of many, two in five begin as an earlier one does."""
    made: list[Ids] = []
    for length in lengths:
        while True:
            label = _ids(draw, length)
            if len(lengths) > 10 and length > 1 and made and draw.random() < 0.4:
                shared = draw.choice(made)[: draw.randint(1, length - 1)]
                label[: len(shared)] = shared
            if label not in made:
                break
        made.append(label)
    draw.shuffle(made)
    return [[*label, END] for label in made]


def _ids(draw: random.Random, count: int) -> Ids:
    return [draw.randrange(10, VOCABULARY) for _ in range(count)]


def tree_nodes(labels: Sequence[Ids]) -> int:
    """How many distinct tokens are fed so that every label's every token is predicted."""
    return len({tuple(label[:count]) for label in labels for count in range(1, len(label))})
