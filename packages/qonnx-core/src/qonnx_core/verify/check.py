"""The result of comparing two computations of one model: every sample in one of four classes.

``equal``
    every compared number is the same.
``rounding``
    every quantized tensor is equal; a float tensor after the last quantizer differs, within the float error bound.
``boundary``
    the first quantized tensor that differs was computed from a value that lies within the float error bound of a
    rounding boundary, so that two correct float computations may round it differently.
``mismatch``
    anything else: a defect.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from qonnx_core.errors import InvalidInput, Mismatch

MAX_LISTED_CASES = 20


@dataclass(frozen=True, slots=True)
class FirstDifference:
    """Where two computations first differ: tensor, sample number, index within the sample, and both numbers.

    ``kind`` is the class of that sample (a mismatch is reported before anything milder). ``detail`` is one more
    sentence where there is something to say, for example how near to a rounding boundary the value was.
    """

    tensor: str
    sample: int
    element: tuple[int, ...]
    expected: float | int
    found: float | int
    kind: str = "mismatch"
    detail: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return {
            "tensor": self.tensor,
            "sample": self.sample,
            "element": list(self.element),
            "expected": self.expected,
            "found": self.found,
            "kind": self.kind,
            "detail": self.detail,
        }

    def __str__(self) -> str:
        where = f"{self.tensor}, sample {self.sample}, element {list(self.element)}"
        text = f"{where}: found {self.found}; expected {self.expected}"
        return f"{text} ({self.detail})" if self.detail else text


@dataclass(frozen=True, slots=True)
class BoundaryCase:
    """One value that two correct float computations may round differently.

    ``before`` is the value before the quantizer in steps of its grid, ``boundary`` the rounding boundary nearest to
    it (None where the quantizer has no plain list of them), ``bound`` the computed float error bound, in steps too.
    """

    tensor: str
    sample: int
    element: tuple[int, ...]
    before: float
    bound: float
    boundary: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return {
            "tensor": self.tensor,
            "sample": self.sample,
            "element": list(self.element),
            "before": self.before,
            "boundary": self.boundary,
            "bound": self.bound,
        }

    def __str__(self) -> str:
        edge = "a rounding boundary" if self.boundary is None else f"the rounding boundary {self.boundary:g}"
        return f"{self.before!r} steps before its quantizer, within {self.bound:.3g} of {edge}"


@dataclass(frozen=True, slots=True)
class Check:
    """One equality of the verification chain, counted in samples; ``first`` is the first and worst difference.

    ``boundary_cases`` lists at most ``MAX_LISTED_CASES`` of the boundary samples, ``notes`` says what limits the
    check (for example an operator for which no float error bound is known).
    """

    left: str
    right: str
    samples: int
    equal: int
    rounding: int = 0
    boundary: int = 0
    mismatch: int = 0
    first: FirstDifference | None = None
    boundary_cases: tuple[BoundaryCase, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        counted = self.equal + self.rounding + self.boundary + self.mismatch
        if counted != self.samples:
            raise InvalidInput(
                f"{self.left} = {self.right}: the four classes hold {counted} samples; expected {self.samples}, "
                "each sample in one class."
            )

    @property
    def passed(self) -> bool:
        """True where no sample is a mismatch."""
        return self.mismatch == 0

    def require(self) -> Check:
        """Return this check itself; raises `Mismatch` with the first differing tensor where a sample is a mismatch."""
        if not self.passed:
            raise Mismatch(
                f"{self.left} = {self.right}: {self.mismatch} of {self.samples} samples differ; expected none. "
                f"First: {self.first}."
            )
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return the check as plain JSON values; `left`, `right` and the counts under the names of report.json."""
        result: dict[str, Any] = {
            "left": self.left,
            "right": self.right,
            "samples": self.samples,
            "equal": self.equal,
            "rounding": self.rounding,
            "boundary": self.boundary,
            "mismatch": self.mismatch,
            "first": None if self.first is None else self.first.to_dict(),
        }
        if self.boundary_cases:
            result["boundary_cases"] = [case.to_dict() for case in self.boundary_cases]
        if self.notes:
            result["notes"] = list(self.notes)
        return result

    @staticmethod
    def merge(checks: Sequence[Check]) -> Check:
        """One check over the samples of several, given in sample order with sample numbers already global."""
        if not checks:
            raise InvalidInput("Check.merge: found no checks; expected at least one.")
        return Check(
            left=checks[0].left,
            right=checks[0].right,
            samples=sum(check.samples for check in checks),
            equal=sum(check.equal for check in checks),
            rounding=sum(check.rounding for check in checks),
            boundary=sum(check.boundary for check in checks),
            mismatch=sum(check.mismatch for check in checks),
            first=worst_difference(check.first for check in checks),
            boundary_cases=tuple(case for check in checks for case in check.boundary_cases)[:MAX_LISTED_CASES],
            notes=tuple(dict.fromkeys(note for check in checks for note in check.notes)),
        )

    def __str__(self) -> str:
        counts = f"{self.equal} equal, {self.rounding} rounding, {self.boundary} boundary, {self.mismatch} mismatch"
        text = f"{self.left} = {self.right}: {self.samples} samples: {counts}"
        return text if self.first is None else f"{text}; first: {self.first}"


def worst_difference(differences: Iterable[FirstDifference | None]) -> FirstDifference | None:
    """Return the first mismatch among them, else the first boundary, else the first rounding, else None."""
    severity = {"mismatch": 0, "boundary": 1, "rounding": 2}
    found = [difference for difference in differences if difference is not None]
    return min(found, key=lambda difference: (severity[difference.kind], difference.sample), default=None)
