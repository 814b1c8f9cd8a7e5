"""Duplicate rows: rows of an evaluated split that are also in the train split, or repeated within one split.

Two rows are duplicates if their input texts have the same words in the same order after Unicode normalisation (NFKC),
ignoring case, punctuation and white space. Optionally, near duplicates count too (MinHash over character 5-grams,
Broder 1997). An evaluated row that was trained on measures memory, not the recipe. This module uses only texts and
answers.
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
    """Return the text after Unicode normalisation, with each run of white space as one space."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def same_words(text: str) -> str:
    """Return the words of a text, equal for duplicates; a text without words is returned whole."""
    normal = same_text(text)
    return " ".join(_WORD.findall(normal.casefold())) or normal


@dataclass(frozen=True)
class SplitOverlap:
    """Overlap of an evaluated split with the train split.

    Args:
        rows: number of rows of the evaluated split.
        in_train: number of them that are also in the train split.
        in_train_with_other_answer: number of those whose duplicates in the train split all have another answer.
    """

    rows: int
    in_train: int
    in_train_with_other_answer: int


@dataclass(frozen=True)
class SplitRepeats:
    """Repeated rows within a split.

    Args:
        rows: number of rows of the split.
        repeated: number of rows with the text of an earlier row.
        contradicting: number of rows whose text also appears with another answer.
    """

    rows: int
    repeated: int
    contradicting: int


@dataclass(frozen=True)
class Overlap:
    """Counts of duplicates, by split.

    Args:
        with_train: overlap of each evaluated split, by role; empty if the train split is not used.
        within: repeated rows of each split, by role.
        train_rows: rows of the train split that are also in an evaluated split.
        threshold: similarity from which texts count as duplicates; None: equal texts only.
    """

    with_train: Mapping[str, SplitOverlap]
    within: Mapping[str, SplitRepeats]
    train_rows: frozenset[int]
    threshold: float | None = None

    def record(self) -> dict[str, Any]:
        """Return the counts for `result.json`."""
        return {
            "with_train": {role: asdict(counts) for role, counts in self.with_train.items()},
            "within": {role: asdict(counts) for role, counts in self.within.items()},
            "near_duplicates": self.threshold,
        }


Split = tuple[Sequence[str], Sequence[str]]  # texts and answers of its rows


def count_overlap(splits: Mapping[str, Split], threshold: float | None = None) -> Overlap:
    """Count duplicate rows, within each split and between `train` and the other splits.

    Args:
        splits: input texts and answers of the rows, by role.
        threshold: Jaccard similarity from which texts count as duplicates; None: equal texts only.

    Raises:
        MissingPackageError: `threshold` is set and datasketch is not installed.
    """
    keys = {role: [same_words(text) for text in texts] for role, (texts, _) in splits.items()}
    answers = {role: answers for role, (_, answers) in splits.items()}
    within = {role: _repeats(keys[role], answers[role]) for role in splits}
    if "train" not in splits:
        return Overlap({}, within, frozenset(), threshold)
    index = _Index(keys["train"], threshold)
    with_train, shared = {}, set[int]()
    for role in keys.keys() - {"train"}:
        duplicates = [index.rows(key) for key in keys[role]]
        shared.update(row for rows in duplicates for row in rows)
        other = sum(
            bool(rows) and all(answers["train"][row] != answer for row in rows)
            for rows, answer in zip(duplicates, answers[role], strict=True)
        )
        with_train[role] = SplitOverlap(len(duplicates), sum(map(bool, duplicates)), other)
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
    """Texts, searched for near duplicates; candidates are compared exactly."""

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
        """Yield the texts with at least the threshold's similarity to a text."""
        own = _shingles(text)
        for number in sorted(self._lsh.query(_signature(text))):
            other = _shingles(self._texts[number])
            if len(own & other) >= self._threshold * len(own | other):
                yield self._texts[number]


def _signature(text: str) -> Any:
    from datasketch import MinHash

    signature = MinHash(num_perm=_PERMUTATIONS)
    signature.update_batch([shingle.encode("utf-8") for shingle in sorted(_shingles(text))])
    return signature


def _shingles(text: str) -> set[str]:
    return {text[start : start + _SHINGLE] for start in range(max(len(text) - _SHINGLE + 1, 1))}


def describe_overlap(record: Mapping[str, Any], name: str) -> list[str]:
    """Return sentences about the duplicates that a reader of the figures should know.

    Args:
        record: result of `Overlap.record`.
        name: name of the data set.
    """
    same = "the same text" if record.get("near_duplicates") is None else "the same or nearly the same text"
    sentences = []
    for role, counts in record.get("with_train", {}).items():
        if counts["in_train"]:
            other = counts["in_train_with_other_answer"]
            but = f", {other} of them with another answer" if other else ""
            sentences.append(
                f"{name}: {counts['in_train']:,} of {counts['rows']:,} {role} rows have {same} as a train row{but}"
            )
    for role, counts in record.get("within", {}).items():
        if counts["contradicting"]:
            sentences.append(
                f"{name}: {counts['contradicting']:,} of {counts['rows']:,} {role} rows have a text "
                "that also appears with another answer"
            )
        if counts["repeated"]:
            sentences.append(
                f"{name}: {counts['repeated']:,} of {counts['rows']:,} {role} rows repeat an earlier row's text"
            )
    return sentences
