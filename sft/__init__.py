"""sft: which few-shot recipe works best here? One Jsonnet grid in, a comparison table out."""

import sys

__version__ = "0.1.0"

# `python -m sft.cli` looks for modules in the working directory first. There lie the user's own files, and one called
# `datasets.py` would be run in place of the library. While `-m` is at work, it is what the program is called.
if sys.argv[:1] == ["-m"] and not sys.flags.safe_path:
    sys.path.append(sys.path.pop(0))
