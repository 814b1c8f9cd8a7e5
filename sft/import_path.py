"""Keep the working directory off the import path. Runs when the package is imported, before any other import.

`python -m sft.cli` looks for modules in the working directory first. The user's own files lie there: one called
`datasets.py` would run in place of the library, and one called `wandb.py` wherever a library asks whether that one is
installed. So the working directory leaves the import path, here and (by -P) in every Python process that is started
here; it is there only while the user's own code runs (see `sft.foreign`). Another program that is run by `-m` and
imports this package keeps its path.
"""

import sys
from importlib.machinery import PathFinder

_is_run_as_module = (
    sys.argv[:1] == ["-m"]  # while `-m` looks for the module
    and not sys.flags.safe_path
    and any(argument.removeprefix("-m").partition(".")[0] == "sft" for argument in sys.orig_argv[1:])
)
# Else this is a checkout that is not installed, found by way of the working directory.
_is_installed = PathFinder.find_spec("sft", sys.path[1:] if _is_run_as_module else sys.path) is not None
PYTHON_FLAGS = ("-P",) if _is_installed else ()

if _is_run_as_module:
    _working_directory = sys.path.pop(0)
    if not _is_installed:
        sys.path.append(_working_directory)
