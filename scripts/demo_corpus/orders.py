"""A grammar of shop orders with known fields: customer, product, quantity, colour, price, number, day, town.

Every order names the customer's town and most name a second town (a shop, a depot) as a distractor. Pre-training
tasks ask for the fields of `ASKED_FIELDS` only; the town is what the held-out extraction task asks for.
Knows the lexicon; knows no task wording and no tokenizer.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from demo_corpus.lexicon import COLOURS, DAYS, FIRST_NAMES, LAST_NAMES, NUMBERS, Lexicon

ASKED_FIELDS = ("customer", "product", "quantity", "colour", "price", "number", "day")

TEMPLATES = (
    "{customer} from {town} orders {quantity} {colour} {product}, order {number}, due {day}, {price} euros.",
    "Order {number}: {quantity} x {product} in {colour}. Customer {customer}, {town}. {price} euros, arrives {day}.",
    "On {day} we bring {quantity} {colour} {product} to {customer} in {town}. Bill {number} over {price} euros.",
    "{customer} paid {price} euros for {quantity} {product} in {colour}. Send it to {town} by {day}, order {number}.",
    "New order {number} for {customer}. {quantity} {colour} {product} at {price} euros. Home address in {town}, {day}.",
    "{customer} called: {quantity} {product}, {colour}, order {number}. Lives in {town}, wanted {day}, {price} euros.",
)
DISTRACTORS = (
    "Packed at our depot in {other}.",
    "Leaves from the shop in {other}.",
    "Our {other} shop has it in stock.",
    "Called in from the {other} branch.",
)


@dataclass(frozen=True)
class Order:
    """`fields` maps each field name to exactly the text that stands in `text`."""

    text: str
    fields: dict[str, str]


class OrderGrammar:
    """Draws orders from a lexicon; the two towns of an order always differ."""

    def __init__(self, lexicon: Lexicon, random: Random) -> None:
        self.lexicon, self.random = lexicon, random
        self.products = sorted({product for group in lexicon.products.values() for product in group})

    def draw(self) -> Order:
        rng = self.random
        town, other = rng.sample(self.lexicon.towns, 2)
        fields = {
            "customer": f"{rng.choice(FIRST_NAMES)} {rng.choice(LAST_NAMES)}",
            "product": rng.choice(self.products),
            "quantity": rng.choice(NUMBERS),
            "colour": rng.choice(COLOURS),
            "price": str(rng.randrange(5, 500)),
            "number": f"{rng.choice('ABCDEFGH')}{rng.randrange(10, 1000)}",
            "day": rng.choice(DAYS),
            "town": town,
        }
        text = rng.choice(TEMPLATES).format(**fields)
        if rng.random() < 0.6:
            extra = rng.choice(DISTRACTORS).format(other=other)
            text = f"{extra} {text}" if rng.random() < 0.5 else f"{text} {extra}"
        return Order(text, fields)
