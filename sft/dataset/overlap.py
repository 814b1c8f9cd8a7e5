"""Rows that are the same: of an evaluated split also in the train split, or several times in one split.

Two rows are counted as the same where their input texts have the same words in the same order, after Unicode
normalisation (NFKC), whatever case, punctuation and white space; opted in to, also where they are nearly so (MinHash
over character 5-grams, Broder 1997). An evaluated row
that was trained on measures memory, not the recipe. Knows texts and answers only.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sft.errors import MissingPackageError

_WORD = re.compile(r"\w+")
_SHINGLE = 5  # characters: short enough for a tweet, and for languages without spaces
_PERMUTATIONS = 128


def same_text(text: str) -> str:
    """Return the text after Unicode normalisation, with runs of white space as one space."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def same_words(text: str) -> str:
    """Return the words of a text, which are equal for texts that count as the same; all of a text without words."""
    normal = same_text(text)
    return " ".join(_WORD.findall(normal.casefold())) or normal


@dataclass(frozen=True)
class SplitOverlap:
    """How an evaluated split overlaps with the train split.

    Args:
        rows: of the evaluated split.
        in_train: of these, how many the train split has too.
        in_train_with_other_answer: of those, how many have another answer in each such row.
    """

    rows: int
    in_train: int
    in_train_with_other_answer: int


@dataclass(frozen=True)
class SplitRepeats:
    """How a split repeats itself.

    Args:
        rows: of the split.
        repeated: how many have the text of an earlier row.
        contradicting: how many have a text that also stands there with another answer.
    """

    rows: int
    repeated: int
    contradicting: int


@dataclass(frozen=True)
class Overlap:
    """What was counted, by split.

    Args:
        with_train: of evaluated splits, by role; empty where the train split is not used.
        within: of every split, by role.
        train_rows: rows of the train split that an evaluated split has too.
        threshold: similarity from which on texts count as the same; None: only equal ones.
    """

    with_train: Mapping[str, SplitOverlap]
    within: Mapping[str, SplitRepeats]
    train_rows: frozenset[int]
    threshold: float | None = None

    def record(self) -> dict[str, Any]:
        """Return the counts for `result.json`."""
        return {
            "with_train": {role: asdict(one) for role, one in self.with_train.items()},
            "within": {role: asdict(one) for role, one in self.within.items()},
            "near_duplicates": self.threshold,
        }


Split = tuple[Sequence[str], Sequence[str]]  # texts and answers of its rows


def count_overlap(splits: Mapping[str, Split], threshold: float | None = None) -> Overlap:
    """Count rows that are the same, within each split and between `train` and the others.

    Args:
        splits: input texts and answers of the rows, by role.
        threshold: Jaccard similarity from which on texts count as the same, besides equal ones; None: only equal ones.

    Raises:
        MissingPackageError: `threshold` is given, and datasketch is not installed.
    """
    keys = {role: [same_words(text) for text in texts] for role, (texts, _) in splits.items()}
    answers = {role: answers for role, (_, answers) in splits.items()}
    within = {role: _repeats(keys[role], answers[role]) for role in splits}
    if "train" not in splits:
        return Overlap({}, within, frozenset(), threshold)
    index = _Index(keys["train"], threshold)
    with_train, shared = {}, set[int]()
    for role in keys.keys() - {"train"}:
        found = [index.rows(key) for key in keys[role]]
        shared.update(row for rows in found for row in rows)
        other = sum(
            bool(rows) and all(answers["train"][row] != answer for row in rows)
            for rows, answer in zip(found, answers[role], strict=True)
        )
        with_train[role] = SplitOverlap(len(found), sum(map(bool, found)), other)
    return Overlap(dict(sorted(with_train.items())), within, frozenset(shared), threshold)


def _repeats(keys: Sequence[str], answers: Sequence[str]) -> SplitRepeats:
    seen: dict[str, set[str]] = defaultdict(set)
    for key, answer in zip(keys, answers, strict=True):
        seen[key].add(answer)
    return SplitRepeats(len(keys), len(keys) - len(seen), sum(len(seen[key]) > 1 for key in keys))


class _Index:
    """The rows of the train split, by text."""

    def __init__(self, keys: Sequence[str], threshold: float | None) -> None:
        self._rows: dict[str, list[int]] = defaultdict(list)
        for row, key in enumerate(keys):
            self._rows[key].append(row)
        self._near = None if threshold is None else _NearIndex(list(self._rows), threshold)

    def rows(self, key: str) -> list[int]:
        """Return the rows with the same text."""
        same = [key] if key in self._rows else []
        near = [] if self._near is None else self._near.texts(key)
        return [row for text in dict.fromkeys([*same, *near]) for row in self._rows[text]]


class _NearIndex:
    """Texts of which nearly equal ones are found, and compared exactly."""

    def __init__(self, texts: Sequence[str], threshold: float) -> None:
        try:
            from datasketch import MinHashLSH
        except ImportError as error:
            raise MissingPackageError("dataset.near_duplicates", "datasketch", extra="near-duplicates") from error
        self._threshold = threshold
        self._texts = texts
        self._lsh = MinHashLSH(threshold=threshold, num_perm=_PERMUTATIONS)
        with self._lsh.insertion_session() as session:
            for number, text in enumerate(texts):
                session.insert(number, _signature(text))

    def texts(self, text: str) -> Iterator[str]:
        """Yield the texts with at least that similarity."""
        wanted = _shingles(text)
        for number in sorted(self._lsh.query(_signature(text))):
            other = _shingles(self._texts[number])
            if len(wanted & other) >= self._threshold * len(wanted | other):
                yield self._texts[number]


def _signature(text: str) -> Any:
    from datasketch import MinHash

    signature = MinHash(num_perm=_PERMUTATIONS)
    signature.update_batch([shingle.encode("utf-8") for shingle in sorted(_shingles(text))])
    return signature


def _shingles(text: str) -> set[str]:
    return {text[place : place + _SHINGLE] for place in range(max(len(text) - _SHINGLE + 1, 1))}


def describe_overlap(record: Mapping[str, Any], name: str) -> list[str]:
    """Return a sentence for each thing in the counts that a reader of figures should know.

    Args:
        record: as `Overlap.record` gives it.
        name: what the data set is called.
    """
    same = "the same text" if record.get("near_duplicates") is None else "the same or nearly the same text"
    sentences = []
    for role, one in record.get("with_train", {}).items():
        if one["in_train"]:
            other = one["in_train_with_other_answer"]
            but = f", {other} of them with another answer" if other else ""
            sentences.append(
                f"{name}: {one['in_train']:,} of {one['rows']:,} {role} rows have {same} as a train row{but}"
            )
    for role, one in record.get("within", {}).items():
        if one["contradicting"]:
            sentences.append(
                f"{name}: {one['contradicting']:,} of {one['rows']:,} {role} rows have a text that also appears with "
                "another answer"
            )
        if one["repeated"]:
            sentences.append(f"{name}: {one['repeated']:,} of {one['rows']:,} {role} rows repeat an earlier row's text")
    return sentences
