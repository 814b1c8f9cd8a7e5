"""Warm-up at import, independent of the config, for a process from which others are forked.

A server does this once for all its children, so it is not part of the time of an experiment.

Pure Python only: the results must not depend on threads, locks or devices. A parallel region here would hang every
process that is forked afterwards.
"""

from __future__ import annotations

from contextlib import suppress

from sft.results.environment import environment


def warm_up() -> None:
    """Compile the patterns for renaming the weights of checkpoints, and look up the package versions."""
    environment()
    with suppress(ImportError, AttributeError):  # other versions of transformers do not have it
        from transformers.conversion_mapping import get_checkpoint_conversion_mapping

        get_checkpoint_conversion_mapping("llama")  # builds those of all architectures


warm_up()
