"""One experiment: a config, a seed, a command; and the id of its result.

`identity.py` defines the content of the id. Knows nothing of how the work is done.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from sft.config.identity import Source, follows_seed, identity, trains
from sft.config.sections.schema import DEFAULT_SEED, Endpoint, ExperimentConfig
from sft.io import canonical_json, digest
from sft.secrets import redact_text

ID_LENGTH = 12


@dataclass(frozen=True)
class Experiment:
    """One config run with one seed by one command.

    Args:
        name: its name in tables; not part of its identity.
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
        """Return twelve hexadecimal digits: the same work has the same id on any machine."""
        value = {**self._recipe, "seed": self.seed} if self.is_random else self._recipe
        return digest(canonical_json(value), ID_LENGTH)

    @cached_property
    def recipe_id(self) -> str:
        """Return the id without the seed: experiments that differ only by seed share it."""
        return digest(canonical_json(self._recipe), ID_LENGTH)

    @cached_property
    def _recipe(self) -> dict[str, Any]:
        return identity(self.config, self.endpoint, None)

    def of_seed(self, seed: int, name: str) -> Experiment:
        """Return the same recipe with another seed; files are not hashed again."""
        other = replace(self, seed=seed, name=name)
        vars(other).update(_recipe=self._recipe, recipe_id=self.recipe_id)  # as `cached_property` stores them
        return other

    @property
    def slug(self) -> str:
        """Return the name as part of a folder's name: lower-case letters, digits and dashes only."""
        return re.sub(r"[^a-z0-9]+", "-", redact_text(self.name).lower()).strip("-")[:60].strip("-") or "run"

    @property
    def folder_name(self) -> str:
        """Return the name of its run folder, `<slug>-<id>`."""
        return f"{self.slug}-{self.id}"

    @property
    def trains(self) -> bool:
        """Return whether anything is trained: only with shots, and only by the commands that train."""
        return trains(self.config, self.endpoint)

    @property
    def trains_whole(self) -> bool:
        """Return whether the model's own weights are trained."""
        return self.trains and self.config.training is not None and self.config.training.full_finetuning

    @property
    def is_random(self) -> bool:
        """Return whether anything depends on the run's seed: not zero-shot, nor if `config.seeds` sets all seeds."""
        return follows_seed(self.config, self.endpoint)

    def seed_of(self, source: Source) -> int:
        """Return the seed of one source of randomness: its override in `config.seeds`, else the run's."""
        override: int | None = getattr(self.config.seeds, source)
        return self.seed if override is None else override
