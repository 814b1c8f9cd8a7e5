"""Base classes of the config sections: frozen, strict about types, no unknown keys."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, Strict

Count = Annotated[int, Field(ge=0)]
PositiveCount = Annotated[int, Field(ge=1)]
Names = Annotated[tuple[str, ...], Strict(False)]  # a JSON list


class Section(BaseModel):
    """A frozen part of a config. Types are strict ("8" is not 8) and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, protected_namespaces=())


class OpenSection(BaseModel):
    """A section whose further keys are arguments of a library, checked against the library's table."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, protected_namespaces=())

    @property
    def arguments(self) -> dict[str, Any]:
        """Return the library's arguments as the user wrote them, without the keys that this section declares."""
        return dict(self.model_extra or {})
