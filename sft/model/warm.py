"""What a run computes alike whatever its config, computed at import: for a process that others are forked from.

Done once for all the children of a server, it is no longer part of an experiment's own time: what is measured of a
sweep that forks includes it once, and of one that starts afresh with each experiment.

Pure Python only: it leaves patterns and names behind, which no thread, lock or device is tied to. A parallel region
here would hang every process that is forked afterwards.
"""

from __future__ import annotations

from contextlib import suppress

from sft.results.environment import environment


def warm_up() -> None:
    """Compile the patterns by which checkpoints' weights are renamed, and look up the packages' versions."""
    environment()
    with suppress(ImportError, AttributeError):  # where this version of transformers has no such thing
        from transformers.conversion_mapping import get_checkpoint_conversion_mapping

        get_checkpoint_conversion_mapping("llama")  # makes those of all architectures


warm_up()
