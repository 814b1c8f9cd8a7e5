"""Training methods by name, one file each; a user's own as `"module:function"`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sft.registry import Registry

if TYPE_CHECKING:
    from sft.training.base import Method

RESTORING = frozenset({"sft"})  # methods that leave the base model as they found it, once the adapter is off
method_registry: Registry[Method] = Registry("training method", {"sft": "sft.training.methods.sft:train_sft"})
