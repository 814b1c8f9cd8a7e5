"""A grammar of short product reviews with known properties.

A review is an opening plus two to four clauses; its polarity (-1, 0, 1) is that of the writer's own verdict. Negation,
concession ("I expected ... but"), other people's opinions as distractors, balanced reviews and typos make it more
than a bag of words. Knows the lexicon; knows no task, no label word and no tokenizer.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from demo_corpus.lexicon import ASPECT_WORDS, DURATIONS, FACTS, PEOPLE, Lexicon, Opinions

OPENINGS = (
    "I bought this {product}",
    "We got the {product}",
    "Here is my view on the {product}",
    "The {product} arrived",
    "I have had this {product} for {duration}",
    "My {person} gave me this {product}",
    "After {duration} with the {product}",
    "About the {product}",
    "Got a new {product}",
    "We have used the {product} for {duration}",
)
INTENSIFIERS = ("", "", "very ", "really ", "so ", "quite ", "truly ")
HEDGES = ("", "", "rather ", "pretty ", "just ")


@dataclass(frozen=True)
class Review:
    """`aspect` is "" when several are judged; `person` and `duration` are "" when not mentioned."""

    text: str
    polarity: int
    product: str
    category: str
    aspect: str
    person: str
    duration: str


class ReviewGrammar:
    """Draws reviews. `novelty` is the share of opinions that use the lexicon's new words."""

    def __init__(self, lexicon: Lexicon, random: Random, novelty: float = 0.0) -> None:
        self.lexicon, self.random, self.novelty = lexicon, random, novelty

    def draw(self, polarity: int | None = None) -> Review:
        rng = self.random
        sign = rng.choice((-1, 0, 1)) if polarity is None else polarity
        category = rng.choice(sorted(self.lexicon.products))
        product = rng.choice(self.lexicon.products[category])
        person, duration = rng.choice(PEOPLE), rng.choice(DURATIONS)
        template = rng.choice(OPENINGS)
        opening = template.format(product=product, person=person, duration=duration)
        aspect = rng.choice(sorted(ASPECT_WORDS))
        clauses, single = self._body(sign, aspect)
        return Review(
            text=self._assemble(opening, clauses),
            polarity=sign,
            product=product,
            category=category,
            aspect=aspect if single else "",
            person=person if "{person}" in template else "",
            duration=duration if "{duration}" in template else "",
        )

    def clause(self, sign: int) -> str:
        """One clause with that polarity, without a product."""
        rng = self.random
        if rng.random() < 0.3:
            return self._clause(sign)
        return self._judge(rng.choice(sorted(ASPECT_WORDS)), sign)

    def _body(self, sign: int, aspect: str) -> tuple[list[str], bool]:
        """The clauses, and whether only `aspect` is judged."""
        rng = self.random
        facts = rng.sample(FACTS, 2)
        if sign == 0:
            clauses, single = self._neutral(aspect)
        else:
            clauses, single = self._verdict(sign, aspect)
        if rng.random() < 0.45:
            clauses.insert(rng.randrange(len(clauses) + 1), facts[0])
        if sign == 0 and rng.random() < 0.35:
            clauses.append(facts[1])
        return clauses, single

    def _verdict(self, sign: int, aspect: str) -> tuple[list[str], bool]:
        rng = self.random
        kind = rng.random()
        if kind < 0.40:
            return [self._judge(aspect, sign)], True
        if kind < 0.60:
            return [self._judge(aspect, sign), self._clause(sign)], True
        if kind < 0.72:
            return [self._clause(sign)], False
        if kind < 0.88:
            return [self._turn(sign, aspect)], True
        other = rng.choice([name for name in sorted(ASPECT_WORDS) if name != aspect])
        mild = [self._judge(other, -sign)]
        strong = [self._judge(aspect, sign), self._clause(sign)]
        return (mild + strong if rng.random() < 0.7 else strong + mild), False

    def _neutral(self, aspect: str) -> tuple[list[str], bool]:
        rng = self.random
        kind = rng.random()
        if kind < 0.35:
            return [self._judge(aspect, 0)], True
        if kind < 0.55:
            return [self._clause(0)], False
        if kind < 0.68:
            return [f"it is not {self._adjective(1)} but not {self._adjective(-1)} either"], False
        if kind < 0.80:
            return [rng.choice(FACTS)], False
        other = rng.choice([name for name in sorted(ASPECT_WORDS) if name != aspect])
        first = rng.choice((-1, 1))
        return [f"{self._judge(aspect, first)} but {self._judge(other, -first)}"], False

    def _turn(self, sign: int, aspect: str) -> str:
        """A clause in which another opinion stands before the writer's own."""
        rng = self.random
        noun = rng.choice(ASPECT_WORDS[aspect])
        other, own = self._adjective(-sign), self._adjective(sign)
        return rng.choice(
            (
                f"I expected the {noun} to be {other} but it is {own}",
                f"everyone calls the {noun} {other} but I find it {own}",
                f"my {rng.choice(PEOPLE)} thinks that the {noun} is {other} but to me it is {own}",
                f"at first the {noun} seemed {other} and now it is {own}",
                f"the {noun} is not {other} but {own}",
            )
        )

    def _judge(self, aspect: str, sign: int) -> str:
        rng = self.random
        noun = rng.choice(ASPECT_WORDS[aspect])
        if sign and rng.random() < 0.18:
            negated = rng.choice(("not {} at all", "far from {}", "never {}"))
            quality = negated.format(self._adjective(-sign))
        else:
            quality = rng.choice(INTENSIFIERS if sign else HEDGES) + self._adjective(sign)
        frame = rng.choice(("the {n} is {q}", "the {n} was {q}", "I find the {n} {q}", "the {n} seems {q}", "{q} {n}"))
        return frame.format(n=noun, q=quality) if " at all" not in quality else f"the {noun} is {quality}"

    def _adjective(self, sign: int) -> str:
        return self.random.choice(self._source(sign).adjectives)

    def _clause(self, sign: int) -> str:
        return self.random.choice(self._source(sign).clauses)

    def _source(self, sign: int) -> Opinions:
        new = bool(self.lexicon.new_opinions) and self.random.random() < self.novelty
        return (self.lexicon.new_opinions if new else self.lexicon.opinions)[sign]

    def _assemble(self, opening: str, clauses: list[str]) -> str:
        rng = self.random
        if rng.random() < 0.15:
            clauses = [misspell(clause, rng) for clause in clauses]
        style = rng.random()
        if style < 0.65:
            text = ". ".join([opening, *(clause[0].upper() + clause[1:] for clause in clauses)]) + "."
        else:
            text = opening + ", " + ", ".join(clauses) + rng.choice((".", "", "!"))
        return text.lower() if rng.random() < 0.2 else text


def misspell(text: str, rng: Random) -> str:
    """One letter of one longer word dropped, doubled or swapped with the next."""
    words = text.split()
    places = [index for index, word in enumerate(words) if len(word) > 3 and word.isalpha()]
    if not places:
        return text
    index = rng.choice(places)
    word, at = words[index], rng.randrange(1, len(words[index]) - 1)
    edits = (
        word[:at] + word[at + 1 :],
        word[:at] + word[at] + word[at:],
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
    )
    words[index] = rng.choice(edits)
    return " ".join(words)
