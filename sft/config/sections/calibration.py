"""`inference.calibration_args`: how label probabilities are calibrated, and the inputs that are scored for it."""

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
    """The calibration of label probabilities, computed from the scores of rows, probes and labelled rows."""

    calibration_fn: str = Field(description=f"{CALIBRATIONS.described}.")
    num_estimations: PositiveCount | None = Field(
        default=None,
        description=f"domain: number of random texts (default {DOMAIN_PROBES}); batch: number of first evaluated rows "
        "(default all).",
    )
    num_train_samples: PositiveCount | None = Field(
        default=None,
        description=f"{calibrations_using('num_train_samples')}: number of labelled rows to fit on "
        f"(default {LABELLED_ROWS}); training never uses them.",
    )
    gamma_range: Annotated[tuple[float, float], Strict(False)] = Field(
        default=(-5.0, 5.0), description="adjustable_batch: smallest and largest strength of the search."
    )
    gamma_steps: Annotated[int, Field(ge=2)] = Field(
        default=50, description="adjustable_batch: number of evenly spaced strengths, including both ends."
    )
    language: Annotated[str, Field(pattern=LANGUAGE)] = Field(
        default="en",
        examples=["en", "zh", "pt-BR"],
        description="domain: language code of the texts whose words are drawn; ja, zh and th have no spaces between "
        "words.",
    )

    @field_validator("calibration_fn", mode="before")
    @classmethod
    def _current_name(cls, name: object) -> object:
        return FORMER_CALIBRATIONS.get(name, name) if isinstance(name, str) else name

    @property
    def spec(self) -> CalibrationSpec:
        """Return the specification of the calibration."""
        return CALIBRATIONS.spec(self.calibration_fn)

    @property
    def domain_probes(self) -> int:
        """Return the number of random texts of the domain to score."""
        count = self.num_estimations if self.spec.probes == "domain" else None
        return DOMAIN_PROBES if count is None else count

    @property
    def train_samples(self) -> int:
        """Return the number of labelled rows to fit on."""
        if "num_train_samples" not in self.spec.settings:
            return 0
        return self.spec.labelled_rows if self.num_train_samples is None else self.num_train_samples

    @property
    def draws(self) -> bool:
        """Return whether the result depends on random words or on a draw of labelled rows."""
        return self.spec.probes == "domain" or self.train_samples > 0
