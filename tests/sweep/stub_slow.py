"""A module whose import is slow, like torch's."""

from __future__ import annotations

import os
import time

from stub_child import audit

audit("imports")
time.sleep(float(os.environ.get("STUB_IMPORT", "0")))
