"""Ways to choose in-context examples, by name, one file each; a user's own is `"module:function"` (see `base.py`).

They choose for evaluated rows. In training, examples are always balanced: different counts per label would leak the
label of the trained row.
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
    """Return the way to choose examples with a name.

    Raises:
        UserError: an unknown name, or a plugin that cannot be imported.
    """
    spec = SELECTIONS.spec(name)
    plugin: Selection | Choose = SELECTIONS.resolve(name)
    if isinstance(plugin, Selection):
        return replace(plugin, choose=guarded(plugin.choose, f'{SELECTIONS.kind} "{name}"'))
    return Selection(plugin, spec.by_row, spec.whole_rounds, spec.last_stay)


def choose_examples(selection: Selection, wanted: Wanted) -> list[list[int]]:
    """Choose examples and check them: a list of indices into the pool for each row, or one list for all rows.

    Raises:
        UserError: invalid lists or indices, or an example with the row's own text.
    """
    chosen = [list(map(_index, indices)) for indices in selection.choose(wanted)]
    expected = len(wanted.asked) if wanted.per_row else 1
    if len(chosen) != expected:
        raise UserError(f"inference.icl_selection: expected {expected} lists of examples, got {len(chosen)}")
    all_texts = set(wanted.asked)
    for row, indices in enumerate(chosen):
        forbidden = {wanted.asked[row]} if wanted.per_row else all_texts
        if problem := _problem(indices, wanted, forbidden):
            raise UserError(f"inference.icl_selection: examples of row {row}: {problem}")
    return chosen


def _index(value: object) -> int:
    try:
        return index(value)  # type: ignore[arg-type]
    except TypeError:
        raise UserError(f"inference.icl_selection: expected the index of a row, got {value!r}") from None


def _problem(indices: list[int], wanted: Wanted, forbidden: set[str]) -> str | None:
    size = len(wanted.pool.texts)
    if outside := [i for i in indices if not 0 <= i < size]:
        return f"expected indices from 0 to {size - 1}, got {outside[0]}"
    if len(set(indices)) < len(indices):
        return "a row appears twice"
    if own := [i for i in indices if wanted.pool.texts[i] in forbidden]:
        return f"row {own[0]} of the pool has the text of the evaluated row"
    return None
