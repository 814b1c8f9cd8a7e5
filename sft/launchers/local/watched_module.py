"""`python -m MODULE ARGUMENTS`, and ended with all that it started when the process that asked for it ends.

    python -m sft.launchers.local.watched_module PARENT MODULE ARGUMENTS

In place of the kernel's own signal: that one ends a polite module before it can take along what it has started.
"""

from __future__ import annotations

import os
import runpy
import sys
import time

from sft.launchers.local.lifetime import watch

SECONDS_BETWEEN_LOOKS = 0.2


def main() -> None:
    """Watch the parent, and be the module."""
    parent, module, *arguments = sys.argv[1:]

    def wait() -> None:
        while os.getppid() == int(parent):
            time.sleep(SECONDS_BETWEEN_LOOKS)

    watch(wait)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
