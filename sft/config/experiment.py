"""One experiment: a config, a seed, a command; and the identity under which its result is found again.

The id is a hash of what determines the result, and of nothing else: the sections that the command uses, only values
that differ from the defaults, the seed where anything random happens, local files by content. So the same work has the
same id on any machine, whatever it is called and wherever it lies. Knows nothing of how the work is done.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from sft.config.arguments import translate_trainer_args
from sft.config.paths import PATH_FIELDS
from sft.config.schema import DEFAULT_SEED, Endpoint, ExperimentConfig
from sft.io import canonical_json, digest, hash_path

ID_VERSION = 1
ID_LENGTH = 12

# Arguments of the trainer that say where output goes, not what is computed.
_LOGGING_ARGUMENTS = re.compile(
    r"^(output_dir|run_name|report_to|disable_tqdm|log_level.*|logging_.*|push_to_hub.*|hub_.*|project|trackio_.*)$"
)


@dataclass(frozen=True)
class Experiment:
    """One config run with one seed by one command.

    Args:
        name: what tables call it; no part of its identity.
        config: the validated config, with local paths resolved.
        seed: seed of every source of randomness that `config.seeds` does not override.
        endpoint: the command that runs it.
    """

    name: str
    config: ExperimentConfig
    seed: int = DEFAULT_SEED
    endpoint: Endpoint = "run-experiment"

    @cached_property
    def id(self) -> str:
        """Twelve hexadecimal digits: the same work has the same id, on any machine."""
        return digest(canonical_json(self._identity(with_seed=True)), ID_LENGTH)

    @cached_property
    def recipe_id(self) -> str:
        """The id without the seed: experiments that differ only by seed share it."""
        return digest(canonical_json(self._identity(with_seed=False)), ID_LENGTH)

    @property
    def slug(self) -> str:
        """The name as part of a folder's name: lower-case letters, digits and dashes only."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")[:60].strip("-") or "run"

    @property
    def folder_name(self) -> str:
        """`<slug>-<id>`."""
        return f"{self.slug}-{self.id}"

    @property
    def trains(self) -> bool:
        """Whether an adapter is trained: only with shots, and only by the commands that train."""
        return self.endpoint in ("train", "run-experiment") and self.config.dataset.shots != 0

    @property
    def is_random(self) -> bool:
        """Whether anything depends on the seed. A zero-shot run without drawn examples does not."""
        inference = self.config.inference
        draws = inference is not None and (
            inference.icl_examples > 0 or bool(inference.generation_args.get("do_sample", False))
        )
        return self.trains or (draws and self.endpoint != "train")

    def seed_of(self, source: Literal["shots", "icl", "init", "training"]) -> int:
        """The seed of one source of randomness: its override in `config.seeds`, else the run's."""
        override: int | None = getattr(self.config.seeds, source)
        return self.seed if override is None else override

    def _identity(self, with_seed: bool) -> dict[str, Any]:
        sections = self._sections()
        identity: dict[str, Any] = {"id_version": ID_VERSION, "endpoint": self.endpoint, "sections": sections}
        if with_seed and self.is_random:
            identity["seed"] = self.seed
        return identity

    def _sections(self) -> dict[str, Any]:
        used = {"dataset", "model", "prompting"}
        if self.trains:
            used |= {"lora", "adapter", "training"}
        if self.endpoint != "train":
            used |= {"inference", "evaluation"}
        if self.is_random:
            used |= {"seeds"}
        # exclude_defaults: adding a field with a default to a section changes no id
        sections: dict[str, Any] = self.config.model_dump(mode="json", include=used, exclude_defaults=True)
        model_args = sections["model"].get("model_args", {})
        if "torch_dtype" in model_args:  # the older name of dtype
            sections["model"]["model_args"] = {**model_args, "dtype": model_args["torch_dtype"]}
            del sections["model"]["model_args"]["torch_dtype"]
        if "training" in sections:
            arguments = translate_trainer_args(sections["training"].get("trainer_args", {})).args
            sections["training"]["trainer_args"] = {
                key: value for key, value in arguments.items() if not _LOGGING_ARGUMENTS.match(key)
            }
        _by_content(sections)
        return sections


def _by_content(sections: dict[str, Any]) -> None:
    """Replace local paths, in place, by the hash of what they hold."""
    for section, key in PATH_FIELDS:
        if isinstance(value := sections.get(section, {}).get(key), str):
            sections[section][key] = _content(value)
    arguments = sections.get("dataset", {}).get("args", {})
    for key in ("data_files", "data_dir"):
        if key in arguments:
            arguments[key] = _map_strings(arguments[key], _content)


def _content(value: str) -> str:
    """`sha256:…` of the file or folder at an absolute path; anything else (a hub id, an URL) as it is."""
    path = Path(value)
    return f"sha256:{hash_path(path)}" if path.is_absolute() and path.exists() else value


def _map_strings(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_map_strings(item, change) for item in value]
    if isinstance(value, dict):
        return {key: _map_strings(item, change) for key, item in value.items()}
    return value
