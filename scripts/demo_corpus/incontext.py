"""In-context tasks of the pre-training corpus: arbitrary label words, to be learned from the document's own examples.

The label of a text follows one of its properties (polarity, aspect, department, word group, ...), the word for it is
drawn anew for every document. The held-out label words take part where the texts are single words, never where they
are reviews or pieces of reviews. Knows the grammars; knows no tokenizer.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from demo_corpus.documents import Document, Item, either, in_context
from demo_corpus.lexicon import ADJECTIVES, HELD_OUT_LABELS, LABEL_WORDS, PRETRAINING, WORD_GROUPS
from demo_corpus.orders import ASKED_FIELDS
from demo_corpus.reviews import Review
from demo_corpus.tasks import NamedTasks

REVIEW_SYSTEMS = (
    "Is this review {either}?",
    "Answer with {either}.",
    "Which is it: {either}?",
    "Follow the examples.",
    "",
)
WORD_SYSTEMS = ("Is this word {either}?", "Answer with {either}.", "Which is it: {either}?", "Follow the examples.", "")
POLARITY_WORDS = {sign: tuple(ADJECTIVES[sign].split()) for sign in (-1, 0, 1)}


class InContextTasks:
    """Draws documents whose labels mean nothing outside of them."""

    def __init__(self, named: NamedTasks) -> None:
        self.named, self.rng = named, named.rng
        self.reviews = named.reviews

    def review_labels(self) -> Document:
        """Whole reviews, labelled by polarity (mostly), aspect, department or whether a person is mentioned."""
        kind = self.rng.random()
        if kind < 0.5:
            return self._reviews("polarity", (-1, 0, 1))
        if kind < 0.62:
            return self._reviews("polarity", (-1, 1))
        if kind < 0.8:
            return self._reviews("category", self._some(sorted(PRETRAINING.products)))
        return self._reviews(
            "aspect", self._some(("delivery", "price", "quality", "service", "size", "look", "sound", "manual"))
        )

    def clause_labels(self) -> Document:
        """Single clauses of reviews, labelled by polarity."""
        classes = self.rng.choice(((-1, 0, 1), (-1, 0, 1), (-1, 1)))
        return self._document(f"in-context clauses {len(classes)}", classes, self._clause, REVIEW_SYSTEMS)

    def word_labels(self) -> Document:
        """Single words, labelled by polarity or by group."""
        if self.rng.random() < 0.5:
            signs = self.rng.choice(((-1, 0, 1), (-1, 0, 1), (-1, 1)))
            return self._document(
                f"in-context word polarity {len(signs)}",
                signs,
                lambda sign: self.rng.choice(POLARITY_WORDS[sign]),
                WORD_SYSTEMS,
            )
        groups = self._some(sorted(WORD_GROUPS))
        return self._document(
            "in-context words", groups, lambda group: self.rng.choice(WORD_GROUPS[group]), WORD_SYSTEMS
        )

    def order_field(self) -> Document:
        """Orders or trips with one field that nobody names: the examples must tell."""
        if self.rng.random() < 0.7:
            field = self.rng.choice(ASKED_FIELDS)
            orders = [self.named.orders.draw() for _ in range(self.rng.randint(4, 8))]
            items = [Item(order.text, order.fields[field]) for order in orders]
        else:
            field = self.rng.choice(("who", "start", "end", "day"))
            trips = [self.named.trip() for _ in range(self.rng.randint(4, 8))]
            items = [Item(text, fields[field]) for text, fields in trips]
        document = in_context("in-context fields", self.rng.choice(("Follow the examples.", "")), items, False)
        first = 2 if document.turns[0].role == "user" else 3
        later = tuple(turn._replace(answerable=True) for turn in document.turns[first:])
        return Document(document.kind, document.turns[:first] + later, has_review=False)

    def _reviews(self, prop: str, classes: Sequence[Hashable]) -> Document:
        def text_of(value: Hashable) -> str:
            while True:
                review: Review = self.reviews.draw(value if prop == "polarity" else None)  # type: ignore[arg-type]
                if getattr(review, prop) == value:
                    return review.text

        return self._document(f"in-context reviews {prop} {len(classes)}", classes, text_of, REVIEW_SYSTEMS)

    def _clause(self, sign: Hashable) -> str:
        return self.reviews.clause(int(str(sign)))

    def _some(self, values: Sequence[str]) -> tuple[str, ...]:
        return tuple(self.rng.sample(values, self.rng.randint(2, 4)))

    def _document(
        self, kind: str, classes: Sequence[Hashable], text_of: Callable[..., str], systems: tuple[str, ...]
    ) -> Document:
        """One to three balanced rounds of examples, then texts of any class."""
        has_review = systems is REVIEW_SYSTEMS
        labels = dict(zip(classes, self._labels(len(classes), has_review), strict=True))
        order: list[Hashable] = []
        for _ in range(self.rng.randint(1, 3)):
            order += self.rng.sample(list(classes), len(classes))
        order += self.rng.choices(list(classes), k=self.rng.randint(2, 6))
        items = [Item(text_of(value), labels[value]) for value in order]
        names = self.rng.sample(list(labels.values()), len(classes))
        system = self.rng.choice(systems).format(either=either(names))
        return in_context(kind, system, items, has_review)

    def _labels(self, count: int, has_review: bool) -> list[str]:
        if count == 3 and not has_review and self.rng.random() < 0.25:
            return self.rng.sample(HELD_OUT_LABELS, 3)
        return self.rng.sample(LABEL_WORDS, count)
