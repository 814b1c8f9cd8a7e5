"""A base model kept from one experiment to the next, in one process: looked at after each, given up at the least doubt.

Worth it where loading the base takes longer than the experiment. The model that comes back must be the one that was
lent, bit for bit: its weights, its modules, what hangs on them, its config. Knows nothing of experiments.
"""

from __future__ import annotations

import gc
import site
import sys
import sysconfig
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sft.config.sections.model import ModelConfig, base_key
from sft.io import hash_path
from sft.log import get_logger
from sft.model.load import load_model
from sft.model.source import import_peft
from sft.results.environment import cpu_seconds

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

log = get_logger(__name__)

# What may stay allocated beyond the base, as the libraries' own buffers do.
SLACK_ON_DEVICE = 64 * 2**20
SLACK_IN_MAIN_MEMORY = 2**30
_KEPT_BY_CONTENT = ("transformers_modules", "datasets_modules")
_LEFT_BEHIND = ("peft_config", "_hf_peft_config_loaded", "model_tags")  # by PEFT and TRL; they compute nothing


class Models(Protocol):
    """Where a run has its base model from.

    Attributes:
        cpu_before: CPU seconds that this process had used before the run, for others.
    """

    cpu_before: float

    def load(self, config: ModelConfig) -> PreTrainedModel:
        """The base of a config, as freshly loaded."""

    def give_back(self, model: Any) -> None:
        """The run is done with it, and with the adapter that may be on it."""


class FreshModels:
    """Loads the base anew each time."""

    cpu_before = 0.0

    def load(self, config: ModelConfig) -> PreTrainedModel:
        """The base of a config."""
        return load_model(config)

    def give_back(self, model: Any) -> None:
        """Nothing to do."""


class ResidentModel:
    """Keeps the last base, and lends it again to the next run that names the same."""

    def __init__(self) -> None:
        self.cpu_before = 0.0
        self._changed = ""
        self._key = ("", "")
        self._model: PreTrainedModel | None = None
        self._seal: Seal | None = None
        self._trainable: frozenset[str] = frozenset()
        self._memory: Memory | None = None  # with a base, before the first run on it
        self._modules_before = frozenset(sys.modules)

    def load(self, config: ModelConfig) -> PreTrainedModel:
        """The base of a config: the one that is kept, where it is the same."""
        key = base_key(config), content_hash(config)
        if self._model is None or self._changed or key != self._key:
            self._model = self._seal = None
            self._changed = ""
            gc.collect()
            self._model, self._key = load_model(config), key
            self._seal = Seal.of(self._model)
            self._trainable = frozenset(n for n, p in self._model.named_parameters() if p.requires_grad)
            self._memory = Memory.now()
        else:
            log.info("The base model is still loaded")
        return self._model

    def give_back(self, model: Any) -> None:
        """Take the adapter off, and see whether the base is what it was."""
        base = without_adapter(model)
        if self._model is None or self._seal is None or base is not self._model:
            self._changed = "what came back is another model"
            return
        for name, parameter in self._model.named_parameters():
            parameter.requires_grad_(name in self._trainable)
            parameter.grad = None
        self._model.eval()
        self._changed = self._seal.differs_from(Seal.of(self._model))

    def is_fit(self) -> bool:
        """Whether another run may be done here: the base came back as it was, and so did the memory.

        To be asked when the run is over, and nothing holds its adapter any more.
        """
        self.cpu_before = cpu_seconds()
        gc.collect()
        grown = "" if self._memory is None else self._memory.grown(Memory.now())
        doubt = self._changed or grown or self._own_code()
        if doubt:
            log.warning("The next experiment gets a process of its own: %s", doubt)
        return not doubt

    def _own_code(self) -> str:
        """What was imported and may be edited before the next run, in words; empty where nothing was."""
        for name in sorted(sys.modules.keys() - self._modules_before):
            file = getattr(sys.modules[name], "__file__", None)
            if file is not None and is_own_code(name, Path(file)):
                return f"{file} may be edited until then"
        return ""


def content_hash(config: ModelConfig) -> str:
    """Of the files that a base is loaded from, where they are local: one that was edited is another."""
    path = Path(config.name)
    return hash_path(path) if path.exists() else ""


def is_own_code(name: str, file: Path) -> bool:
    """Whether a module is the user's, a plug say: neither a library, nor part of Python, nor of this package.

    Code that came with a model or data set lies in the hub's cache, under names that tell its content. A relative path
    is no file: some libraries' made-up modules (`torch.classes`) name such a one.
    """
    return (
        file.is_absolute()
        and name.partition(".")[0] not in _KEPT_BY_CONTENT
        and not any(file.is_relative_to(folder) for folder in _installed())
    )


@cache
def _installed() -> tuple[Path, ...]:
    places = {Path(sysconfig.get_path(which)) for which in ("stdlib", "platstdlib", "purelib", "platlib")}
    places.update(map(Path, site.getsitepackages()), [Path(site.getusersitepackages()), Path(__file__).parents[1]])
    return tuple(places | {place.resolve() for place in places})


def without_adapter(model: Any) -> Any:
    """The base under an adapter; a model without one as it is."""
    peft = import_peft()
    if not isinstance(model, peft.PeftModel):
        return model
    base = model.unload() if hasattr(model.base_model, "unload") else model.get_base_model()
    forget_adapter(base)
    return base


def forget_adapter(base: Any) -> None:
    """Take off what PEFT and TRL leave on a base without an adapter."""
    for name in _LEFT_BEHIND:
        vars(base).pop(name, None)


@dataclass(frozen=True)
class Seal:
    """A model as far as it determines what it computes.

    Attributes:
        tensors: for each parameter and buffer its type, shape, device and checksum.
        modules: for each module its class, and what hangs on it: a forward of its own, hooks.
        settings: its config and generation config, and the names of its attributes.
    """

    tensors: dict[str, tuple[str, tuple[int, ...], str, int]]
    modules: dict[str, tuple[str, bool, int]]
    settings: tuple[str, str, tuple[str, ...]]

    @classmethod
    def of(cls, model: PreTrainedModel) -> Seal:
        """Look at a model."""
        named = [*model.named_parameters(), *model.named_buffers()]
        tensors = {n: (str(t.dtype), tuple(t.shape), str(t.device), checksum(t)) for n, t in named}
        modules = {
            name: (type(module).__qualname__, "forward" in vars(module), _hooks(module))
            for name, module in model.named_modules()
        }
        generation = model.generation_config
        settings = str(model.config.to_dict()), str(generation and generation.to_dict()), tuple(sorted(vars(model)))
        return cls(tensors, modules, settings)

    def differs_from(self, other: Seal) -> str:
        """The first difference in words; empty where there is none."""
        for ours, theirs, what in (
            (self.modules, other.modules, "module"),
            (self.tensors, other.tensors, "weight"),
        ):
            for name in [*ours, *(theirs.keys() - ours.keys())]:
                if ours.get(name) != theirs.get(name):
                    return f'its {what} "{name}" was changed'
        config, generation, attributes = (
            ours == theirs for ours, theirs in zip(self.settings, other.settings, strict=True)
        )
        changed = [what for same, what in ((config, "config"), (generation, "generation config")) if not same]
        if not attributes:
            changed += sorted(set(self.settings[2]) ^ set(other.settings[2]))
        return f"its {', '.join(changed)} changed" if changed else ""


def checksum(tensor: torch.Tensor) -> int:
    """A checksum of a tensor's bits, of 64 bits itself."""
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
        """What is in use now."""
        import psutil
        import torch

        on_device = torch.cuda.memory_allocated() if torch.cuda.is_available() else 0
        return cls(on_device, psutil.Process().memory_info().rss)

    def grown(self, later: Memory) -> str:
        """What was not given back since, in words; empty where it was."""
        if later.device > self.device + SLACK_ON_DEVICE:
            return f"{(later.device - self.device) >> 20} MiB of the device's memory were not given back"
        if later.main > self.main + max(self.main // 2, SLACK_IN_MAIN_MEMORY):
            return f"{(later.main - self.main) >> 20} MiB of memory were not given back"
        return ""


def _hooks(module: torch.nn.Module) -> int:
    return len(module._forward_hooks) + len(module._forward_pre_hooks) + len(module._backward_hooks)
