"""The first import of a fork server: discard everything that later imports print.

The server shares the terminal of the sweep, and its children have their own logs. The server also ends with the sweep,
even during its imports. Its children watch the sweep themselves.
"""

from __future__ import annotations

import os

from sft.launchers.local.lifetime import end_when_killed

end_when_killed()
_null = os.open(os.devnull, os.O_WRONLY)
os.dup2(_null, 1)
os.dup2(_null, 2)
os.close(_null)
