"""One experiment: a config, a seed, a command; and the id under which its result is found again.

What the id is made of stands in `identity.py`. Knows nothing of how the work is done.
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
        value = {**self._recipe, "seed": self.seed} if self.is_random else self._recipe
        return digest(canonical_json(value), ID_LENGTH)

    @cached_property
    def recipe_id(self) -> str:
        """The id without the seed: experiments that differ only by seed share it."""
        return digest(canonical_json(self._recipe), ID_LENGTH)

    @cached_property
    def _recipe(self) -> dict[str, Any]:
        return identity(self.config, self.endpoint, None)

    def of_seed(self, seed: int, name: str) -> Experiment:
        """The same recipe with another seed: its content is not read again."""
        other = replace(self, seed=seed, name=name)
        vars(other).update(_recipe=self._recipe, recipe_id=self.recipe_id)  # as `cached_property` keeps them
        return other

    @property
    def slug(self) -> str:
        """The name as part of a folder's name: lower-case letters, digits and dashes only."""
        return re.sub(r"[^a-z0-9]+", "-", redact_text(self.name).lower()).strip("-")[:60].strip("-") or "run"

    @property
    def folder_name(self) -> str:
        """`<slug>-<id>`."""
        return f"{self.slug}-{self.id}"

    @property
    def trains(self) -> bool:
        """Whether anything is trained: only with shots, and only by the commands that train."""
        return trains(self.config, self.endpoint)

    @property
    def trains_whole(self) -> bool:
        """Whether it is the model's own weights that are trained."""
        return self.trains and self.config.training is not None and self.config.training.full_finetuning

    @property
    def is_random(self) -> bool:
        """Whether anything depends on the run's seed: not so zero-shot, nor when `config.seeds` overrides it all."""
        return follows_seed(self.config, self.endpoint)

    def seed_of(self, source: Source) -> int:
        """The seed of one source of randomness: its override in `config.seeds`, else the run's."""
        override: int | None = getattr(self.config.seeds, source)
        return self.seed if override is None else override
