"""Where an experiment's process runs: one file per launcher, all behind the protocol in `base.py`."""

from sft.launchers.base import Launcher
from sft.registry import Registry

launcher_registry: Registry[type[Launcher]] = Registry("launcher", {"local": "sft.launchers.local:LocalLauncher"})
