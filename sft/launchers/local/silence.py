"""The first import of a fork server: what the others print while they are imported goes nowhere.

Its terminal is that of the sweep, and its children have logs of their own. And it ends with the sweep, in the midst of
its imports too: its children are told by themselves.
"""

from __future__ import annotations

import os

from sft.launchers.local.lifetime import end_when_killed

end_when_killed()
_nothing = os.open(os.devnull, os.O_WRONLY)
os.dup2(_nothing, 1)
os.dup2(_nothing, 2)
os.close(_nothing)
