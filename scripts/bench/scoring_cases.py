"""Cases for measuring label scoring: a random model of about 19 million parameters, and prompts and labels as ids.

Everything is created from seeds, so it is reproducible.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

Ids = list[int]

VOCABULARY = 1536  # of the demo's tokenizer
END = 2  # of turn
CONFIG: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 384, "intermediate_size": 1120, "num_hidden_layers": 10,
    "num_attention_heads": 6, "num_key_value_heads": 6, "max_position_embeddings": 2048, "tie_word_embeddings": True,
    "initializer_range": 0.06, "bos_token_id": None, "eos_token_id": END, "pad_token_id": 0,
}  # fmt: skip
# Ids per label without its end of turn. The 77 lengths are like those of banking77's names in a large BPE.
LENGTHS = {3: [1, 2, 3], 10: [1, 1, 2, 2, 2, 3, 3, 3, 4, 5], 77: [1] * 8 + [2] * 25 + [3] * 28 + [4] * 11 + [5] * 5}
PREFIX = {3: 404, 10: 464, 77: 803}  # ids of the in-context examples and the instruction
SUFFIX = 10, 60  # ids of a row after the prefix


class Case(NamedTuple):
    """Rows and labels to score.

    Attributes:
        prefix: length of the prefix of all prompts.
        labels: ids of the labels with their end of turn.
    """

    name: str
    prefix: int
    prompts: list[Ids]
    labels: list[Ids]


def make_model() -> Any:
    """Return the model, always with the same weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**CONFIG)).eval()


def make_case(labels: int, rows: int) -> Case:
    """Return a case of 3, 10 or 77 labels."""
    draw = random.Random(labels)
    prefix = _ids(draw, PREFIX[labels])
    made = _labels(draw, LENGTHS[labels])
    prompts = [prefix + _ids(draw, draw.randint(*SUFFIX)) for _ in range(rows)]
    return Case(f"labels_{labels}", PREFIX[labels], prompts, made)


def _labels(draw: random.Random, lengths: Sequence[int]) -> list[Ids]:
    """Return different labels of these lengths; of many labels, two in five share a prefix with an earlier one."""
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
    """Return the number of distinct tokens to pass so that every token of every label is predicted."""
    return len({tuple(label[:count]) for label in labels for count in range(1, len(label))})
