"""Samples and input grids of a build."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qonnx_core.build.inputs import (
    bring_on_grid,
    fitting_types,
    input_grids,
    pick,
    read_archive,
    seeded_sample,
)
from qonnx_core.errors import InvalidInput
from qonnx_core.ir.grid import Grid
from qonnx_core.testing.random_mlp import random_mlp


@pytest.mark.parametrize(
    ("values", "first"),
    [
        (np.arange(256) / 255, "UINT8*1/255"),
        (np.arange(17), "UINT5"),
        (np.arange(-3, 4), "INT3"),
        (np.arange(17) / 16, "UINT5*1/16"),
        (np.array([-1.0, 1.0]), "BIPOLAR"),
        (np.array([-0.37, 2.9]), "FIXED<16,6> (rounds the data)"),
    ],
)
def test_types_that_fit_the_data_are_proposed(values: np.ndarray, first: str) -> None:
    assert fitting_types(values.astype(np.float32))[0] == first


@pytest.mark.parametrize("text", ["UINT8*1/255", "INT5", "FIXED<9,3>", "UINT5*1/16"])
def test_a_proposed_type_holds_its_data(text: str) -> None:
    grid = Grid.parse(text)
    values = grid.to_values(np.arange(int(grid.datatype.min), int(grid.datatype.max) + 1))
    proposed = Grid.parse(fitting_types(values)[0])
    assert proposed.to_integers(values)[1].all()


def test_an_input_without_a_grid_lists_what_fits() -> None:
    model = random_mlp(0)
    width = int(model.graph.inputs[0].shape[1])
    model.graph.inputs[0].meta.clear()
    data = {"global_in": np.full((2, width), 0.5, np.float32)}
    with pytest.raises(InvalidInput, match=r"--input-type x=TYPE\. Types that fit the data: UINT1\*1/2"):
        input_grids(model, ["global_in|x"], {}, data)


def test_a_type_may_name_the_input_as_in_the_file_or_as_cleaned_or_not_at_all() -> None:
    model = random_mlp(0)
    for name in ("global_in", "x", ""):
        assert str(input_grids(model, ["global_in|x"], {name: "INT4"}, None)["global_in"]) == "INT4"


def test_samples_off_the_grid_are_rounded_and_counted() -> None:
    inputs = {"x": np.array([[0.0, 1.0], [0.4, 2.0], [2.5, 3.5], [99.0, -7.0]])}
    rounded, on_grid = bring_on_grid(inputs, {"x": Grid.parse("UINT3")})
    assert rounded["x"].tolist() == [[0, 1], [0, 2], [2, 4], [7, 0]]
    assert on_grid.tolist() == [True, False, False, False]


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        ({"x": np.array([[np.nan]])}, "NaN, infinity"),
        ({"x": np.zeros((2, 1)), "z": np.zeros((3, 1))}, "the same number"),
        ({"x": np.zeros((0, 1))}, "at least 1"),
    ],
)
def test_data_that_no_hardware_can_take_is_refused(inputs: dict[str, np.ndarray], sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        bring_on_grid(inputs, {"x": Grid.parse("INT8"), "z": Grid.parse("INT8")})


def test_a_seeded_sample_reaches_both_ends_and_stays_on_the_grid() -> None:
    model = random_mlp(0)
    for text in ("UINT8*1/255", "BIPOLAR", "INT3", "FIXED<16,6>"):
        grid = Grid.parse(text)
        values = seeded_sample(model, {"global_in": grid}, 64, 0)["global_in"]
        assert grid.to_integers(values)[1].all()
        integers = grid.to_integers(values)[0]
        assert integers[0].max() == grid.datatype.min
        assert integers[1].min() == grid.datatype.max
        assert np.array_equal(values, seeded_sample(model, {"global_in": grid}, 64, 0)["global_in"])


def test_a_missing_input_names_what_is_near() -> None:
    with pytest.raises(InvalidInput, match="Did you mean pixels"):
        pick({"pixels": np.zeros(1), "other": np.zeros(1)}, ["a|pixel", "b"], ("x",), "input", "data.npz")


def test_an_archive_with_pickled_objects_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "objects.npz"
    np.savez(path, x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InvalidInput, match=r"not an \.npz file of numbers"):
        read_archive(path)
