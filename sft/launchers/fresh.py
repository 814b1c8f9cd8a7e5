"""`python -m MODULE ARGUMENTS`, and ended with all that it started when the process that asked for it ends.

    python -m sft.launchers.fresh PARENT MODULE ARGUMENTS

The kernel's signal asks it to end; where that is not heard (a long call into C, a handler that ignores it), this does.
"""

from __future__ import annotations

import os
import runpy
import sys
import time

from sft.launchers.bind import watch

SECONDS_BETWEEN_LOOKS = 0.5


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
