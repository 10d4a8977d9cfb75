"""Shapes that the inference of ``onnx`` alone does not find, or finds wrong."""

from __future__ import annotations

import itertools

import numpy as np
import onnx.parser
import onnx_ir as ir
import onnxruntime
import pytest

from qonnx_core.errors import InvalidModel
from qonnx_core.formats.reader import from_proto
from qonnx_core.passes.infer_shapes import InferShapes

HEAD = '<ir_version: 10, opset_import: ["": 21]>'


def shape_of(body: str) -> str:
    model = from_proto(onnx.parser.parse_model(HEAD + body))
    InferShapes().run(model)
    assert InferShapes().run(model) == 0
    return str(model.graph.outputs[0].shape)


@pytest.mark.parametrize("pool", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize(("size", "stride"), [(s, t) for s in (1, 2, 4, 5) for t in (1, 2, 3)])
def test_a_pool_that_rounds_up_has_as_many_windows_as_the_runtime_computes(pool: str, size: int, stride: int) -> None:
    """``onnx`` counts a window that would start in the padding at the end as well."""
    frame = np.ones((1, 1, size), np.float32)
    for kernel, begin, end, dilation in itertools.product([1, 2, 3], [0, 1], [0, 1], [1, 2]):
        if max(begin, end) >= kernel or dilation * (kernel - 1) + 1 > size + begin + end:
            continue
        window = f"kernel_shape=[{kernel}], strides=[{stride}], pads=[{begin}, {end}], dilations=[{dilation}]"
        body = f"g (float[1, 1, {size}] x) => (y) {{ y = {pool}<{window}, ceil_mode = 1>(x) }}"
        proto = onnx.parser.parse_model(HEAD + body)
        session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        assert shape_of(body) == "[" + ",".join(map(str, session.run(None, {"x": frame})[0].shape)) + "]", window


def test_pools_that_round_up_inside_branches_and_with_automatic_padding() -> None:
    assert shape_of(
        """g (float[N, 2, 5, W] x) => (y) <bool c = {1}> { y = If (c) <
             then_branch = a () => (p) { p = MaxPool<kernel_shape = [1, 1], strides = [2, 2], ceil_mode = 1>(x) },
             else_branch = b () => (q) { q = MaxPool<kernel_shape = [1, 1], strides = [2, 2], ceil_mode = 1>(x) }> }"""
    ).startswith("[N,2,3,")
    automatic = 'kernel_shape = [3, 3], strides = [2, 2], auto_pad = "SAME_UPPER", ceil_mode = 1'
    assert shape_of(f"g (float[N, 2, 5, 8] x) => (y) {{ y = MaxPool<{automatic}>(x) }}") == "[N,2,3,4]"


def test_a_normalization_that_onnx_fails_to_read_keeps_its_shape() -> None:
    assert shape_of("g (float[N, 2, 5] x) => (y) { y = MeanVarianceNormalization<axes = [0, 2]>(x) }") == "[N,2,5]"


def test_a_window_of_another_rank_is_refused() -> None:
    body = "g (float[1, 2, 4, 4] x) => (y) { y = MaxPool<kernel_shape = [2], ceil_mode = 1>(x) }"
    with pytest.raises(InvalidModel, match=r"do not fit data of 2 spatial axes"):
        shape_of(body)


@pytest.mark.parametrize(
    ("body", "shape"),
    [
        ("<float[4] s = {1, 1, 2, 2}> { y = Resize(x, , s) }", "[N,2,8,unk__0]"),
        ("<float[2] s = {2, 1}> { y = Resize<axes = [2, 3]>(x, , s) }", "[N,2,8,W]"),
        ("<int64[1] s = {9}> { y = Resize<axes = [2]>(x, , , s) }", "[N,2,9,W]"),
        ("<int64[4] t = {1, 3, 1, 2}> { a = Tile(x, t) y = Relu(a) }", "[N,6,4,unk__0]"),
        ("<int64[5] t = {5, 1, 1, 1, 1}> { y = Expand(x, t) }", "[5,N,2,4,W]"),
        ("<float[2, 2, 3, 3] w> { y = Conv<pads = [1, 1, 1, 1]>(x, w) }", "[N,2,4,W]"),
        ("<float[2, 2, 3, 3] w> { y = Conv<pads = [1, 1, 1, 0]>(x, w) }", "[N,2,4,unk__0]"),
        ("<float[2, 2, 3, 3] w> { y = Conv<pads = [2, 2, 2, 2], dilations = [2, 2]>(x, w) }", "[N,2,4,W]"),
        ('{ y = AveragePool<kernel_shape = [2, 2], auto_pad = "SAME_LOWER">(x) }', "[N,2,4,W]"),
        ("{ y = MaxPool<kernel_shape = [3, 3], strides = [1, 2], pads = [1, 1, 1, 1]>(x) }", "[N,2,4,unk__0]"),
    ],
)
def test_what_keeps_an_axis_keeps_the_name_of_its_size(body: str, shape: str) -> None:
    body = body.replace("float[2, 2, 3, 3] w", f"float[2, 2, 3, 3] w = {{{', '.join(['1'] * 36)}}}")
    assert shape_of(f"g (float[N, 2, 4, W] x) => (y) {body}") == shape


def test_names_of_unknown_sizes_are_those_of_the_run_before() -> None:
    """Names that are given are not taken, and the branches of an If are numbered behind the main graph."""
    pool = "MaxPool<kernel_shape = [1, 1], strides = [2, 2]>"
    body = f"""g (float[N, 2, unk__0, W] x) => (y) <bool c = {{1}}> {{
             y = If (c) <then_branch = a () => (p) {{ p = {pool}(x) }}, else_branch = b () => (q) {{ q = {pool}(x) }}>
             }}"""
    assert shape_of(body) == "[N,2,unk__1,unk__2]"


def test_names_of_unknown_sizes_stay_where_nodes_go() -> None:
    model = from_proto(onnx.parser.parse_model(f"{HEAD} g (float[?] x, float[?] z) => (y) {{ u = Neg(x) y = Neg(z) }}"))
    InferShapes().run(model)
    assert str(model.graph.outputs[0].shape) == "[unk__1]"
    model.graph.remove(model.graph[0])
    assert InferShapes().run(model) == 0


BRANCHES = "then_branch = a () => (p) { n = Neg(h) p = Relu(n) }, else_branch = b () => (q) { q = Relu(h) }"


def test_sizes_without_a_name_have_one_name_in_branches_and_outside() -> None:
    """The names of the run before are not taken for those of the file, in the branches as outside of them."""
    body = f"g (float[?, 2] x) => (y) <bool c = {{1}}> {{ h = Neg(x) i = If (c) <{BRANCHES}> y = Add(h, i) }}"
    assert shape_of(body) == "[unk__0,2]"


def test_shapes_in_branches_follow_the_input_once_more() -> None:
    body = f"g (float[1, 2] x) => (y) <bool c = {{1}}> {{ h = Neg(x) y = If (c) <{BRANCHES}> }}"
    model = from_proto(onnx.parser.parse_model(HEAD + body))
    InferShapes().run(model)
    model.graph.inputs[0].shape = ir.Shape([3, 2])
    InferShapes().run(model)
    (branch,) = (node.attributes["then_branch"].as_graph() for node in model.graph if node.op_type == "If")
    shapes = [str(value.shape) for node in branch for value in node.outputs]
    assert [*shapes, str(model.graph.outputs[0].shape)] == ["[3,2]", "[3,2]", "[3,2]"]


@pytest.mark.parametrize("first", ["f.Foreign(x)", "com.microsoft.FusedMatMul(x, x)", "ai.onnx.ml.Normalizer(x)"])
def test_what_a_file_says_of_branches_counts_behind_an_operator_without_inference(first: str) -> None:
    """Branches have to agree in their types, and nothing else tells that of ``p``."""
    text = f"""<ir_version: 8, opset_import: ["": 18, "f": 1, "com.microsoft": 1, "ai.onnx.ml": 1]>
    g (float[4, 4] x, bool c) => (y) {{ y = If(c) <
      then_branch = t () => (float[4, 4] p) {{ h = {first} p = Relu(h) }},
      else_branch = e () => (float[4, 4] q) {{ q = Neg(x) }}> }}"""
    model = from_proto(onnx.parser.parse_model(text))
    InferShapes().run(model)
    y = model.graph.outputs[0]
    assert y.dtype == ir.DataType.FLOAT
    assert "ml" in first or str(y.shape) == "[4,4]"
    assert InferShapes().run(model) == 0


def test_loops_that_leave_out_their_first_output_have_the_shapes_of_their_own_graphs() -> None:
    """Two nodes whose first outputs are both left out are told apart."""
    loops = " ".join(
        f", {result} = Loop(n, , x) <body = b{size} (int64 i{size}, bool c{size}, float[N, 2] a{size}) => "
        f"(bool d{size}, e{size}, f{size}) {{ d{size} = Identity(c{size}) e{size} = Identity(a{size}) "
        f"f{size} = Concat<axis = 1>({', '.join(['x'] * size)}) }}>"
        for result, size in (("p", 2), ("q", 3))
    )
    model = from_proto(onnx.parser.parse_model(f"{HEAD}g (float[N, 2] x) => (p, q) <int64 n = {{3}}> {{ {loops} }}"))
    InferShapes().run(model)
    bodies = [node.attributes["body"].as_graph() for node in model.graph]
    assert [str(body.outputs[2].shape) for body in bodies] == ["[N,4]", "[N,6]"]


def test_a_graph_where_an_operator_takes_a_number_is_refused_by_name() -> None:
    """Old opsets infer shapes before attributes are checked."""
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 11, "qonnx.custom_op.general": 1]>
        g (float[1, 4] x) => (y) <float s = {1}, float z = {0}, float b = {4}, int64[2] t = {4, 1}>
        { q = qonnx.custom_op.general.Quant(x, s, z, b) y = Reshape(q, t) }"""
    )
    graph = onnx.parser.parse_graph("g () => (float r) { r = Constant<value = float {1}>() }")
    model.graph.node[0].attribute.append(onnx.helper.make_attribute("narrow", graph))
    with pytest.raises(InvalidModel, match=r"Quant.*attribute narrow is of type GRAPH"):
        from_proto(model)
