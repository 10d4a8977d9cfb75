"""A check counts samples in four classes, and reports the worst first."""

from __future__ import annotations

import json

import pytest

from qonnx_core.errors import InvalidInput, Mismatch
from qonnx_core.verify import BoundaryCase, Check, FirstDifference


def difference(sample: int, kind: str = "mismatch") -> FirstDifference:
    return FirstDifference("conv", sample, (1, 2), 3, 4, kind)


def test_every_sample_is_in_one_class():
    with pytest.raises(InvalidInput, match=r"a = b: the four classes hold 3 samples; expected 4, each sample in one"):
        Check("a", "b", 4, 3)


def test_a_mismatch_fails_and_names_the_first_tensor():
    check = Check("a", "b", 5, 4, mismatch=1, first=difference(2))
    assert not check.passed
    with pytest.raises(
        Mismatch,
        match=r"a = b: 1 of 5 samples differ; expected none. First: conv, sample 2, element \[1, 2\]: found 4; exp",
    ):
        check.require()


def test_rounding_and_boundary_pass():
    check = Check("a", "b", 5, 3, rounding=1, boundary=1)
    assert check.require() is check


def test_the_dictionary_is_plain_json():
    case = BoundaryCase("q", 1, (0,), 2.5, 1e-6, 2.5)
    check = Check("a", "b", 2, 1, boundary=1, first=difference(1, "boundary"), boundary_cases=(case,), notes=("n",))
    found = json.loads(json.dumps(check.to_dict()))
    assert {key: found[key] for key in ("left", "right", "samples", "equal", "rounding", "boundary", "mismatch")} == {
        "left": "a", "right": "b", "samples": 2, "equal": 1, "rounding": 0, "boundary": 1, "mismatch": 0,
    }  # fmt: skip
    assert found["first"]["tensor"] == "conv"
    assert found["boundary_cases"][0]["boundary"] == 2.5
    assert found["notes"] == ["n"]


def test_merged_checks_add_up_and_keep_the_worst_difference():
    checks = [
        Check("a", "b", 3, 2, rounding=1, first=difference(1, "rounding")),
        Check("a", "b", 3, 1, boundary=1, mismatch=1, first=difference(4)),
    ]
    merged = Check.merge(checks)
    assert (merged.samples, merged.equal, merged.rounding, merged.boundary, merged.mismatch) == (6, 3, 1, 1, 1)
    assert merged.first == difference(4)


def test_nothing_cannot_be_merged():
    with pytest.raises(InvalidInput, match=r"Check.merge: found no checks; expected at least one"):
        Check.merge([])


def test_the_text_says_the_counts():
    assert str(Check("a", "b", 2, 2)) == "a = b: 2 samples: 2 equal, 0 rounding, 0 boundary, 0 mismatch"
    assert "within 1e-06 of the rounding boundary 2.5" in str(BoundaryCase("q", 1, (0,), 2.5, 1e-6, 2.5))
