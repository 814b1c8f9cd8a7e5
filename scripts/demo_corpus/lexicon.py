"""Word lists from which every demo text is made.

Two lexicons share one shape: `PRETRAINING` feeds the corpus, `HELD_OUT` the data sets of the demo's tasks.
They differ in products and towns (disjoint) and in a part of the opinion words (`new_*`: in held-out texts only),
so that a fine-tuned model has words to learn from its shots. Knows nothing of grammars, tasks or labels.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

HELD_OUT_LABELS = ("negative", "neutral", "positive")


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.strip().split("\n") if part.strip())


@dataclass(frozen=True)
class Opinions:
    """Words and whole clauses for one polarity; adjectives fit "the price is ..."."""

    adjectives: tuple[str, ...]
    clauses: tuple[str, ...]


@dataclass(frozen=True)
class Lexicon:
    """Everything that a grammar draws from. `opinions` and `new_opinions` are keyed -1, 0, 1."""

    products: dict[str, tuple[str, ...]]
    towns: tuple[str, ...]
    opinions: dict[int, Opinions]
    new_opinions: dict[int, Opinions]


CATEGORIES = {
    "kitchen": "kettle\ntoaster\nblender\nfrying pan\ncoffee machine\nbread knife\nrice cooker\nmixing bowl",
    "garden": "hose\nlawn mower\nrake\nflower pot\nwatering can\nparasol\nhedge trimmer\ngarden bench",
    "clothes": "jacket\nscarf\nraincoat\nsweater\npair of jeans\nwool hat\nbelt\nshirt",
    "electronics": "phone\nlaptop\nheadphones\nkeyboard\nradio\ncamera\nspeaker\ntablet",
    "toys": "puzzle\nteddy bear\nkite\ntrain set\nboard game\ndoll house\ntoy car\nball",
    "furniture": "desk\nlamp\nbookshelf\narmchair\nmattress\ncarpet\nmirror\nstool",
}
HELD_OUT_CATEGORIES = {
    "kitchen": "teapot\ngrill pan\ncutting board\nwaffle maker\njuicer",
    "garden": "spade\ngarden chair\nbird house\nsprinkler",
    "clothes": "coat\npair of gloves\ndress\nrain boots",
    "electronics": "printer\nwatch\nmonitor\ncharger",
    "toys": "drum\ntoy boat\nbuilding blocks\nyo-yo",
    "furniture": "table\nsofa\ncoat rack\nwardrobe",
}
ASPECTS = {
    "delivery": "delivery\nshipping\ncourier",
    "price": "price\ncost",
    "quality": "quality\nmaterial\nbuild",
    "service": "service\nsupport\nhelp desk",
    "size": "size\nfit",
    "look": "look\ncolour\ndesign",
    "sound": "sound\nvolume\nnoise level",
    "manual": "manual\nguide\nset of instructions",
}
ADJECTIVES = {
    1: "great good excellent lovely superb fantastic wonderful brilliant perfect nice amazing impressive solid "
    "pleasant delightful reliable splendid terrific neat outstanding fine handy beautiful sturdy marvellous",
    -1: "bad awful terrible horrible poor dreadful useless disappointing flimsy annoying shoddy faulty nasty "
    "miserable broken cheap-looking ugly sloppy unreliable frustrating pathetic rubbish lousy weak hopeless",
    0: "okay average ordinary standard usual normal typical acceptable passable middling so-so plain fair",
}
NEW_ADJECTIVES = {
    1: "stellar flawless gorgeous first-rate charming magnificent top-notch sublime ace heavenly",
    -1: "atrocious abysmal crummy laughable ghastly second-rate dismal appalling grim defective",
    0: "unremarkable run-of-the-mill mediocre tolerable moderate regular",
}
CLAUSES = {
    1: """I love it
        it works like a charm
        I would buy it again
        it made my day
        I am very happy with it
        it was worth every penny
        I use it every day with joy
        it beats my old one easily
        my whole family enjoys it
        I can only praise it
        it was better than I hoped
        I am glad that I bought it""",
    -1: """I hate it
        it broke after a week
        it was a waste of money
        I sent it back
        I want my money back
        it stopped working
        I regret buying it
        it let me down
        I would not buy it again
        it fell apart in my hands
        it was worse than I feared
        it makes me angry""",
    0: """it does what it says
        nothing special
        it is what it is
        I have no strong feelings about it
        it is neither here nor there
        I expected about this much
        I could take it or leave it
        there is not much to say about it
        it is like any other
        I will see how it goes""",
}
NEW_CLAUSES = {
    1: """I am over the moon
        five stars from me
        it won me over at once
        I cannot stop smiling about it""",
    -1: """it went straight into the bin
        one star from me
        I feel cheated
        it gave up after two days""",
    0: """three stars from me
        it gets by
        no complaints and no cheers
        the jury is still out""",
}
FACTS = _phrases("""
    I ordered it on the website
    it came in a brown box
    I keep it in the hall
    we use it at the weekend
    it replaces an old one
    it has two buttons
    the box was on the porch
    it stands next to the window
    I paid by card
    it came with a small bag
    we have it at work too
    the label is on the back
    I picked it up at the shop
    it is the newer version
""")
PEOPLE = _words("sister brother mother father neighbour friend cousin aunt uncle boss wife husband son daughter")
DURATIONS = tuple(
    f"{number} {unit}"
    for number in _words("two three four five six seven eight")
    for unit in _words("days weeks months")
)
COLOURS = _words("red blue green black white yellow grey brown orange purple pink silver")
DAYS = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
FIRST_NAMES = _words(
    "Anna Ben Clara David Emma Frank Grace Henry Ida Jack Karen Leo Maria Noah Olga Paul Rosa Sam Tina Victor "
    "Wanda Yusuf Zoe Adam Bella Carlos Dina Erik Fatima George Hanna Ivan Julia Kofi Lena Marco Nina Omar Petra Rafael"
)
LAST_NAMES = _words(
    "Abbott Baker Carter Dixon Evans Fisher Grant Hughes Ingram Jensen Keller Lopez Moore Novak Owen Porter Quinn "
    "Rossi Schmidt Turner Usman Vega Weber Young Zimmer Becker Costa Dubois Fischer Garcia Hansen Kim Larsen Meyer"
)
NUMBERS = _words("one two three four five six seven eight nine ten eleven twelve")
TOWN_STEMS = _words(
    "Ash Brad Clay Dun East Fair Glen Hart Kings Lang Marl Nor Oak Pem Red Stan Thorn Wal West Wood Bel Crow Elm Farn"
)
TOWN_ENDINGS = _words("ford ton ham bury field wick ley mouth port well")
WORD_GROUPS = {
    "animal": _words("dog cat horse cow sheep mouse duck goose lion tiger bear wolf fox rabbit frog snake"),
    "fruit": _words("apple pear plum cherry grape lemon melon peach mango banana fig kiwi"),
    "colour": COLOURS,
    "tool": _words("hammer saw drill spanner pliers shovel axe chisel file wrench"),
    "number": NUMBERS,
    "day": DAYS,
    "name": FIRST_NAMES,
    "person": PEOPLE,
    "weather": _words("rain snow wind fog storm sunshine hail thunder frost cloud"),
    "body": _words("hand foot arm leg nose ear eye knee elbow finger"),
}
LABEL_WORDS = _words(
    "river stone bridge candle paper window button garden silver copper amber violet winter summer autumn spring "
    "north south east west left right upper lower alpha beta gamma delta sigma omega zero first second third "
    "circle square triangle star moon sun cloud rain coal salt sugar pepper bread cheese butter honey basket ladder "
    "rocket anchor pilot doctor farmer baker singer dancer writer teacher king queen knight castle tower market "
    "forest desert island valley mountain ocean harbor meadow lantern mirror carpet cotton velvet marble timber "
    "red blue green black white yellow pink brown up down high low hot cold fast slow big small old new "
    "cat dog fox owl crow swan tiger zebra camel otter lemon apple olive peach mango "
    "Monday Friday Sunday Paris Rome Berlin Oslo A B C D X Y Z 1 2 3 4 good bad mixed yes no maybe happy sad calm "
    "flag drum bell horn flute piano guitar violin wave sand rope chain wheel engine motor pocket needle thread"
)


def _opinions(adjectives: dict[int, str], clauses: dict[int, str]) -> dict[int, Opinions]:
    return {sign: Opinions(_words(adjectives[sign]), _phrases(clauses[sign])) for sign in (-1, 0, 1)}


def _towns(parity: int) -> tuple[str, ...]:
    """Half of all stem-ending pairs: the two halves share their parts, never a whole name."""
    pairs = [(i, j) for i in range(len(TOWN_STEMS)) for j in range(len(TOWN_ENDINGS)) if (i + j) % 2 == parity]
    return tuple(TOWN_STEMS[i] + TOWN_ENDINGS[j] for i, j in pairs)


def without_whole_towns(text: str) -> str:
    """The text with every town taken apart ("Ashford" -> "Ash ford"), so that a tokenizer learns only the parts."""
    return TOWN_PATTERN.sub(r"\1 \2", text)


def _products(table: dict[str, str]) -> dict[str, tuple[str, ...]]:
    return {category: _phrases(text) for category, text in table.items()}


TOWN_PATTERN = re.compile(rf"\b({'|'.join(TOWN_STEMS)})({'|'.join(TOWN_ENDINGS)})\b")
ASPECT_WORDS = {aspect: _phrases(text) for aspect, text in ASPECTS.items()}
PRETRAINING = Lexicon(
    products=_products(CATEGORIES),
    towns=_towns(0),
    opinions=_opinions(ADJECTIVES, CLAUSES),
    new_opinions={},
)
HELD_OUT = Lexicon(
    products=_products(HELD_OUT_CATEGORIES),
    towns=_towns(1),
    opinions=_opinions(ADJECTIVES, CLAUSES),
    new_opinions=_opinions(NEW_ADJECTIVES, NEW_CLAUSES),
)
