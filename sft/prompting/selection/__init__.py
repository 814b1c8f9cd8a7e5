"""Ways to choose in-context examples by name, one file each; a user's own as `"module:function"` (see `base.py`).

They choose for the rows that are evaluated. Those shown in training are always balanced: an example more of one label than
of another would tell the trained row's own label.
"""

from __future__ import annotations

from dataclasses import replace
from operator import index

from sft.errors import UserError
from sft.foreign import guarded
from sft.plugins import SELECTIONS
from sft.prompting.selection.base import Choose, Selection, Wanted

__all__ = ["Selection", "Wanted", "choose_examples", "find_selection"]


def find_selection(name: str) -> Selection:
    """The way of that name.

    Raises:
        UserError: an unknown name, or a plug that is not there.
    """
    spec = SELECTIONS.spec(name)
    plugin: Selection | Choose = SELECTIONS.resolve(name)
    if isinstance(plugin, Selection):
        return replace(plugin, choose=guarded(plugin.choose, f'{SELECTIONS.kind} "{name}"'))
    return Selection(plugin, spec.by_row, spec.whole_rounds, spec.last_stay)


def choose_examples(selection: Selection, wanted: Wanted) -> list[list[int]]:
    """What a way chooses, checked: lists of indices into the pool, one for each row asked about or one for all.

    Raises:
        UserError: what it gave is not that, or shows a row its own text.
    """
    chosen = [list(map(_index, one)) for one in selection.choose(wanted)]
    expected = len(wanted.asked) if wanted.per_row else 1
    if len(chosen) != expected:
        raise UserError(f"inference.icl_selection: {len(chosen)} lists of examples for {expected} rows")
    everyone = set(wanted.asked)
    for row, indices in enumerate(chosen):
        forbidden = {wanted.asked[row]} if wanted.per_row else everyone
        if trouble := _trouble(indices, wanted, forbidden):
            raise UserError(f"inference.icl_selection: the examples of row {row}: {trouble}")
    return chosen


def _index(given: object) -> int:
    try:
        return index(given)  # type: ignore[arg-type]
    except TypeError:
        raise UserError(f"inference.icl_selection: {given!r} is not the index of a row") from None


def _trouble(indices: list[int], wanted: Wanted, forbidden: set[str]) -> str | None:
    size = len(wanted.pool.texts)
    if outside := [i for i in indices if not 0 <= i < size]:
        return f"{outside[0]} is not the index of one of the pool's {size} rows"
    if len(set(indices)) < len(indices):
        return "a row stands there twice"
    if own := [i for i in indices if wanted.pool.texts[i] in forbidden]:
        return f"row {own[0]} of the pool has the very text that is asked about"
    return None
