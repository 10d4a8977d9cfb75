"""Many kinds of perceptrons, each down to the simulated wires, and against stock onnxruntime where floats are exact.

``EXACT`` networks have scales whose sums are exact in float32, so that onnxruntime's answer is the answer. The others
have scales as training leaves them: nothing may be a mismatch.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from qonnx_core import load as load_model
from qonnx_core import save
from qonnx_core.build import load
from qonnx_core.errors import InvalidInput, Unsupported
from road import assert_exact

QONNX = "qonnx.custom_op.general"
QUANTIZERS = ("Quant", "BipolarQuant", "Trunc", "MultiThreshold")
SAMPLES = 24


class Net:
    """Writes a network node by node; numbers come from one seeded generator."""

    def __init__(self, *, domain: str = QONNX, opset: int = 17, version: int = 1, batch: int | str = "N") -> None:
        self.domain, self.batch = domain, batch
        self.opsets = {"": opset, domain: version}
        self.random = np.random.default_rng(3)
        self.nodes: list[ir.Node] = []
        self.constants: list[ir.Value] = []
        self.inputs: list[ir.Value] = []

    def input(self, *shape: int, name: str = "x") -> ir.Value:
        self.inputs.append(ir.val(name, ir.DataType.FLOAT, [self.batch, *shape]))
        return self.inputs[-1]

    def constant(self, array: Any) -> ir.Value:
        array = np.asarray(array)
        array = array.astype(np.int64 if array.dtype == np.int64 and array.ndim else np.float32)
        name = f"c{len(self.constants)}"
        self.constants.append(ir.val(name, const_value=ir.tensor(array, name=name)))
        return self.constants[-1]

    def op(self, op_type: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> ir.Value:
        values = [x if isinstance(x, ir.Value) else self.constant(x) for x in inputs]
        domain = self.domain if op_type in QUANTIZERS else ""
        number = len(self.nodes)
        node = ir.node(op_type, values, attributes or None, domain=domain, num_outputs=outputs, name=f"n{number}")
        for i, value in enumerate(node.outputs):
            value.name, value.dtype = f"t{number}_{i}", ir.DataType.FLOAT
        self.nodes.append(node)
        return node.outputs[-1]

    def quant(
        self, x: Any, scale: Any, bits: int, zero: float = 0.0, *, signed: int = 1, narrow: int = 0, mode: str = "ROUND"
    ) -> ir.Value:
        return self.op("Quant", x, scale, zero, float(bits), signed=signed, narrow=narrow, rounding_mode=mode)

    def dense(self, x: ir.Value, rows: int, columns: int, bits: int = 4, scale: Any = 0.25, **options: Any) -> ir.Value:
        return self.op("MatMul", x, self.quant(self.random.normal(0, 1, (rows, columns)), scale, bits, **options))

    def norm(self, x: ir.Value, channels: int) -> ir.Value:
        gain, bias, mean = self.random.normal(0, 1, (3, channels))
        return self.op("BatchNormalization", x, gain, bias, mean, self.random.uniform(0.3, 2, channels), epsilon=1e-5)

    def model(self, *outputs: ir.Value) -> ir.Model:
        selects = {"ArgMax", "TopK"}
        for value in outputs:
            producer = value.producer()
            value.dtype = ir.DataType.INT64 if producer and producer.op_type in selects else ir.DataType.FLOAT
        graph = ir.Graph(
            self.inputs, outputs, nodes=self.nodes, initializers=self.constants, opset_imports=self.opsets, name="net"
        )
        return ir.Model(graph, ir_version=8)


def perceptron(**options: Any) -> ir.Model:
    net = Net(**options)
    x = net.quant(net.input(6), 0.25, 4)
    x = net.quant(net.op("Relu", net.dense(x, 6, 8, 3)), 0.5, 4, signed=0)
    x = net.quant(net.op("Relu", net.dense(x, 8, 5, 3)), 0.5, 4, signed=0)
    return net.model(net.op("Softmax", net.dense(x, 5, 4, 3), axis=1))


def one_bit() -> ir.Model:
    net = Net()
    x = net.input(13)
    for rows, columns in ((13, 7), (7, 5), (5, 3)):
        x = net.op("MatMul", x, net.op("BipolarQuant", net.random.normal(0, 1, (rows, columns)), 1.0))
        x = net.op("BipolarQuant", x, 1.0) if columns != 3 else x
    return net.model(x)


def one_bit_normed() -> ir.Model:
    net = Net()
    x = net.quant(net.input(6), 0.25, 1)
    x = net.quant(net.norm(net.dense(x, 6, 8, 1, 0.5), 8), 0.37, 1)
    return net.model(net.dense(x, 8, 3, 2, 0.3, narrow=1))


def zero_points() -> ir.Model:
    net = Net()
    x = net.quant(net.input(6), 0.25, 4, 3, signed=0)
    x = net.quant(net.dense(x, 6, 5, 4, 0.125, zero=2), 0.5, 4, 5, signed=0, narrow=1)
    return net.model(net.quant(net.dense(x, 5, 4, 3, 0.25, zero=-1), 1.0, 5, -3))


def rounded(mode: str) -> ir.Model:
    net = Net()
    x = net.quant(net.input(6), 0.25, 5, mode=mode)
    x = net.quant(net.dense(x, 6, 5, 4, mode=mode), 1.0, 4, mode=mode)
    return net.model(net.quant(net.dense(x, 5, 3, 4, mode=mode), 0.5, 5, signed=0, mode=mode))


def truncated() -> ir.Model:
    net = Net(version=2)
    x = net.dense(net.quant(net.input(6), 0.25, 4), 6, 5)
    x = net.op("Trunc", x, 0.0625, 0.0, 10.0, 0.5, 5.0, rounding_mode="FLOOR", signed=1, narrow=0)
    return net.model(net.dense(x, 5, 3))


def given_thresholds() -> ir.Model:
    net = Net()
    x = net.dense(net.input(6), 6, 5, 4, 1.0)
    rows = np.sort(net.random.integers(-9, 9, (5, 7)), axis=1).astype(np.float32)
    x = net.op("MultiThreshold", x, rows, out_dtype="INT4", out_bias=-4.0, out_scale=1.0)
    return net.model(net.op("MultiThreshold", net.dense(x, 5, 4, 2, 1.0), [[1.0, -3.5, 0.0, 0.0]], out_dtype="UINT3"))


def channel_scales() -> ir.Model:
    net = Net()
    x = net.quant(net.input(6), net.random.uniform(0.1, 0.4, (1, 6)), 4)
    x = net.dense(x, 6, 5, 4, net.random.uniform(0.05, 0.3, (1, 5)))
    x = net.quant(net.norm(x, 5), net.random.uniform(0.1, 0.9, (1, 5)), 4)
    return net.model(net.op("Add", net.dense(x, 5, 4, 4, 0.1), net.random.normal(0, 1, 4)))


def residual(scales: tuple[float, float, float]) -> ir.Model:
    net = Net()
    x = net.quant(net.input(6), scales[0], 4)
    y = net.quant(net.dense(x, 6, 6), scales[1], 4)
    z = net.quant(net.op("Relu", net.op("Add", x, y)), scales[2], 4, signed=0)
    return net.model(net.dense(net.quant(net.op("Sum", z, x, y), 0.5, 6), 6, 3))


def odd_branches() -> ir.Model:
    net = Net()
    x = net.quant(net.input(6), 0.2, 8)
    y = net.quant(net.dense(x, 6, 6), 0.7, 8)
    return net.model(net.dense(net.quant(net.op("Sub", x, y), 0.5, 4), 6, 3))


def pictures() -> ir.Model:
    net = Net()
    x = net.quant(net.input(3, 4, 4), np.reshape([0.5, 1.0, 2.0], (1, 3, 1, 1)), 3)
    x = net.op("Reshape", x, np.asarray([0, -1]))
    return net.model(net.dense(net.quant(net.dense(x, 48, 5, 2), 1.0, 2), 5, 3))


def two_in_two_out() -> ir.Model:
    net = Net()
    branches = [net.quant(net.dense(net.input(n, name=f"x{n}"), n, 4), 1.0, 4) for n in (6, 5)]
    x = net.quant(net.op("Add", *branches), 1.0, 3)
    return net.model(net.dense(x, 4, 3), net.op("ArgMax", net.dense(x, 4, 7, 2), axis=1, keepdims=0))


def wide_sums() -> ir.Model:
    net = Net()
    x = net.quant(net.input(20), 1.0, 16)
    x = net.quant(net.op("MatMul", x, net.quant(net.random.normal(0, 900, (20, 5)), 1.0, 12)), 3000.7, 8)
    return net.model(net.dense(x, 5, 3))


def constant_channels() -> ir.Model:
    net = Net()
    weights = net.random.normal(0, 1, (6, 5))
    weights[:, 2] = 0
    x = net.op("MatMul", net.quant(net.input(6), 0.25, 4), net.quant(weights, 0.25, 4))
    x = net.quant(net.op("Add", x, [1000.0, -1000.0, 0.25, 0.0, 0.5]), 0.5, 3)
    return net.model(net.dense(x, 5, 1))


def largest(k: int) -> ir.Model:
    net = Net()
    x = net.quant(net.dense(net.quant(net.input(6), 0.25, 4), 6, 7), 2.0, 2)  # few levels, so many ties
    return net.model(net.op("TopK", x, np.asarray([k]), outputs=2, axis=1))


EXACT: dict[str, tuple[Callable[[], ir.Model], str]] = {
    "one bit": (one_bit, "BIPOLAR"),
    "zero points": (zero_points, "INT6*1/8"),
    **{f"rounds {m}": (lambda m=m: rounded(m), "INT6*1/8") for m in ("CEIL", "UP", "DOWN", "HALF_UP", "HALF_DOWN")},
    "truncated": (truncated, "INT6*1/8"),
    "given thresholds": (given_thresholds, "INT4"),
    "residual": (lambda: residual((0.25, 0.5, 0.125)), "INT6*1/8"),
    "pictures": (pictures, "INT4"),
    "two inputs, two outputs": (two_in_two_out, "INT4*1/2"),
    "constant channels": (constant_channels, "INT6*1/8"),
    "three largest": (lambda: largest(3), "INT6*1/8"),
    "batch of one, opset 9": (lambda: perceptron(batch=1, opset=9), "INT12*2^-5"),
    "old domain": (lambda: perceptron(domain="onnx.brevitas", opset=21), "UINT1"),
}
TRAINED: dict[str, tuple[Callable[[], ir.Model], str]] = {
    "one bit, normed": (one_bit_normed, "FIXED<16,6>"),
    "channel scales": (channel_scales, "INT6*1/8"),
    "odd residual": (lambda: residual((0.1, 0.3, 0.7)), "UINT8*1/255"),
    "odd branches": (odd_branches, "INT8*1/16"),
    "wide sums": (wide_sums, "INT16"),
}
ADDER_TREES = ("zero points", "residual", "two inputs, two outputs", "three largest", "one bit, normed", "odd branches")


def inputs_of(model: ir.Model, text: str) -> dict[str, str]:
    return {value.name or "": text for value in model.graph.inputs}


@pytest.mark.parametrize(
    ("kind", "backend"),
    [*((kind, "finn") for kind in (*EXACT, *TRAINED)), *((kind, "hls4ml") for kind in ADDER_TREES)],
)
def test_a_kind_of_network_is_exact_down_to_the_wires(
    kind: str, backend: str, build: Callable[..., Any], tmp_path: Path
) -> None:
    make, grid = (EXACT | TRAINED)[kind]
    model, path = make(), tmp_path / "net.onnx"
    ir.save(model, path)
    types = inputs_of(model, grid)
    report = build(path, backend, input_types=types, samples=SAMPLES, steps=("simulate",))
    assert_exact(report, boundary=0 if kind in EXACT else SAMPLES)
    manifest = json.loads((tmp_path / "out" / "stitched" / "manifest.json").read_text())
    if kind == "three largest":
        assert [(s["datatype"], s["shape"]) for s in manifest["streams"][1:]] == [("UINT3", [1, 3])]
    if kind not in EXACT:
        return
    finished = load(tmp_path / "out")
    inputs = dict(finished._context.samples.inputs)
    found = finished.run(inputs, engine="simulation")
    original = load_model(path)
    save(original, tmp_path / "stock.onnx", with_functions=True)
    session = onnxruntime.InferenceSession(str(tmp_path / "stock.onnx"), providers=["CPUExecutionProvider"])
    given = dict(zip([value.name for value in session.get_inputs()], inputs.values(), strict=True))
    single = model.graph.inputs[0].shape is not None and model.graph.inputs[0].shape[0] == 1
    slices = [{name: array[i : i + 1] for name, array in given.items()} for i in range(SAMPLES)] if single else [given]
    expected = [np.concatenate(arrays) for arrays in zip(*(session.run(None, part) for part in slices), strict=True)]
    for wanted, got in zip(expected, found.values(), strict=True):
        assert wanted.shape == got.shape
        np.testing.assert_allclose(
            got, wanted, rtol=0, atol=1e-6 if kind in ("batch of one, opset 9", "old domain") else 0
        )


RULES = {
    "three parts": ("{match: {name: MatMul_1}, backend: hls4ml}", ["finn", "hls4ml", "finn"]),
    "cut on an accumulator": ("{match: {from: MatMul_1_out0}, backend: hls4ml}", ["finn", "hls4ml"]),
}


@pytest.mark.parametrize("name", RULES)
def test_a_mixed_build_is_exact_and_folds_the_parts_that_fold(
    name: str, build: Callable[..., Any], tmp_path: Path
) -> None:
    rule, backends = RULES[name]
    path, rules, folding = tmp_path / "net.onnx", tmp_path / "rules.yaml", tmp_path / "folding.json"
    ir.save(perceptron(), path)
    rules.write_text(f"default: finn\nrules:\n  - {rule}\n")
    folds = {"MatMul_0": {"PE": 4, "SIMD": 2}}
    folds |= {"MatMul_2": {"PE": 1, "SIMD": 5}} if len(backends) == 3 else {"MatMul_1": {"PE": 5, "SIMD": 8}}
    folding.write_text(json.dumps({"Defaults": {}, **folds}))
    options = {"input_types": {"x": "INT6*1/8"}, "samples": SAMPLES, "steps": ("simulate",)}
    report = build(path, "mixed", rules=rules, folding=folding, **options)
    assert_exact(report)
    assert [part["backend"] for part in report["partitions"]] == backends
    assert report["initiation_interval_cycles"] == 6  # (8 / 4) * (6 / 2), and 6 inputs one by one


@pytest.mark.parametrize(
    ("folds", "interval"),
    [
        ({"MVAU_hls_0": {"PE": 8, "SIMD": 2}, "MVAU_hls_1": {"PE": 1, "SIMD": 2}, "MVAU_2": {"PE": 4, "SIMD": 5}}, 20),
        ({"Defaults": {"PE": [1, ["all"]], "SIMD": [1, ["MVAU"]]}}, 48),
        ({"MatMul_0": {"PE": 4, "SIMD": 6}, "MatMul_1": {"PE": 5, "SIMD": 4}, "MatMul_2": {"PE": 1, "SIMD": 1}}, 20),
    ],
)
def test_the_measured_interval_is_the_formula(
    folds: dict[str, Any], interval: int, build: Callable[..., Any], tmp_path: Path
) -> None:
    ir.save(perceptron(), tmp_path / "net.onnx")
    (tmp_path / "folding.json").write_text(json.dumps(folds))
    report = build(
        tmp_path / "net.onnx",
        "finn",
        folding=tmp_path / "folding.json",
        input_types={"x": "INT6*1/8"},
        samples=SAMPLES,
        steps=("simulate",),
    )
    assert_exact(report)
    assert report["initiation_interval_cycles"] == interval


def test_what_cannot_be_built_says_why_and_what_to_try(build: Callable[..., Any], tmp_path: Path) -> None:
    net = Net()
    x = net.quant(net.op("Concat", net.input(6, name="a"), net.input(5, name="b"), axis=1), 1.0, 3)
    path = tmp_path / "net.onnx"
    ir.save(net.model(net.dense(x, 11, 3)), path)
    with pytest.raises(Unsupported, match=r"Concat_0 \(Concat\): it combines several tensors.*give it to the host"):
        build(path, "finn", input_types={"a": "INT4", "b": "INT4"}, samples=4)
    ir.save(perceptron(), path)
    (tmp_path / "folding.json").write_text("{}")
    with pytest.raises(InvalidInput, match=r"--folding: no part is built by a backend that folds"):
        build(path, "hls4ml", input_types={"x": "INT4"}, folding=tmp_path / "folding.json", samples=4)
