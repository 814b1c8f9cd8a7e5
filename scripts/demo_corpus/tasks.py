"""Named tasks of the pre-training corpus: questions about reviews, orders, trips and word lists.

The question says what is asked and the answer is the same in every document. Never asked here: a review's sentiment
in the held-out label words, and an order's town. Knows the grammars; knows no tokenizer.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

from demo_corpus.documents import Document, Item, Turn, asked, chat
from demo_corpus.lexicon import (
    ADJECTIVES,
    COLOURS,
    DAYS,
    FIRST_NAMES,
    LAST_NAMES,
    NUMBERS,
    PRETRAINING,
    WORD_GROUPS,
)
from demo_corpus.orders import ASKED_FIELDS, OrderGrammar
from demo_corpus.reviews import Review, ReviewGrammar

REVIEW_QUESTIONS = {
    "recommend": ("Would the writer recommend it, yes or no?", "Does the writer like it? Answer yes or no."),
    "aspect": ("What does the review talk about?", "Which topic does the writer judge?", "What is this review about?"),
    "product": ("Which product is it?", "Name the product of this review.", "What did they buy?"),
    "category": ("Which department sells it?", "What kind of product is it?", "Name the department of this review."),
    "person": ("Which person is mentioned in the opening?", "Who gave it?"),
    "duration": ("How long have they had it?", "For how long was it used?"),
}
VERDICTS = {-1: "no", 0: "maybe", 1: "yes"}
VERDICT_QUESTIONS = ("Would the writer buy it again, yes, no or maybe?", "Is the writer happy: yes, no or maybe?")
ORDER_QUESTIONS = {
    "customer": ("Who is the customer?", "Name the customer of this order.", "Who ordered?"),
    "product": ("Which product is ordered?", "What is ordered? Answer with the product."),
    "quantity": ("How many are ordered?", "Give the quantity of this order."),
    "colour": ("Which colour is it?", "Answer with the colour of the order."),
    "price": ("What is the price?", "How many euros does it cost?"),
    "number": ("What is the order number?", "Answer with the number of this order."),
    "day": ("On which day is it due?", "Answer with the day of the order.", "When does it arrive?"),
}
TRIP_QUESTIONS = {
    "who": ("Who travels?", "Name the traveller."),
    "start": ("Where does the trip start?", "From which town?"),
    "end": ("Where does the trip end?", "Answer with the town at the end of the trip."),
    "day": ("On which day is the trip?", "When is the trip?"),
}
TRIPS = (
    "{who} takes the train from {start} to {end} on {day}.",
    "On {day} {who} drives to {end}, coming from {start}.",
    "{day}: {who}, {start} to {end}.",
    "The bus of {who} leaves {start} on {day} and stops in {end}.",
    "{who} lives in {start} and visits {end} on {day}.",
)
SYLLABLES = re.findall(
    r"\w+", "ba de ki lo mu ra se ti vo zu fan gor hel jin kep lan mor nis pol quin ros tav ul wex yor"
)


class NamedTasks:
    """Draws documents of named tasks; one random stream serves the grammars and the tasks."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.reviews = ReviewGrammar(PRETRAINING, rng)
        self.orders = OrderGrammar(PRETRAINING, rng)
        self.vocabulary = sorted(
            {word for group in WORD_GROUPS.values() for word in group}
            | {product for group in PRETRAINING.products.values() for product in group}
            | set(PRETRAINING.towns)
            | set(LAST_NAMES)
        )
        self.word_tasks: tuple[Callable[[], tuple[str, Item]], ...] = (
            self._copy, self._copy, self._position, self._choose, self._count, self._look_up, self._look_up,
        )  # fmt: skip

    def review_task(self) -> Document:
        """One question, one to five reviews."""
        field = self.rng.choice(
            ("recommend", "recommend", "recommend", "aspect", "aspect", "product", "category", "person", "duration")
        )
        items = [self._review_item(field) for _ in range(self.rng.randint(1, 5))]
        system, items = asked(self.rng.choice(REVIEW_QUESTIONS[field]), items, self.rng)
        return chat(f"review {field}", system, items, has_review=True)

    def review_interview(self) -> Document:
        """One review, several questions."""
        review = self.reviews.draw()
        answers = {field: answer for field in REVIEW_QUESTIONS if (answer := review_answer(review, field))}
        return self._interview("review interview", review.text, answers, REVIEW_QUESTIONS)

    def order_task(self) -> Document:
        field = self.rng.choice(ASKED_FIELDS)
        drawn = [self.orders.draw() for _ in range(self.rng.randint(1, 4))]
        items = [Item(order.text, order.fields[field]) for order in drawn]
        system, items = asked(self.rng.choice(ORDER_QUESTIONS[field]), items, self.rng)
        return chat(f"order {field}", system, items, has_review=False)

    def order_interview(self) -> Document:
        order = self.orders.draw()
        answers = {field: order.fields[field] for field in ASKED_FIELDS}
        return self._interview("order interview", order.text, answers, ORDER_QUESTIONS)

    def trip_task(self) -> Document:
        field = self.rng.choice(sorted(TRIP_QUESTIONS))
        items = [Item(text, fields[field]) for text, fields in (self.trip() for _ in range(self.rng.randint(1, 6)))]
        system, items = asked(self.rng.choice(TRIP_QUESTIONS[field]), items, self.rng)
        return chat(f"trip {field}", system, items, has_review=False)

    def word_task(self) -> Document:
        """Copying, choosing, counting, looking up: several rounds of one exercise on words."""
        exercise = self.rng.choice(self.word_tasks)
        questions, items = zip(*(exercise() for _ in range(self.rng.randint(2, 6))), strict=True)
        if len(set(questions)) == 1:
            return chat("words", questions[0], items, has_review=False)
        merged = [
            Item(f"{item.text}\n{question}", item.answer) for question, item in zip(questions, items, strict=True)
        ]
        return chat("words", "", merged, has_review=False)

    def word_polarity(self) -> Document:
        """Single words only: the one named task in which the held-out label words appear."""
        names = {-1: "negative", 0: "neutral", 1: "positive"}
        signs = [self.rng.choice((-1, 0, 1)) for _ in range(self.rng.randint(2, 6))]
        items = [Item(self.rng.choice(ADJECTIVES[sign].split()), names[sign]) for sign in signs]
        return chat("word polarity", "What kind of word is it?", items, has_review=False)

    def verdict(self) -> Document:
        """Reviews or single clauses, judged in three words; none of them is a held-out label."""
        whole = self.rng.random() < 0.55
        signs = [
            self.rng.choice((-1, 0, 1)) for _ in range(self.rng.randint(3, 5) if whole else self.rng.randint(4, 9))
        ]
        texts = [self.reviews.draw(sign).text if whole else self.reviews.clause(sign) for sign in signs]
        items = [Item(text, VERDICTS[sign]) for text, sign in zip(texts, signs, strict=True)]
        return chat("review verdict", self.rng.choice(VERDICT_QUESTIONS), items, has_review=True)

    def plain(self) -> Document:
        """A review or an order as plain text."""
        if self.rng.random() < 0.6:
            return Document("plain review", (Turn("", self.reviews.draw().text),), has_review=True)
        return Document("plain order", (Turn("", self.orders.draw().text),), has_review=False)

    def trip(self) -> tuple[str, dict[str, str]]:
        start, end = self.rng.sample(PRETRAINING.towns, 2)
        who = f"{self.rng.choice(FIRST_NAMES)} {self.rng.choice(LAST_NAMES)}"
        fields = {"who": who, "start": start, "end": end, "day": self.rng.choice(DAYS)}
        return self.rng.choice(TRIPS).format(**fields), fields

    def word(self) -> str:
        """A known word or a made-up one."""
        if self.rng.random() < 0.6:
            return self.rng.choice(self.vocabulary)
        made_up = "".join(self.rng.choices(SYLLABLES, k=self.rng.randint(2, 3)))
        return made_up.capitalize() if self.rng.random() < 0.5 else made_up

    def _review_item(self, field: str) -> Item:
        while True:
            review = self.reviews.draw()
            answer = review_answer(review, field)
            if answer:
                return Item(review.text, answer)

    def _interview(
        self, kind: str, text: str, answers: dict[str, str], questions: dict[str, tuple[str, ...]]
    ) -> Document:
        fields = self.rng.sample(sorted(answers), min(len(answers), self.rng.randint(2, 5)))
        items = [Item(self.rng.choice(questions[field]), answers[field]) for field in fields]
        items[0] = Item(f"{text}\n{items[0].text}", items[0].answer)
        return chat(kind, "", items, has_review=kind.startswith("review"))

    def _copy(self) -> tuple[str, Item]:
        text = " ".join(self.word() for _ in range(self.rng.randint(1, 5)))
        return "Repeat the text.", Item(text, text)

    def _position(self) -> tuple[str, Item]:
        words = [self.word().replace(" ", "") for _ in range(self.rng.randint(2, 5))]
        place, index = self.rng.choice((("first", 0), ("second", 1), ("last", -1)))
        return f"Write the {place} word.", Item(" ".join(words), words[index])

    def _choose(self) -> tuple[str, Item]:
        group, *others = self.rng.sample(sorted(WORD_GROUPS), 4)
        answer = self.rng.choice(WORD_GROUPS[group])
        words = [answer, *(self.rng.choice(WORD_GROUPS[other]) for other in others)]
        self.rng.shuffle(words)
        return f"Which word is a {group}?", Item(", ".join(words), answer)

    def _count(self) -> tuple[str, Item]:
        words = [self.rng.choice(COLOURS) for _ in range(self.rng.randint(1, 8))]
        return "Count the words.", Item(" ".join(words), NUMBERS[len(words) - 1])

    def _look_up(self) -> tuple[str, Item]:
        keys = self.rng.sample(FIRST_NAMES, self.rng.randint(2, 5))
        values = [self.word() for _ in keys]
        index = self.rng.randrange(len(keys))
        table = "; ".join(f"{key}: {value}" for key, value in zip(keys, values, strict=True))
        return "Look it up.", Item(f"{table}. {keys[index]}?", values[index])


def review_answer(review: Review, field: str) -> str:
    """The answer to one of `REVIEW_QUESTIONS`, or "" where the review does not say."""
    if field == "recommend":
        return {1: "yes", -1: "no", 0: ""}[review.polarity]
    return str(getattr(review, field))
