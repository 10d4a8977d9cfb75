"""Names, ranges and members of data types."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qonnx_core.errors import InvalidInput
from qonnx_core.ir.datatypes import DataType


@pytest.mark.parametrize(
    ("name", "bits", "low", "high"),
    [
        ("BINARY", 1, 0, 1),
        ("BIPOLAR", 1, -1, 1),
        ("TERNARY", 2, -1, 1),
        ("INT1", 1, -1, 0),
        ("INT4", 4, -8, 7),
        ("UINT8", 8, 0, 255),
        ("INT64", 64, -(2**63), 2**63 - 1),
        ("FIXED<16,6>", 16, -32, Fraction(2**15 - 1, 1024)),
        ("FIXED<4,6>", 4, -32, 28),
        ("FLOAT<4,3,7>", 8, -480, 480),
    ],
)
def test_a_data_type_has_its_range(name: str, bits: int, low: float, high: float) -> None:
    datatype = DataType.parse(name)
    assert (datatype.name, str(datatype), datatype.bits, datatype.min, datatype.max) == (name, name, bits, low, high)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("UINT1", "BINARY"),
        (" INT8 ", "INT8"),
        ("FIXED<8,3", "FIXED<8,3>"),
        ("FLOAT<4,3>", "FLOAT<4,3,7>"),
        ("SCALEDINT<9>", "SCALEDINT<9>"),
    ],
)
def test_other_spellings_are_read(text: str, name: str) -> None:
    assert DataType.parse(text).name == name


@pytest.mark.parametrize(
    "text", ["", "INT", "INT0", "UINT-3", "int8", "FLOAT64", "FIXED<8>", "INT99999999999", "DOUBLE", "FLOAT<0,3>"]
)
def test_what_is_no_data_type_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="data type"):
        DataType.parse(text)


def test_a_bias_of_zero_is_a_bias() -> None:
    """Defect 13 of the reference: FLOAT<4,3,0> was read as FLOAT<4,3,7>."""
    assert DataType.parse("FLOAT<4,3,0>").name == "FLOAT<4,3,0>"
    assert DataType.parse("FLOAT<4,3,0>") != DataType.parse("FLOAT<4,3,7>")


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("INT2", [-2, 1], [3]),
        ("BIPOLAR", [-1, 1], [0]),
        ("TERNARY", [-1, 0, 1], [2]),
        ("UINT4", [0, 15], [-1]),
        ("INT4", [3.0], [2.5]),
        ("FIXED<4,2>", [-2.0, 1.75], [0.125]),
        ("FLOAT<2,1,1>", [0.5, 1.5, 6.0], [1.25]),
        ("FLOAT32", [0.1], []),
        ("FLOAT16", [0.5], [65537.0]),
        ("INT8", [], [np.nan, np.inf]),
    ],
)
def test_a_data_type_knows_its_members(name: str, inside: list[float], outside: list[float]) -> None:
    datatype = DataType.parse(name)
    assert datatype.allows(np.float32(inside))
    for value in outside:
        assert not datatype.allows(value)


@settings(deadline=None)
@given(st.integers(-(2**70), 2**70), st.integers(-(2**70), 2**70))
def test_the_smallest_type_of_a_range_holds_it_and_no_smaller_one_does(a: int, b: int) -> None:
    low, high = min(a, b), max(a, b)
    found = DataType.smallest_for_range(low, high)
    assert found.min <= low
    assert high <= found.max
    if found.bits > 1:
        smaller = DataType.integer(found.bits - 1) if found.signed else DataType.unsigned(found.bits - 1)
        assert smaller.min > low or smaller.max < high


def test_a_range_in_the_wrong_order_is_refused() -> None:
    with pytest.raises(InvalidInput, match="range 3 to 1"):
        DataType.smallest_for_range(3, 1)


def test_a_scaled_integer_has_no_range_of_its_own() -> None:
    with pytest.raises(InvalidInput, match="SCALEDINT<8>: its range depends on a scale"):
        _ = DataType.parse("SCALEDINT<8>").max
