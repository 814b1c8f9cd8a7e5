"""Run `python -m MODULE ARGUMENTS`, and end it with all its children when the process that requested it ends.

    python -m sft.launchers.local.watched_module PARENT MODULE ARGUMENTS

The kernel's own signal would end the module before it could end its children.
"""

from __future__ import annotations

import os
import runpy
import sys
import time

from sft.launchers.local.lifetime import watch

SECONDS_BETWEEN_CHECKS = 0.2


def main() -> None:
    """Watch the parent process, and run the module."""
    parent, module, *arguments = sys.argv[1:]

    def wait() -> None:
        while os.getppid() == int(parent):
            time.sleep(SECONDS_BETWEEN_CHECKS)

    watch(wait)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
