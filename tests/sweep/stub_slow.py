"""A module whose import takes a while, as torch's does."""

from __future__ import annotations

import os
import time

from stub_child import audit

audit("imports")
time.sleep(float(os.environ.get("STUB_IMPORT", "0")))
