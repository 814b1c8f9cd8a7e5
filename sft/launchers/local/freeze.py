"""The last import of a fork server: from here on its garbage collector leaves alone what is there.

A full collection over the imported libraries would otherwise be half of what a short experiment costs, and would copy
their memory pages into every child.
"""

from __future__ import annotations

import gc

gc.collect()
gc.freeze()
