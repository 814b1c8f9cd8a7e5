"""`inference.calibration_args`: how label probabilities are calibrated, and what has to be scored for it.

What each calibration uses is said here, so that an id holds what has an effect and nothing else without the functions
being imported; a test holds that every name of the registry is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, Strict, field_validator

from sft.config.libraries.renamed import RENAMED_CALIBRATIONS
from sft.config.sections.base import PositiveCount, Section

DOMAIN_PROBES = 20  # random texts where the config does not say (Fei et al. 2023)
TRAIN_SAMPLES = 128  # labelled rows where the config does not say
LANGUAGE = r"^[A-Za-z]{2,3}([-_][A-Za-z0-9]+)*$"

# The settings that each calibration follows, beside its name.
USED: Mapping[str, tuple[str, ...]] = {
    "contextual": (),
    "contextual_per_sample": (),
    "domain": ("num_estimations", "language"),
    "domain_per_sample": ("num_estimations", "language"),
    "batch": ("num_estimations",),
    "adjustable_batch": ("num_estimations", "num_train_samples", "gamma_range", "gamma_steps"),
    "supervised": ("num_train_samples",),
}
SETTINGS = ("num_estimations", "num_train_samples", "gamma_range", "gamma_steps", "language")


class CalibrationConfig(Section):
    """How label probabilities are calibrated: arithmetic on scores of the rows, of probes and of labelled rows."""

    calibration_fn: str = Field(
        description="contextual, domain, contextual_per_sample, domain_per_sample, batch, adjustable_batch, "
        'supervised; or "module:function".'
    )
    num_estimations: PositiveCount | None = Field(
        default=None, description="domain: random texts (default 20); batch: judged rows, the first ones (default all)."
    )
    num_train_samples: PositiveCount | None = Field(
        default=None,
        description="adjustable_batch, supervised: labelled rows to learn from, in total (default 128), none of them "
        "trained on.",
    )
    gamma_range: Annotated[tuple[float, float], Strict(False)] = Field(
        default=(-5.0, 5.0), description="adjustable_batch: the least and the largest strength that is tried."
    )
    gamma_steps: Annotated[int, Field(ge=2)] = Field(
        default=50, description="adjustable_batch: how many strengths are tried, evenly spaced, both ends included."
    )
    language: Annotated[str, Field(pattern=LANGUAGE)] = Field(
        default="en",
        examples=["en", "zh", "pt-BR"],
        description="Language code of the texts that domain draws its words from; ja, zh and th are written without "
        "spaces.",
    )

    @field_validator("calibration_fn", mode="before")
    @classmethod
    def _current_name(cls, name: object) -> object:
        return RENAMED_CALIBRATIONS.get(name, name) if isinstance(name, str) else name

    @property
    def is_own(self) -> bool:
        """Whether the function is the user's own, of which nothing is known."""
        return self.calibration_fn not in USED

    @property
    def per_row(self) -> bool:
        """Whether each row has probes of its own, where rows are shown examples of their own."""
        return self.calibration_fn.endswith("_per_sample") and not self.is_own

    @property
    def of_domain(self) -> bool:
        """Whether the result follows the random texts of the domain."""
        return self.is_own or self.calibration_fn in ("domain", "domain_per_sample")

    @property
    def domain_probes(self) -> int:
        """How many random texts of the domain are scored."""
        given = self.num_estimations if self.of_domain else None
        return DOMAIN_PROBES if given is None else given

    @property
    def train_samples(self) -> int:
        """How many labelled rows are learned from."""
        if self.is_own:
            return self.num_train_samples or 0
        if "num_train_samples" not in USED[self.calibration_fn]:
            return 0
        return TRAIN_SAMPLES if self.num_train_samples is None else self.num_train_samples

    @property
    def draws(self) -> bool:
        """Whether the result depends on something that is drawn: random words, or labelled rows."""
        return self.of_domain or self.train_samples > 0
