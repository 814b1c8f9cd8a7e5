"""Where an experiment's process runs: one file per launcher, all behind the protocol in `base.py`."""

from collections.abc import Callable

from sft.launchers.base import Launcher
from sft.registry import Registry

launcher_registry: Registry[Callable[..., Launcher]] = Registry(
    "launcher", {"local": "sft.launchers.local.launcher:LocalLauncher"}
)
