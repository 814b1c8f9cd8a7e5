"""The demo's tokenizer: byte-level BPE with a ChatML template, and documents as token ids with loss weights.

Knows documents; knows no grammar and no model. Special tokens: `<|im_end|>` ends a turn (eos), `<|endoftext|>` pads
and ends a plain text; there is no BOS and no default system message.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from demo_corpus.documents import Document

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
# A word never carries its space: it has the same id at the start of an answer as within a sentence, so that a tiny
# model can copy it. Digits stand alone.
PIECES = r"\d|\p{L}+|[^\p{L}\d\s]+ ?|\s"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


class Row(NamedTuple):
    """One encoded document: ids and the loss weight of each id as a target, both [T]."""

    ids: list[int]
    weights: list[float]


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """A byte-level BPE of `vocabulary` entries, special tokens included."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(PIECES), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, START, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path, length: int) -> None:
    """Writes tokenizer.json, tokenizer_config.json and chat_template.jinja."""
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        model_max_length=length,
        clean_up_tokenization_spaces=False,
        padding_side="left",
        additional_special_tokens=[START],
    )
    wrapped.chat_template = CHAT_TEMPLATE
    wrapped.save_pretrained(folder)


def encode(document: Document, tokenizer: Tokenizer, answer_weight: float) -> Row:
    """Piece by piece, as the template would render it: merges never cross a special token or a newline."""
    ids: list[int] = []
    weights: list[float] = []

    def add(text: str, weight: float) -> None:
        new = tokenizer.encode(text, add_special_tokens=False).ids
        ids.extend(new)
        weights.extend([weight] * len(new))

    for turn in document.turns:
        if not turn.role:
            add(turn.content + PAD, 1.0)
            continue
        answer = turn.role == "assistant" and turn.answerable
        add(f"{START}{turn.role}\n", 0.1)
        add(turn.content + END, answer_weight if answer else 1.0)
        add("\n", 0.1)
    return Row(ids, weights)
