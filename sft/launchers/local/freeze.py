"""The last import of a fork server: exclude all objects created so far from garbage collection.

Otherwise a full collection over the imported libraries would take half of the time of a short experiment and copy their
memory pages into every child.
"""

from __future__ import annotations

import gc

gc.collect()
gc.freeze()
