"""The demo's own data sets: sentiment of reviews (three labels) and the customer's town in orders.

Texts come from the held-out lexicon: other products and towns than in pre-training, and in a part of the opinions
words that pre-training never showed. Sentiment labels carry noise: `LABEL_NOISE` of the rows hold a text of another
polarity, as annotators disagree. Splits are balanced by label and share no text. Knows no tokenizer and no model.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

from demo_corpus.lexicon import HELD_OUT, HELD_OUT_LABELS
from demo_corpus.orders import OrderGrammar
from demo_corpus.reviews import ReviewGrammar

SENTIMENT_SIZES = {"train": 600, "validation": 300, "test": 300}
EXTRACTION_SIZES = {"train": 300, "validation": 200, "test": 300}
LABEL_NOISE = 0.06
NOVELTY = 0.10
POLARITY_OF = dict(zip(HELD_OUT_LABELS, (-1, 0, 1), strict=True))


class Row(NamedTuple):
    """One line of a CSV file: the input and what is to be answered."""

    text: str
    target: str


def draw_sentiment(seed: int) -> dict[str, list[Row]]:
    rng = Random(seed)
    grammar = ReviewGrammar(HELD_OUT, rng, novelty=NOVELTY)

    def draw(index: int) -> Row:
        label = HELD_OUT_LABELS[index % len(HELD_OUT_LABELS)]
        polarity = POLARITY_OF[label]
        if rng.random() < LABEL_NOISE:
            polarity = 0 if polarity else rng.choice((-1, 1))
        return Row(grammar.draw(polarity).text, label)

    return _splits(SENTIMENT_SIZES, draw, rng)


def draw_extraction(seed: int) -> dict[str, list[Row]]:
    rng = Random(seed)
    grammar = OrderGrammar(HELD_OUT, rng)

    def draw(index: int) -> Row:
        order = grammar.draw()
        return Row(order.text, order.fields["town"])

    return _splits(EXTRACTION_SIZES, draw, rng)


def write_splits(splits: dict[str, list[Row]], folder: Path, columns: tuple[str, str]) -> None:
    """One CSV file a split, in UTF-8 with a header."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in splits.items():
        with (folder / f"{split}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(rows)


def _splits(sizes: dict[str, int], draw: Callable[[int], Row], rng: Random) -> dict[str, list[Row]]:
    """Draws until every split is full; a text (whatever its case) occurs once in all splits together."""
    seen: set[str] = set()
    splits: dict[str, list[Row]] = {}
    for split, size in sizes.items():
        rows: list[Row] = []
        while len(rows) < size:
            row = draw(len(rows))
            if row.text.lower() not in seen:
                seen.add(row.text.lower())
                rows.append(row)
        rng.shuffle(rows)
        splits[split] = rows
    return splits
