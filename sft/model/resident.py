"""Keep a base model from one experiment to the next in one process; drop it if a check finds any change.

This pays off if loading the base takes longer than the experiment. The returned model must equal the lent one bit for
bit: weights, modules, hooks, config.
"""

from __future__ import annotations

import gc
import site
import sys
import sysconfig
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sft.config.sections.model import ModelConfig, base_key
from sft.io import hash_path
from sft.log import get_logger
from sft.model.load import load_model
from sft.model.source import import_peft
from sft.protocols import LanguageModel
from sft.results.environment import cpu_seconds

if TYPE_CHECKING:
    import torch

log = get_logger(__name__)

# Memory that may stay allocated beyond the base, as buffers of the libraries do.
SLACK_ON_DEVICE = 64 * 2**20
SLACK_IN_MAIN_MEMORY = 2**30
_KEPT_BY_CONTENT = ("transformers_modules", "datasets_modules")
_LEFT_BEHIND = ("peft_config", "_hf_peft_config_loaded", "model_tags")  # by PEFT and TRL; without effect on the results


class Models(Protocol):
    """Lends base models to runs.

    Attributes:
        cpu_before: CPU seconds that this process had used before the run.
    """

    cpu_before: float

    def load(self, config: ModelConfig) -> LanguageModel:
        """Return the base of a config, equal to a freshly loaded one."""

    def give_back(self, model: LanguageModel) -> None:
        """Take back a base after the run, with or without an adapter on it."""


class FreshModels:
    """Loads the base for each run."""

    cpu_before = 0.0

    def load(self, config: ModelConfig) -> LanguageModel:
        """Load the base of a config."""
        return load_model(config)

    def give_back(self, model: LanguageModel) -> None:
        """Do nothing."""


class ResidentModel:
    """Keeps the last base, and lends it to the next run with the same base."""

    def __init__(self) -> None:
        self.cpu_before = 0.0
        self._changed = ""
        self._key = ("", "")
        self._model: LanguageModel | None = None
        self._fingerprint: Fingerprint | None = None
        self._trainable: frozenset[str] = frozenset()
        self._memory: Memory | None = None  # with a base, before the first run on it
        self._modules_before = frozenset(sys.modules)

    def load(self, config: ModelConfig) -> LanguageModel:
        """Return the base of a config: the kept one, if it is the same."""
        key = base_key(config), content_hash(config)
        if self._model is None or self._changed or key != self._key:
            self._model = self._fingerprint = None
            self._changed = ""
            gc.collect()
            self._model, self._key = load_model(config), key
            self._fingerprint = Fingerprint.of(self._model)
            self._trainable = frozenset(n for n, p in self._model.named_parameters() if p.requires_grad)
            self._memory = Memory.now()
        else:
            log.info("The base model is still loaded")
        return self._model

    def give_back(self, model: LanguageModel) -> None:
        """Remove the adapter, and check that the base is unchanged."""
        base = without_adapter(model)
        if self._model is None or self._fingerprint is None or base is not self._model:
            self._changed = "the returned model is another one"
            return
        for name, parameter in self._model.named_parameters():
            parameter.requires_grad_(name in self._trainable)
            parameter.grad = None
        self._model.eval()
        self._changed = self._fingerprint.differs_from(Fingerprint.of(self._model))

    def is_fit(self) -> bool:
        """Whether another run may use this process: base and memory are as before.

        Call it after the run, when nothing refers to its adapter any more.
        """
        self.cpu_before = cpu_seconds()
        gc.collect()
        grown = "" if self._memory is None else self._memory.grown(Memory.now())
        reason = self._changed or grown or self._own_code()
        if reason:
            log.warning("The next experiment gets a process of its own: %s", reason)
        return not reason

    def _own_code(self) -> str:
        """Describe an imported file that may be edited before the next run; empty if there is none."""
        for name in sorted(sys.modules.keys() - self._modules_before):
            file = getattr(sys.modules[name], "__file__", None)
            if file is not None and is_own_code(name, Path(file)):
                return f"{file} may be edited before it starts"
        return ""


def content_hash(config: ModelConfig) -> str:
    """Hash the files of a base if they are local, to notice edits."""
    path = Path(config.name)
    return hash_path(path) if path.exists() else ""


def is_own_code(name: str, file: Path) -> bool:
    """Whether a module is the user's, such as a plugin: not of a library, Python or this package.

    Code of a model or data set is in the Hub's cache, under names that depend on its content. A relative path is no
    file: some synthetic modules of libraries (`torch.classes`) have one.
    """
    return (
        file.is_absolute()
        and name.partition(".")[0] not in _KEPT_BY_CONTENT
        and not any(file.is_relative_to(folder) for folder in _installed())
    )


@cache
def _installed() -> tuple[Path, ...]:
    folders = {Path(sysconfig.get_path(kind)) for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders.update(map(Path, site.getsitepackages()), [Path(site.getusersitepackages()), Path(__file__).parents[1]])
    return tuple(folders | {folder.resolve() for folder in folders})


def without_adapter(model: LanguageModel) -> LanguageModel:
    """Return the base under an adapter; a model without adapter unchanged."""
    peft = import_peft()
    if not isinstance(model, peft.PeftModel):
        return model
    base = model.unload() if hasattr(model.base_model, "unload") else model.get_base_model()
    forget_adapter(base)
    return base


def forget_adapter(base: LanguageModel) -> None:
    """Remove attributes that PEFT and TRL leave on a base."""
    for name in _LEFT_BEHIND:
        vars(base).pop(name, None)


@dataclass(frozen=True)
class Fingerprint:
    """Fingerprint of everything that determines what a model computes.

    Attributes:
        tensors: type, shape, device and checksum of each parameter and buffer.
        modules: class of each module, whether it has its own forward, and its number of hooks.
        settings: config, generation config, and names of the attributes.
    """

    tensors: dict[str, tuple[str, tuple[int, ...], str, int]]
    modules: dict[str, tuple[str, bool, int]]
    settings: tuple[str, str, tuple[str, ...]]

    @classmethod
    def of(cls, model: LanguageModel) -> Fingerprint:
        """Compute the fingerprint of a model."""
        named = [*model.named_parameters(), *model.named_buffers()]
        tensors = {n: (str(t.dtype), tuple(t.shape), str(t.device), checksum(t)) for n, t in named}
        modules = {
            name: (type(module).__qualname__, "forward" in vars(module), _hooks(module))
            for name, module in model.named_modules()
        }
        generation = model.generation_config
        settings = str(model.config.to_dict()), str(generation and generation.to_dict()), tuple(sorted(vars(model)))
        return cls(tensors, modules, settings)

    def differs_from(self, other: Fingerprint) -> str:
        """Describe the first difference; empty if there is none."""
        for ours, theirs, kind in (
            (self.modules, other.modules, "module"),
            (self.tensors, other.tensors, "weight"),
        ):
            for name in [*ours, *(theirs.keys() - ours.keys())]:
                if ours.get(name) != theirs.get(name):
                    return f'its {kind} "{name}" was changed'
        config, generation, attributes = (
            ours == theirs for ours, theirs in zip(self.settings, other.settings, strict=True)
        )
        changed = [what for same, what in ((config, "config"), (generation, "generation config")) if not same]
        if not attributes:
            changed += sorted(set(self.settings[2]) ^ set(other.settings[2]))
        return f"its {', '.join(changed)} changed" if changed else ""


def checksum(tensor: torch.Tensor) -> int:
    """Return a 64-bit checksum of a tensor's bits."""
    import torch

    if tensor.numel() == 0:
        return 0
    return int(torch.hash_tensor(tensor.detach()).view(torch.int64))


@dataclass(frozen=True)
class Memory:
    """Bytes in use: allocated on the device, resident in main memory."""

    device: int
    main: int

    @classmethod
    def now(cls) -> Memory:
        """Return the memory in use now."""
        import psutil
        import torch

        on_device = torch.cuda.memory_allocated() if torch.cuda.is_available() else 0
        return cls(on_device, psutil.Process().memory_info().rss)

    def grown(self, later: Memory) -> str:
        """Describe the memory that was not released since; empty if there is none."""
        if later.device > self.device + SLACK_ON_DEVICE:
            return f"{(later.device - self.device) >> 20} MiB of the device's memory were not released"
        if later.main > self.main + max(self.main // 2, SLACK_IN_MAIN_MEMORY):
            return f"{(later.main - self.main) >> 20} MiB of memory were not released"
        return ""


def _hooks(module: torch.nn.Module) -> int:
    return len(module._forward_hooks) + len(module._forward_pre_hooks) + len(module._backward_hooks)
