"""The ports of a mixed design stand in the order of the model's inputs and outputs, and every output has one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from qonnx_core import compile_model
from qonnx_core import load as load_model
from qonnx_core.build import load
from road import assert_exact

QONNX = "qonnx.custom_op.general"
RULES = """
default: hls4ml
rules:
  - {match: {to: TENSOR}, backend: finn}
"""


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """Give a network whose second input comes first in the data flow, and whose second output feeds the next part.

    Its third output is a float that the host computes from both.
    """
    generator = np.random.default_rng(3)
    constants = {"zero": 0.0, "four": 4.0, "three": 3.0, "quarter": 0.25, "eighth": 0.125}
    weights = {f"w{k}": generator.normal(size=shape) for k, shape in enumerate(((5, 4), (4, 4), (7, 4)))}

    def quant(x: str, scale: str, bits: str, y: str) -> onnx.NodeProto:
        return helper.make_node("Quant", [x, scale, "zero", bits], [y], domain=QONNX, signed=1, narrow=0)

    nodes = [
        *(quant(f"w{k}", "eighth", "three", f"q{k}") for k in range(3)),
        helper.make_node("MatMul", ["late", "q0"], ["m0"]),
        quant("m0", "quarter", "four", "h"),
        helper.make_node("MatMul", ["h", "q1"], ["m1"]),
        helper.make_node("MatMul", ["early", "q2"], ["m2"]),
        helper.make_node("Add", ["m1", "m2"], ["y"]),
        helper.make_node("Softmax", ["y"], ["soft"], axis=1),
        helper.make_node("Add", ["soft", "h"], ["p"]),
    ]

    def port(name: str, size: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size])

    graph = helper.make_graph(
        nodes,
        "two_by_three",
        [port("early", 7), port("late", 5)],
        [port("y", 4), port("h", 4), port("p", 4)],
        [numpy_helper.from_array(np.asarray(v, np.float32), k) for k, v in {**constants, **weights}.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(QONNX, 1)]
    path = tmp_path / "network.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def test_ports_follow_the_model_and_an_output_that_a_part_reads_has_one(
    network: Path, build: Callable[..., Any], tmp_path: Path
) -> None:
    rules = tmp_path / "split.yaml"
    rules.write_text(RULES.replace("TENSOR", "global_out_1"))
    grids = {"early": "INT4*1/8", "late": "INT5*1/8"}
    report = build(network, "mixed", rules=rules, input_types=grids, samples=24, steps=("simulate",))
    assert_exact(report)
    manifest = json.loads((tmp_path / "out" / "stitched" / "manifest.json").read_text())
    found = {stream["prefix"]: (stream["tensor"], stream["shape"]) for stream in manifest["streams"]}
    assert found == {
        "s_axis_0": ("global_in", [1, 7]),
        "s_axis_1": ("global_in_1", [1, 5]),
        "m_axis_0": ("global_out", [1, 4]),
        "m_axis_1": ("global_out_1", [1, 4]),
    }
    generator = np.random.default_rng(4)
    x = {"early": generator.integers(-8, 8, (6, 7)) / np.float32(8), "late": generator.integers(-16, 16, (6, 5)) / 8}
    x = {name: array.astype(np.float32) for name, array in x.items()}
    expected = compile_model(load_model(network)).run(x)
    finished = load(tmp_path / "out")
    for engine in ("integer", "emulation", "simulation"):
        outputs = finished.run(x, engine=engine)
        for ours, theirs in zip(outputs.values(), (expected[name] for name in ("y", "h", "p")), strict=True):
            assert np.allclose(ours, theirs, rtol=0, atol=1e-6), engine
    sessions = [
        onnxruntime.InferenceSession(str(tmp_path / "out" / "host" / name), providers=["CPUExecutionProvider"])
        for name in ("pre.onnx", "post.onnx")
    ]
    pre, post = sessions
    renamed = {"global_in": x["early"], "global_in_1": x["late"]}
    integers = pre.run(None, {value.name: renamed[value.name] for value in pre.get_inputs()})
    assert np.array_equal(integers[0].reshape(6, 7), x["early"] * 8)
    assert np.array_equal(integers[1].reshape(6, 5), x["late"] * 8)
    assert [value.name for value in post.get_inputs()] == ["global_out_1_integers", "global_out_integers"]
    assert [value.name for value in post.get_outputs()] == ["global_out", "global_out_1", "global_out_2"]
