"""Samples and input grids of a build."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from qonnx_core.build.inputs import (
    bring_on_grid,
    class_labels,
    fitting_types,
    frame_shape,
    input_grids,
    numbers,
    pick,
    read_archive,
    seeded_sample,
    write_archive,
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
        input_grids(model, [("global_in", "x")], {}, data)


def test_a_type_may_name_the_input_as_in_the_file_or_as_cleaned_or_not_at_all() -> None:
    model = random_mlp(0)
    for name in ("global_in", "x", ""):
        assert str(input_grids(model, [("global_in", "x")], {name: "INT4"}, None)["global_in"]) == "INT4"


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
        pick({"pixels": np.zeros(1), "other": np.zeros(1)}, [("a", "pixel"), ("b",)], ("x",), "input", "data.npz")


def test_an_archive_with_pickled_objects_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "objects.npz"
    np.savez(path, x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InvalidInput, match=r"not an \.npz file of numbers"):
        read_archive(path)


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.array(["a"]), "has element type <U1; expected numbers"),
        (np.zeros(2, complex), "has element type complex128"),
        (np.zeros(2, "datetime64[s]"), "has element type datetime64"),
        (np.full(2, 1e300), "more than float32 holds"),
    ],
)
def test_data_that_are_no_numbers_are_refused(array: np.ndarray, sentence: str) -> None:
    with pytest.raises(InvalidInput, match=f"data for input x: .*{sentence}"):
        numbers("input x", array)


@pytest.mark.parametrize("labels", [np.zeros(3, int), np.eye(5), np.full(5, 0.5), np.array(list("abcde"))])
def test_labels_are_one_class_number_a_sample(labels: np.ndarray) -> None:
    with pytest.raises(InvalidInput, match=r"data for labels: .*expected 5 whole class numbers"):
        class_labels(labels, 5)


@pytest.mark.parametrize("labels", [np.arange(5), np.arange(5.0), np.arange(5, dtype=np.uint8).reshape(5, 1)])
def test_class_numbers_of_any_type_are_labels(labels: np.ndarray) -> None:
    assert class_labels(labels, 5).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("INT64", "INT64 has 64 bits; expected at most 32"),
        ("UINT2*2^9999", "its scale is out of the range of float32"),
        ("UINT2*2^-200", "its scale is out of the range of float32"),
    ],
)
def test_an_input_type_that_no_float32_holds_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        input_grids(random_mlp(0), [("global_in",)], {"": text}, None)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "not an .npz file of numbers"),
        (b"PK\x03\x04 cut off", "not an .npz file of numbers"),
        (b"text", "not an .npz file of numbers"),
        (None, "found nothing; expected an .npz"),
    ],
)
def test_a_file_that_is_no_archive_is_refused(content: bytes | None, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidInput, match=sentence):
        read_archive(path)


def test_a_single_array_is_no_archive(tmp_path: Path) -> None:
    with (tmp_path / "one.npz").open("wb") as stream:
        np.save(stream, np.zeros(3))
    with pytest.raises(InvalidInput, match=r"holds a single array; expected an \.npz with arrays under names"):
        read_archive(tmp_path / "one.npz")


def test_an_archive_has_exactly_the_name_that_was_said(tmp_path: Path) -> None:
    write_archive(tmp_path / "outputs", {"../../y": np.arange(3)})
    assert [path.name for path in tmp_path.iterdir()] == ["outputs"]
    assert read_archive(tmp_path / "outputs")["../../y"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("place", "sentence"),
    [("nowhere/y.npz", "expected an existing, writable folder"), (".", "is a folder; expected the name of a file")],
)
def test_an_archive_that_cannot_be_written_is_refused(place: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        write_archive(tmp_path / place, {"y": np.arange(3)})


def test_a_name_may_hold_any_character() -> None:
    assert pick({"a|b": np.zeros(1)}, [("a|b",), ("c",)][:1], (), "input", "data.npz").keys() == {"a|b"}


def test_an_input_of_unknown_size_is_refused() -> None:
    value = random_mlp(0).graph.inputs[0]
    value.shape = ir.Shape(["N", "W"])
    with pytest.raises(InvalidInput, match="expected whole numbers after the batch dimension"):
        frame_shape(value)
    value.shape = None
    with pytest.raises(InvalidInput, match="its shape is unknown"):
        frame_shape(value)
