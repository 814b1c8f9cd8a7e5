"""Labels that the model cannot distinguish, since their tokens are the same. Uses no prompts or templates."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence

from sft.errors import DataError
from sft.log import get_logger

log = get_logger(__name__)

_FEW = 5


def refuse_same_tokens(names: Sequence[str], tokens: Sequence[Sequence[int]]) -> None:
    """Check that the tokens of all labels differ.

    Args:
        names: name of each label in messages.
        tokens: token ids that the model writes for each label, end of turn included.

    Raises:
        DataError: two labels have the same tokens, so their scores would be equal in every row.
    """
    by_tokens: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for name, ids in zip(names, tokens, strict=True):
        by_tokens[tuple(ids)].append(name)
    groups = [_listed(same) for same in by_tokens.values() if len(same) > 1]
    if groups:
        raise DataError(
            f"the model writes the same tokens for the labels {'; '.join(groups[:_FEW])}; give each its own text with "
            "prompting.verbalizers, or change the labels in the data"
        )


def warn_of_similar(labels: Iterable[str]) -> bool:
    """Log labels that differ only in case or white space, which is rarely intended; return whether there are any."""
    by_key: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        by_key["".join(unicodedata.normalize("NFKC", label).casefold().split())].append(label)
    groups = [_listed(same) for same in by_key.values() if len(same) > 1]
    if groups:
        log.warning(
            "Labels that differ only in case or white space are counted as different: %s%s",
            "; ".join(groups[:_FEW]),
            f" and {len(groups) - _FEW} more groups" if len(groups) > _FEW else "",
        )
    return bool(groups)


def _listed(labels: Sequence[str]) -> str:
    return ", ".join(f'"{label}"' for label in labels)
