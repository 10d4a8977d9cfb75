"""What a build is asked to do."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from qonnx_core.errors import InvalidInput

MIXED = "mixed"
FAMILIES = ("xc7", "ecp5")


class BuildConfig(BaseModel):
    """One run from a model to verified hardware; every field is an option of ``qonnx build``.

    ``samples`` limits how many samples of the data are used; without data it is the size of the seeded sample.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Path
    output: Path
    backend: str = "finn"
    rules: Path | None = None
    data: Path | None = None
    input_types: dict[str, str] = Field(default_factory=dict)
    folding: Path | None = None
    target_fps: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    target_cycles: int | None = Field(default=None, ge=1)
    part: str = "xc7z020"
    clock_ns: float = Field(default=10.0, gt=0, allow_inf_nan=False)
    synthesize: tuple[str, ...] = ()
    label_select: bool = False
    samples: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0)
    steps: tuple[str, ...] = ()

    @field_validator("synthesize")
    @classmethod
    def _known_families(cls, families: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [family for family in families if family not in FAMILIES]:
            raise ValueError(f"synthesis target {', '.join(unknown)} is unknown; expected {' or '.join(FAMILIES)}")
        return tuple(dict.fromkeys(families))

    @model_validator(mode="after")
    def _rules_are_for_several(self) -> BuildConfig:
        if self.rules is not None and self.backend != MIXED:
            raise ValueError(f"rules are given with backend {self.backend}; expected backend {MIXED}, or no rules")
        return self

    @model_validator(mode="after")
    def _one_folding(self) -> BuildConfig:
        given = [name for name in ("folding", "target_fps", "target_cycles") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are given; expected at most one of them")
        return self

    def backend_options(self) -> dict[str, object]:
        """Return what is passed to the ``plan`` of the backends that take it."""
        options = {"folding": self.folding, "target_fps": self.target_fps, "target_cycles": self.target_cycles}
        return {name: value for name, value in options.items() if value is not None}


def require_file(path: Path, what: str) -> Path:
    """Return the path if a file is there, else raise `InvalidInput` that names it."""
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no file" if path.exists() else "nothing"
        raise InvalidInput(f"{path}: found {found}; expected {what}. Check the path.")
    if not os.access(path, os.R_OK):
        raise InvalidInput(f"{path}: it may not be read; expected {what}. Check its permissions.")
    return path
