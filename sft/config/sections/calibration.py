"""`inference.calibration_args`: how label probabilities are calibrated, and what has to be scored for it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, Strict, field_validator

from sft.config.sections.base import PositiveCount, Section
from sft.plugins import (
    CALIBRATIONS,
    DOMAIN_PROBES,
    FORMER_CALIBRATIONS,
    LABELLED_ROWS,
    CalibrationSpec,
    calibrations_using,
)

LANGUAGE = r"^[A-Za-z]{2,3}([-_][A-Za-z0-9]+)*$"


class CalibrationConfig(Section):
    """How label probabilities are calibrated: arithmetic on scores of the rows, of probes and of labelled rows."""

    calibration_fn: str = Field(description=f"{CALIBRATIONS.described}.")
    num_estimations: PositiveCount | None = Field(
        default=None,
        description=f"domain: random texts (default {DOMAIN_PROBES}); batch: evaluated rows, the first ones (default "
        "all).",
    )
    num_train_samples: PositiveCount | None = Field(
        default=None,
        description=f"{calibrations_using('num_train_samples')}: labelled rows to learn from, in total "
        f"(default {LABELLED_ROWS}), none of them trained on.",
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
        return FORMER_CALIBRATIONS.get(name, name) if isinstance(name, str) else name

    @property
    def spec(self) -> CalibrationSpec:
        """What is known of the calibration."""
        return CALIBRATIONS.spec(self.calibration_fn)

    @property
    def domain_probes(self) -> int:
        """How many random texts of the domain are scored."""
        given = self.num_estimations if self.spec.probes == "domain" else None
        return DOMAIN_PROBES if given is None else given

    @property
    def train_samples(self) -> int:
        """How many labelled rows are learned from."""
        if "num_train_samples" not in self.spec.settings:
            return 0
        return self.spec.labelled_rows if self.num_train_samples is None else self.num_train_samples

    @property
    def draws(self) -> bool:
        """Whether the result depends on something that is drawn: random words, or labelled rows."""
        return self.spec.probes == "domain" or self.train_samples > 0
