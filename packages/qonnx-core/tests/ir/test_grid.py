"""Grids: names, exact rounding onto them, and back to float32."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qonnx_core.errors import InvalidInput
from qonnx_core.ir.datatypes import DataType
from qonnx_core.ir.grid import Grid, nearest_float32, rational_text

TEXTS = [
    "FIXED<16,6>", "UINT8*1/255", "INT8*2^-4", "UINT8*0.0039", "(UINT8-128)*1/255", "UINT8", "BIPOLAR", "TERNARY*0.5",
    "INT4*[1/2,0.3,7] + [0,1/3,-2]", "(INT4-[1,2])*3",
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_a_grid_prints_as_text_that_reads_back(text: str) -> None:
    grid = Grid.parse(text)
    assert Grid.parse(str(grid)) == grid


def test_spellings_mean_what_they_say() -> None:
    assert Grid.parse("FIXED<16,6>") == Grid(DataType.parse("INT16"), (Fraction(1, 1024),))
    assert Grid.parse("UINT8*1/255").scale == (Fraction(1, 255),)
    assert Grid.parse("UINT8*0.0039").scale == (Fraction(float(np.float32(0.0039))),)
    assert Grid.parse("(UINT8-128)*1/255").zero_point == (128,)
    assert Grid.parse("FIXED<16,6>").scale_text() == "1/1024"
    assert Grid.parse("UINT8*0.0039").scale_text() == "0.0039"
    assert Grid.from_descriptor("UINT8", ["1/2", "0.1"]).scale_text() == ["1/2", "0.1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("UINT8*", "not understood"), ("UINT8*x", "no number"), ("FLOAT32", "no integer type"),
        ("UINT8*1/0", "no number"), ("UINT8*-1/2", "above 0"), ("UINT8*[1,2]+", "not understood"),
        ("", "not understood"),
        ("UINT8*[1,,2]", "empty entry"), ("UINT8*1e99", "not finite"),
    ],
)  # fmt: skip
def test_a_text_that_names_no_grid_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Grid.parse(text)


def test_lists_of_different_lengths_are_refused() -> None:
    with pytest.raises(InvalidInput, match="one entry or one for each channel"):
        Grid(DataType.parse("INT4"), (Fraction(1), Fraction(2)), (1, 2, 3))


grids = st.builds(
    lambda text, scale, zero, offset: Grid(DataType.parse(text), (scale,), (zero,), (offset,)),
    st.sampled_from(["INT4", "UINT8", "INT8", "BIPOLAR", "UINT12"]),
    st.one_of(
        st.sampled_from([Fraction(1, 255), Fraction(1, 8), Fraction(3), Fraction(1, 3)]),
        st.floats(0.0009765625, 64, width=32).map(Fraction),
    ),
    st.integers(-9, 9),
    st.sampled_from([Fraction(0), Fraction(1, 3), Fraction(-5, 4)]),
)


@settings(max_examples=100, deadline=None)
@given(grids)
def test_every_integer_survives_the_way_to_float32_and_back(grid: Grid) -> None:
    low, high = grid.integers
    ints = np.asarray([-1, 1]) if grid.datatype.name == "BIPOLAR" else np.arange(low, high + 1)
    values = grid.to_values(ints)
    for k in ints[:: max(1, len(ints) // 40)]:
        assert values[list(ints).index(k)] == nearest_float32(grid.exact(int(k)))
    if grid.offset == (0,):  # an offset may be so large that float32 no longer tells neighbours apart
        back, on_grid = grid.to_integers(values)
        assert np.array_equal(back, ints)
        assert on_grid.all()


@settings(max_examples=200, deadline=None)
@given(grids, st.floats(-300, 300, width=32))
def test_any_value_goes_to_the_nearest_integer(grid: Grid, value: float) -> None:
    low, high = grid.integers
    ints, on_grid = grid.to_integers(np.asarray([value], np.float32))
    exact = (Fraction(value) - grid.offset[0]) / grid.scale[0] + grid.zero_point[0]
    expected = min(max(round(exact), low), high)
    if grid.datatype.name == "BIPOLAR":
        expected = 1 if round(exact) >= 0 else -1
    assert ints[0] == expected
    assert on_grid[0] == (grid.to_values(ints)[0] == np.float32(value))


def test_ties_go_to_even_and_ends_saturate() -> None:
    grid = Grid.parse("INT3*2^-1")
    ints, on_grid = grid.to_integers(np.asarray([0.25, 0.75, -0.25, 9, -9, np.inf, -np.inf, 1.0], np.float32))
    assert ints.tolist() == [0, 2, 0, 3, -4, 3, -4, 2]
    assert on_grid.tolist() == [False] * 7 + [True]


def test_nan_is_refused() -> None:
    with pytest.raises(InvalidInput, match="1 values are NaN"):
        Grid.parse("UINT8").to_integers(np.asarray([1.0, np.nan], np.float32))


def test_channels_have_their_own_scale() -> None:
    grid = Grid.parse("INT4*[1/2,2]")
    assert grid.to_values(np.asarray([[3, 3], [-1, -1]])).tolist() == [[1.5, 6], [-0.5, -2]]
    assert grid.to_integers(np.asarray([[1.5, 6.0]]))[0].tolist() == [[3, 3]]


@given(st.fractions(-1000, 1000, max_denominator=10**6))
def test_nearest_float32_is_nearest(value: Fraction) -> None:
    near = nearest_float32(value)
    for other in (np.nextafter(near, np.float32(-np.inf)), np.nextafter(near, np.float32(np.inf))):
        assert abs(Fraction(float(near)) - value) <= abs(Fraction(float(other)) - value)


def test_numbers_beyond_floats_are_written_and_rounded() -> None:
    huge = Fraction(10) ** 400
    assert rational_text(huge) == str(10**400)
    assert rational_text(huge / 7) == f"{10**400}/7"
    assert (nearest_float32(huge), nearest_float32(-huge)) == (np.inf, -np.inf)
    assert nearest_float32(1 / huge) == 0
