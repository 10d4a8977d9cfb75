"""What the qonnx package and this one do with the same file: the same names, and files that the other one runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest

import qonnx_core
from qonnx_core.formats.from_qcdq import from_qcdq
from qonnx_core.formats.reader import from_proto
from qonnx_core.ops import BipolarQuant, Quant, Rounding, Trunc, TruncV1
from qonnx_core.ops.op import QonnxOp
from qonnx_core.testing import shared_file
from qonnx_core.testing.op_contract import example_model, ties_and_extremes

modelwrapper = pytest.importorskip("qonnx.core.modelwrapper", reason="the package qonnx is not installed")
MODELS = ["zoo/TFC_1W2A", "zoo/qkeras_jettagging", "nn2fpga/resnet8_a8w8b16"]


@pytest.mark.parametrize("name", MODELS)
def test_the_clean_up_gives_the_names_of_the_reference(name: str) -> None:
    from qonnx.util.cleanup import cleanup_model

    file = shared_file(f"models/{name}.onnx")
    reference = cleanup_model(modelwrapper.ModelWrapper(str(file)))
    ours = qonnx_core.cleanup_model(qonnx_core.load(file))
    expected = [(node.name, list(node.input), list(node.output)) for node in reference.graph.node]
    found = [(node.name, [x.name for x in node.inputs], [x.name for x in node.outputs]) for node in ours.graph]
    assert found == expected


@pytest.mark.parametrize("name", MODELS)
def test_the_reference_runs_what_we_write(name: str, tmp_path: Path) -> None:
    from qonnx.core.onnx_exec import execute_onnx

    data = np.load(shared_file(f"models/{name}.npz"))
    model = qonnx_core.cleanup_model(qonnx_core.load(shared_file(f"models/{name}.onnx")), open_batch=False)
    qonnx_core.save(model, tmp_path / "m.onnx")
    reference = modelwrapper.ModelWrapper(str(tmp_path / "m.onnx"))
    found = execute_onnx(reference, {"global_in": data["x"][:1]})["global_out"]
    np.testing.assert_array_equal(found, data["y"][:1])


QDQ = """<ir_version: 8, opset_import: ["": 17]> g (float[1, 4] x) => (float[1, 3] y)
  <float s = {0.3}, uint8 z = {ZERO}, int8[4, 3] w = {1, -2, 3, -128, 5, 6, 127, 8, 9, -10, 11, 12},
   float[3] t = {0.1, 0.25, 0.7}>
  { q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) e = DequantizeLinear<axis = 1>(w, t) m = MatMul(d, e)
    r = QuantizeLinear(m, s, z) y = DequantizeLinear(r, s, z) }"""


@pytest.mark.parametrize("zero", [0, 3, 128, 200])
def test_the_reference_runs_quantizers_of_onnx_that_we_read(zero: int, tmp_path: Path) -> None:
    from qonnx.core.onnx_exec import execute_onnx

    proto = onnx.parser.parse_model(QDQ.replace("ZERO", str(zero)))
    found = from_qcdq(from_proto(proto))
    assert found.kept == ()
    qonnx_core.save(found.model, tmp_path / "m.onnx")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    stock = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    for x in np.random.default_rng(0).normal(size=(20, 1, 4)).astype(np.float32) * 20:
        values = execute_onnx(modelwrapper.ModelWrapper(str(tmp_path / "m.onnx")), {"x": x})["y"]
        np.testing.assert_array_equal(values, stock.run(None, {"x": x})[0])


def _reference_values(op: QonnxOp, inputs: list[np.ndarray]) -> np.ndarray:
    from qonnx.custom_op.registry import getCustomOp

    names = list(op.inputs)
    node = onnx.helper.make_node(op.op_type, names, ["y"], domain=op.domain, **op.attributes())
    values = [onnx.helper.make_tensor_value_info(n, 1, x.shape) for n, x in zip(names, inputs, strict=True)]
    graph = onnx.helper.make_graph([node], "g", values, [onnx.helper.make_tensor_value_info("y", 1, inputs[0].shape)])
    context: dict[str, np.ndarray] = dict(zip(names, inputs, strict=True))
    with np.errstate(all="ignore"):
        getCustomOp(node, onnx_opset_version=op.since_version).execute_node(context, graph)
    return context["y"]


F32 = np.float32
CASES = [
    *(([Quant(s, n, mode), *map(F32, p)]) for s in (True, False) for n in (True, False) for mode in Rounding
      for p in ((1, 0, 4), (0.3, 2, 8), (1, 0, 1))),
    [BipolarQuant(), F32(0.7)],
    *(([TruncV1(mode), *map(F32, (0.5, 1, 8, 5))]) for mode in Rounding),
    *(([Trunc(mode, s), *map(F32, (0.5, 0, 8, 2, 4))]) for mode in Rounding for s in (True, False)),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case[0]))
def test_operators_give_the_values_of_the_reference(case: list) -> None:
    op, *parameters = case
    inputs = [ties_and_extremes(), *map(np.asarray, parameters)]
    found = qonnx_core.compile_model(example_model(op, inputs, constants=True)).run({op.inputs[0]: inputs[0]})["y"]
    np.testing.assert_array_equal(found, _reference_values(op, inputs))
