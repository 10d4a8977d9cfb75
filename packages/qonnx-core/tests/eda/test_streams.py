"""Descriptors, manifests, and packing of integers into beats."""

from __future__ import annotations

import json
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qonnx_core.eda.streams import (
    Component,
    Manifest,
    make_descriptor,
    make_manifest,
    pack,
    padding_is_zero,
    parse_scale,
    stream_descriptor,
    unpack,
    wire_format,
)
from qonnx_core.errors import InvalidInput

INPUT: dict[str, Any] = {
    "prefix": "s_axis_0",
    "direction": "in",
    "tensor": "global_in",
    "datatype": "UINT8",
    "scale": "1/255",
    "shape": [1, 784],
    "elements_per_beat": 49,
}


def test_a_manifest_is_the_documented_json() -> None:
    manifest = make_manifest(
        top="stitched", sources=["a.sv", "b.sv"], data_files=["w0.hex"], streams=[make_descriptor(**INPUT)]
    )
    expected = {
        "top": "stitched",
        "sources": ["a.sv", "b.sv"],
        "data_files": ["w0.hex"],
        "clock": "ap_clk",
        "reset": "ap_rst_n",
        "clock_ns": 10.0,
        "streams": [
            {
                **{"prefix": "s_axis_0", "direction": "in", "tensor": "global_in", "datatype": "UINT8"},
                **{"scale": "1/255", "zero_point": 0, "shape": [1, 784], "elements_per_beat": 49, "beats": 16},
                **{"tdata_bits": 392, "tlast": False},
            }
        ],
    }
    assert json.loads(manifest.to_json()) == expected
    assert list(json.loads(manifest.to_json())["streams"][0]) == list(expected["streams"][0])  # type: ignore[index]


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    stream = make_descriptor(**{**INPUT, "scale": ["1/3"] * 784, "zero_point": [1] * 784, "offset": "0.5"})
    manifest = make_manifest(top="t", sources=["a.sv"], streams=[stream])
    assert '"offset": "0.5"' in manifest.to_json()
    manifest.write(tmp_path)
    assert Manifest.read(tmp_path) == manifest
    assert Manifest.read(tmp_path).to_json() == manifest.to_json()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"elements_per_beat": 3}, "elements_per_beat is 3; it has to divide the 784 elements"),
        ({"elements_per_beat": 0}, "whole numbers of at least 1"),
        ({"shape": [1, 0]}, "whole numbers of at least 1"),
        ({"datatype": "FLOAT32"}, "found FLOAT32; expected an integer type"),
        ({"datatype": "INT65"}, "whose values fit into INT64"),
        ({"datatype": "NONSENSE"}, "NONSENSE"),
        ({"prefix": "m_axis_0"}, "inputs are called s_axis_<n>"),
        ({"prefix": "s_axis_0; //"}, "inputs are called s_axis_<n>"),
        ({"beats": 3}, "beats is 3"),
        ({"tdata_bits": 391}, "tdata_bits is 391"),
        ({"scale": ["1", "2"]}, "scale has 2 entries"),
        ({"scale": "0"}, "scale is 0"),
        ({"scale": "1/0"}, "expected a rational"),
        ({"scale": "abc"}, "expected a rational"),
        ({"prefix": "m_axis_0", "direction": "out"}, "an output marks the last beat"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_wrong_descriptor_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        make_descriptor(**{**INPUT, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sources": ["../a.sv"]}, "expected a plain name"),
        ({"sources": ["/etc/passwd"]}, "expected a plain name"),
        ({"sources": ["a b.sv"]}, "expected a plain name"),
        ({"sources": ["-Mdir"]}, "expected a plain name"),
        ({"sources": []}, "sources is empty"),
        ({"data_files": ["a.sv"]}, "file a.sv stands more than once"),
        ({"top": "a;b"}, "expected a plain Verilog identifier"),
        ({"clock_ns": 0.0}, "expected a positive period"),
        ({"streams": [make_descriptor(**{**INPUT, "prefix": "s_axis_1"})]}, "expected .'s_axis_0'."),
    ],
)
def test_a_wrong_manifest_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        make_manifest(**{"top": "t", "sources": ["a.sv"], "streams": [make_descriptor(**INPUT)], **change})


def test_a_manifest_that_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="No such file"):
        Manifest.read(tmp_path)
    (tmp_path / "manifest.json").write_text('{"top": "t", "sources": ["a.sv"], "streams": [{"prefix": 1}]}')
    with pytest.raises(InvalidInput, match=r"manifest.json: streams\.0: shape None"):
        Manifest.read(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(InvalidInput, match="Invalid JSON"):
        Manifest.read(tmp_path)


def test_a_component_has_all_its_files_inside(tmp_path: Path) -> None:
    home = tmp_path / "part"
    home.mkdir()
    make_manifest(top="t", sources=["a.sv"], streams=[make_descriptor(**INPUT)]).write(home)
    with pytest.raises(InvalidInput, match=r"a\.sv of the manifest is missing"):
        Component.read(home)
    (tmp_path / "outside.sv").write_text("")
    (home / "a.sv").symlink_to(tmp_path / "outside.sv")
    with pytest.raises(InvalidInput, match="leads out of the component"):
        Component.read(home)


def test_scales_are_compared_by_value() -> None:
    one = make_descriptor(**INPUT)
    assert one.grid_difference(make_descriptor(**{**INPUT, "scale": "2/510"})) == ""
    assert one.grid_difference(make_descriptor(**{**INPUT, "scale": ["1/255"] * 784})) == ""
    assert "scale 1/255 against 0.00392" in one.grid_difference(make_descriptor(**{**INPUT, "scale": "0.00392"}))
    assert "zero_point 0 against 1" in one.grid_difference(make_descriptor(**{**INPUT, "zero_point": 1}))
    assert parse_scale("2^-4") == Fraction(1, 16)
    assert parse_scale("0.1") == Fraction(float(np.float32(0.1)))


def test_a_descriptor_follows_from_a_port() -> None:
    from qonnx_core.ir.grid import Grid
    from qonnx_core.passes.streamline import Port

    port = Port(name="x", tensor="global_in", grid=Grid.parse("UINT8*1/255"), shape=(1, 784))
    made = stream_descriptor("s_axis_0", "in", port, 49)
    assert made == make_descriptor(**INPUT)
    assert stream_descriptor("m_axis_0", "out", port, 49).tlast


@pytest.mark.parametrize(
    ("datatype", "values", "word"),
    [
        ("UINT4", [1, 2, 15], 0xF21),
        ("INT4", [-1, -8, 7], 0x78F),
        ("BIPOLAR", [-1, 1, 1], 0b110),
        ("TERNARY", [-1, 0, 1], 0b010011),
        ("BINARY", [1, 0, 1], 0b101),
    ],
)
def test_element_0_lies_in_the_least_significant_bits(datatype: str, values: list[int], word: int) -> None:
    stream = make_descriptor(**{**INPUT, "datatype": datatype, "shape": [1, 3], "elements_per_beat": 3, "scale": "1"})
    assert pack(stream, np.array([[values]])).tolist() == [[word]]
    assert unpack(stream, np.array([[word]], np.uint32)).tolist() == [[values]]


@settings(max_examples=80, deadline=None)
@given(
    datatype=st.sampled_from(["BIPOLAR", "TERNARY", "BINARY"])
    | st.integers(2, 63).map(lambda bits: f"UINT{bits}")
    | st.integers(1, 64).map(lambda bits: f"INT{bits}"),
    per_beat=st.integers(1, 17),
    beats=st.integers(1, 4),
    frames=st.integers(0, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_packing_is_undone_by_unpacking(datatype: str, per_beat: int, beats: int, frames: int, seed: int) -> None:
    stream = make_descriptor(
        prefix="s_axis_0",
        direction="in",
        tensor="x",
        datatype=datatype,
        shape=[1, per_beat * beats],
        elements_per_beat=per_beat,
    )
    wire = wire_format(datatype)
    shape = (frames, 1, per_beat * beats)
    values = np.random.default_rng(seed).integers(wire.lo, wire.hi, shape, dtype=np.int64, endpoint=True)
    if wire.bipolar:
        values = np.where(values >= 0, 1, -1)
    words = pack(stream, values)
    assert words.shape == (frames * beats, -(-stream.tdata_bits // 32))
    assert padding_is_zero(stream, words)
    assert (unpack(stream, words) == values).all()
    for beat, row in enumerate(words):  # against arithmetic on whole integers
        whole = sum(int(word) << (32 * place) for place, word in enumerate(row))
        chunk = values.reshape(-1, per_beat)[beat]
        raw = [(int(v) + 1) // 2 if wire.bipolar else int(v) % (1 << wire.bits) for v in chunk]
        assert whole == sum(value << (wire.bits * place) for place, value in enumerate(raw))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((2, 1, 783), np.int64), r"expected \(frames, 1, 784\)"),
        (np.zeros((2, 1, 784), np.float32), "found values of type float32; expected integers"),
        (np.full((2, 1, 784), 256), r"found 256 at \(0, 0, 0\); expected 0 to 255 of UINT8"),
        (np.int64(3), "expected"),
    ],
)
def test_values_that_do_not_fit_are_refused(values: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        pack(make_descriptor(**INPUT), values)


def test_a_bipolar_zero_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"found 0 .*expected -1 or \+1"):
        pack(make_descriptor(**{**INPUT, "datatype": "BIPOLAR"}), np.zeros((1, 784), np.int64))


def test_padding_bits_are_seen() -> None:
    stream = make_descriptor(**{**INPUT, "datatype": "UINT3", "shape": [1, 11], "elements_per_beat": 11, "scale": "1"})
    assert (stream.payload_bits, stream.tdata_bits, stream.words_per_beat) == (33, 40, 2)
    assert padding_is_zero(stream, np.array([[0xFFFFFFFF, 1]], np.uint32))
    assert not padding_is_zero(stream, np.array([[0, 2]], np.uint32))


def test_a_whole_test_set_is_packed_in_a_moment() -> None:
    values = np.random.default_rng(0).integers(0, 256, (10_000, 784))
    stream = make_descriptor(**INPUT)
    started = time.monotonic()
    assert (unpack(stream, pack(stream, values)).reshape(values.shape) == values).all()
    assert time.monotonic() - started < 10.0
