"""Mutated model files are accepted or refused; nothing crashes, hangs or takes memory without end."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import onnx.parser
import pytest

import qonnx_core
from qonnx_core.errors import InvalidModel, QonnxError, Unsupported
from qonnx_core.formats.reader import from_proto
from qonnx_core.formats.to_qcdq import to_qcdq
from qonnx_core.ir.grid import Grid
from qonnx_core.passes.fold_transpose import FoldTransposeIntoQuantInit
from qonnx_core.passes.streamline import to_integer_form
from qonnx_core.testing.fuzz_seeds import seed_models, write_companions
from qonnx_core.testing.fuzzing import exercise, write_case
from qonnx_core.testing.work import check_linear

HEAD = '<ir_version: 8, opset_import: ["": 21]>'


def load(model: onnx.ModelProto, folder: Path) -> None:
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    qonnx_core.load(folder / "m.onnx")


def test_mutated_files_are_accepted_or_refused(tmp_path: Path) -> None:
    """`nox -s fuzz` runs many more; a failure leaves the file and the traceback in the folder."""
    command = [sys.executable, "-m", "qonnx_core.testing.fuzzing", "--runs", "100", "--first", "0"]
    done = subprocess.run([*command, "--out", str(tmp_path)], capture_output=True, text=True, timeout=600, check=False)
    found = [json.loads(file.read_text("utf-8")) for file in sorted(tmp_path.glob("*/failure.json"))]
    assert not found, found[0]
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("number", range(len(seed_models())))
def test_the_models_that_are_mutated_are_valid(number: int, tmp_path: Path) -> None:
    write_companions(tmp_path)
    (tmp_path / "m.onnx").write_bytes(seed_models()[number].SerializeToString())
    results = exercise(tmp_path / "m.onnx", random.Random(0), lambda name: None)
    operations = ("load", "cleanup", "run", "save", "load again", "cost", "plain", "run cleaned")
    assert {name: results[name] for name in operations} == dict.fromkeys(operations, "ok")


def test_a_case_is_the_same_file_every_time(tmp_path: Path) -> None:
    for case in range(20):
        first, second = tmp_path / f"{case}_a", tmp_path / f"{case}_b"
        for folder in (first, second):
            folder.mkdir()
            write_case(case, folder, seed_models())
        assert (first / "m.onnx").read_bytes() == (second / "m.onnx").read_bytes()


@pytest.mark.parametrize(
    "body",
    [
        "g (float[1] x) => (y) <int64[1] s = {1099511627776}> { c = ConstantOfShape(s) y = Add(x, c) }",
        "g (float[1] x) => (y) <int64[1] s = {1099511627776}> { c = Expand(x, s) y = Neg(c) }",
        "g (float[1] x) => (y) <int64[1] s = {1099511627776}> { c = Tile(x, s) y = Neg(c) }",
        "g (float[1] x) => (y) <int64[2] p = {0, 1099511627776}> { c = Pad(x, p) y = Neg(c) }",
        "g (float[1] x) => (y) <float a = {0}, float b = {1e12}, float d = {1}> { c = Range(a, b, d) y = Add(x, c) }",
        "g (float[1, 1] x) => (y) <float[2] k = {1, 1e12}> { c = Resize(x, , k) y = Neg(c) }",
        "g (float[1] x) => (y) <int64[1] s = {1000000}, int64[2] t = {1000000, 1}, int64[2] u = {1, 1000000}>"
        "{ a = Tile(x, s) b = Reshape(a, t) c = Reshape(a, u) d = MatMul(b, c) y = Neg(d) }",
        "g (float[1] x) => (y) <int64 d = {1099511627776}, int64[1] i = {0}, float[2] v = {0, 1}>"
        "{ c = OneHot(i, d, v) y = Add(x, c) }",
    ],
)
def test_a_few_lines_do_not_allocate_gigabytes(body: str) -> None:
    with pytest.raises(Unsupported, match=r"expected at most"):
        qonnx_core.compile_model(from_proto(onnx.parser.parse_model(HEAD + body)))


def test_a_shape_that_doubles_again_and_again_is_refused() -> None:
    lines = " ".join(f"s{i + 1} = Concat<axis = 0>(s{i}, s{i})" for i in range(40))
    body = f"g (float[1] x) => (y) <int64[1] s0 = {{1}}> {{ {lines} y = Reshape(x, s40) }}"
    with pytest.raises(InvalidModel, match=r"its shape has 1099511627776 numbers; expected at most 64"):
        from_proto(onnx.parser.parse_model(HEAD + body))


def test_shapes_of_long_vectors_are_inferred_at_once() -> None:
    """onnx keeps each of a hundred million elements by itself where values are looked at."""
    body = (
        "g (float[100000000] x) => (y) <int64[1] k = {-1}> { a = Add(x, x) s = Shape(a) b = Reshape(a, s) y = Neg(b) }"
    )
    model = qonnx_core.cleanup_model(from_proto(onnx.parser.parse_model(HEAD + body)))
    assert model.graph.outputs[0].shape == (100000000,)


FUNCTION = '<domain: "f", opset_import: ["": 21, "f": 1]> '


@pytest.mark.parametrize("called", ["F0", "F1"])
def test_functions_that_call_themselves_are_refused(called: str) -> None:
    text = f"""<ir_version: 10, opset_import: ["": 21, "f": 1]> g (float[1] x) => (y) {{ y = f.F0(x) }}
    {FUNCTION} F0 (a) => (b) {{ b = f.{called}(a) }} {FUNCTION} F1 (a) => (b) {{ b = f.F0(a) }}"""
    with pytest.raises(InvalidModel, match="calls itself, or functions that call it"):
        from_proto(onnx.parser.parse_model(text))


def test_nodes_that_share_a_name_get_their_own_in_linear_time() -> None:
    def proto(nodes: int) -> onnx.ModelProto:
        lines = " ".join(f"[same] v{i + 1} = Neg(v{i})" for i in range(nodes))
        return onnx.parser.parse_model(f"{HEAD} g (float[2] v0) => (float[2] v{nodes}) {{ {lines} }}")

    assert len({node.name for node in from_proto(proto(2000)).graph}) == 2000
    check_linear(lambda nodes: partial(from_proto, proto(nodes)), 500)  # quadratic where each name is probed from 1 on


def test_functions_that_double_again_and_again_are_refused() -> None:
    bodies = [f"F{i} (a) => (c) {{ b = f.F{i + 1}(a) c = f.F{i + 1}(b) }}" for i in range(30)]
    functions = " ".join(FUNCTION + text for text in (*bodies, "F30 (a) => (b) { b = Neg(a) }"))
    text = f'<ir_version: 10, opset_import: ["": 21, "f": 1]> g (float[1] x) => (y) {{ y = f.F0(x) }} {functions}'
    with pytest.raises(Unsupported, match=r"stand for 3221225471 nodes and calls; at most"):
        from_proto(onnx.parser.parse_model(text))


def test_a_call_with_too_few_outputs_is_refused() -> None:
    text = f"""<ir_version: 10, opset_import: ["": 21, "f": 1]> g (float[1] x) => (y) {{ y = f.F(x) }}
    {FUNCTION} F (a) => (b, c) {{ b = Neg(a) c = Abs(a) }}"""
    with pytest.raises(InvalidModel, match="calls a function of 1 inputs and 2 outputs with 1 and 1"):
        from_proto(onnx.parser.parse_model(text))


def test_a_function_with_nodes_out_of_order_is_refused() -> None:
    text = f"""<ir_version: 10, opset_import: ["": 21, "f": 1]> g (float[1] x) => (y) {{ y = f.F(x) }}
    {FUNCTION} F (a) => (c) {{ c = Neg(b) b = Abs(a) }}"""
    with pytest.raises(InvalidModel, match=r"function f::F: Neg \(Neg\) reads 'b', which no earlier node makes"):
        from_proto(onnx.parser.parse_model(text))


def test_a_function_of_another_opset_is_refused_when_it_is_written_out() -> None:
    text = """<ir_version: 10, opset_import: ["": 23, "f": 1]> g (float[1] x) => (y) { y = f.F(x) }
    <domain: "f", opset_import: ["": 21]> F (a) => (b) { b = Abs(a) }"""
    with pytest.raises(Unsupported, match=r"function f::F: imports version 21 of ai.onnx, the model 23"):
        qonnx_core.cleanup_model(from_proto(onnx.parser.parse_model(text)))


def test_an_output_that_nothing_in_a_branch_of_a_function_makes_is_refused() -> None:
    text = f"""<ir_version: 10, opset_import: ["": 21, "f": 1]> g (float[1] x, bool c) => (y) {{ y = f.F(x, c) }}
    {FUNCTION} F (a, k) => (b)
    {{ b = If(k) <then_branch = t () => (p) {{ p = Neg(a) }}, else_branch = e () => (q) {{ r = Abs(a) }}> }}"""
    with pytest.raises(InvalidModel, match="function f::F: gives 'q', which none of its nodes makes"):
        from_proto(onnx.parser.parse_model(text))


OLD = '<ir_version: 10, opset_import: ["": 11, "qonnx.custom_op.general": 1, "f": 1]>'


@pytest.mark.parametrize("call", ["qonnx.custom_op.general.Im2Col(x)", "f.F(x)"])
def test_an_attribute_that_is_missing_is_named_where_an_old_opset_needs_shapes(call: str) -> None:
    """Softmax of opset 11 asks for the shape of its data before the attributes of a function's nodes are checked."""
    text = f"""{OLD} g (float[1, 4, 4, 2] x) => (y) {{ m = {call} y = Softmax(m) }}
    <domain: "f", opset_import: ["": 11, "qonnx.custom_op.general": 1]> F (a) => (b)
    {{ b = qonnx.custom_op.general.Im2Col(a) }}"""
    with pytest.raises(InvalidModel, match=r"Im2Col.*: attribute stride is missing"):
        from_proto(onnx.parser.parse_model(text))


@pytest.mark.parametrize("node", ["Cast<to = 255>(x)", "EyeLike<dtype = -1>(x)"])
def test_an_element_type_that_there_is_not_is_refused(node: str) -> None:
    with pytest.raises(InvalidModel, match=r"attribute (to|dtype) is -?\d+, no element type of ONNX"):
        from_proto(onnx.parser.parse_model(f"{HEAD} g (float[2, 2] x) => (y) {{ y = {node} }}"))


def test_a_bit_width_that_is_no_number_is_refused_by_name() -> None:
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 21, "qonnx.custom_op.general": 1]>
        g (float[2] x) => (y) <float s = {1}, float z = {0}, float b = {4}>
        { [q] y = qonnx.custom_op.general.Quant<signed = 1, narrow = 0>(x, s, z, b) }""")
    bits = model.graph.initializer[2]
    bits.CopyFrom(onnx.helper.make_tensor("b", onnx.TensorProto.COMPLEX64, [], [4]))
    with pytest.raises(
        InvalidModel, match=r"q \(Quant\): input bitwidth is of element type COMPLEX64; expected numbers"
    ):
        to_qcdq(from_proto(model))


def test_numbers_of_a_window_that_a_call_gives_are_refused_by_name(tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["": 21, "qonnx.custom_op.channels_last": 1, "f": 1]>
    g (float[1, 4, 4, 2] x) => (y) { y = f.F<k = [2, 2]>(x) }
    <domain: "f", opset_import: ["": 21, "qonnx.custom_op.channels_last": 1]> F <k> (a) => (b)
    { b = qonnx.custom_op.channels_last.MaxPool<kernel_shape : ints = @k, strides = [1, 1], pads = [0, 0, 0, 0]>(a) }"""
    model = from_proto(onnx.parser.parse_model(text))
    with pytest.raises(InvalidModel, match="attribute kernel_shape is of type INTS"):
        qonnx_core.save(model, tmp_path / "m.onnx", with_functions=True)
    assert qonnx_core.compile_model(model).run({"x": np.ones((1, 4, 4, 2), np.float32)})["y"].shape == (1, 3, 3, 2)


@pytest.mark.parametrize("perm", ["[0]", "[0, 0]", "[0, 2]", "[1, 0, 2]"])
def test_a_transpose_of_other_axes_is_not_folded_into_quantized_weights(perm: str) -> None:
    model = from_proto(
        onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["": 21, "qonnx.custom_op.general": 1]>
        g (float[2, 2] x) => (y) <float s = {{1}}, float z = {{0}}, float b = {{4}}, float[2, 2] w = {{1, 2, 3, 4}}>
        {{ q = qonnx.custom_op.general.Quant<signed = 1, narrow = 0>(w, s, z, b) t = Transpose<perm = {perm}>(q)
           y = MatMul(x, t) }}""")
    )
    assert FoldTransposeIntoQuantInit().run(model) == 0
    with pytest.raises(Unsupported, match="perm is"):
        to_integer_form(model, {"x": Grid.parse("INT4")})


@pytest.mark.parametrize("op_type", ["Unheard", "Relu"])
def test_a_node_without_outputs_is_refused(op_type: str) -> None:
    model = onnx.parser.parse_model(HEAD + "g (float[2] x) => (y) { y = Neg(x) }")
    model.graph.node.append(onnx.helper.make_node(op_type, ["x"], []))
    with pytest.raises(InvalidModel, match="has no outputs, so nothing can read it"):
        from_proto(model)


def test_an_attribute_of_a_function_outside_of_one_is_refused(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(HEAD + "g (float[2] x) => (y) { [n] y = Concat<axis = 0>(x, x) }")
    model.graph.node[0].attribute[0].ref_attr_name = "axis"
    with pytest.raises(InvalidModel, match=r"n \(Concat\): attribute axis stands for one of a function"):
        load(model, tmp_path)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("y = Concat(x, x)", r"attribute axis is missing; the operator needs it \(INT\)"),
        ("y = Concat<axis = [0]>(x, x)", "attribute axis is of type INTS; the operator takes INT"),
        ("y = Add(x)", "has 1 inputs; the operator has 2"),
        ("y = MatMul(x, )", "input 1 is left out|has 1 inputs"),
        ("y, z = Relu(x)", "has 2 outputs; the operator has 1"),
    ],
)
def test_a_node_that_breaks_its_schema_is_refused_by_name(body: str, message: str) -> None:
    with pytest.raises(InvalidModel, match=message):
        from_proto(onnx.parser.parse_model(f"{HEAD} g (float[1, 4] x) => (y) {{ {body} }}"))


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("float[3] s = {1, 2, 3}", "which do not broadcast"),
        ("float[0] s = {}", "input scale is empty"),
    ],
)
def test_parameters_that_do_not_fit_their_data_are_refused_by_name(parameter: str, message: str) -> None:
    model = from_proto(
        onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["": 21, "qonnx.custom_op.general": 1]>
        g (float[2, 4] x) => (y) <{parameter}, float z = {{0}}, float b = {{4}}>
        {{ [q] y = qonnx.custom_op.general.Quant<signed = 1, narrow = 0>(x, s, z, b) }}""")
    )
    with pytest.raises(InvalidModel, match=rf"q \(Quant\): .*{message}"):
        qonnx_core.cleanup_model(model)


@pytest.mark.parametrize("location", ["N" * 5000, "a\0b", "w.bin/x", ".", "w.bin/", "w.bin/.", "no/../w.bin"])
def test_a_data_file_of_an_impossible_name_is_refused(location: str, tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(8))
    model = onnx.parser.parse_model(HEAD + "g (float[2] x) => (y) <float[2] w = {1, 2}> { y = Add(x, w) }")
    tensor = model.graph.initializer[0]
    tensor.ClearField("float_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    with pytest.raises(InvalidModel, match="tensor w: its data"):
        load(model, tmp_path)


def test_a_sparse_initializer_is_refused_by_name(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(HEAD + "g (float[4] x) => (float[4] y) { y = Add(x, w) }")
    values = onnx.numpy_helper.from_array(np.array([1, 2], np.float32), "w")
    places = onnx.numpy_helper.from_array(np.array([1, 3], np.int64), "places")
    model.graph.sparse_initializer.append(onnx.helper.make_sparse_tensor(values, places, [4]))
    with pytest.raises(Unsupported, match="tensor w: is stored as a sparse initializer"):
        load(model, tmp_path)


@pytest.mark.parametrize("dims", [[2**62, 0], [0, 2**32, 2**31]])
def test_an_empty_tensor_of_sizes_that_no_array_has_is_refused(dims: list[int], tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        HEAD + "g (float[1] x) => (y) <int64[1] s = {1}> { c = ConstantOfShape(s) y = Add(x, c) }"
    )
    model.graph.initializer[0].ClearField("int64_data")
    model.graph.initializer[0].dims[:] = dims
    with pytest.raises(InvalidModel, match=r"tensor s: has shape .*; expected sizes that an array can have"):
        load(model, tmp_path)


def test_windows_of_data_without_four_axes_are_refused() -> None:
    text = """<ir_version: 8, opset_import: ["": 21, "qonnx.custom_op.general": 1]> g (float[1, 4] x) => (y)
    { y = qonnx.custom_op.general.Im2Col<stride = [1, 1], kernel_size = [2, 2], input_shape = "(1,6,6,2)">(x) }"""
    with pytest.raises(InvalidModel, match=r"Im2Col.*its data have shape .*; expected \(N, H, W, C\)"):
        qonnx_core.compile_model(from_proto(onnx.parser.parse_model(text)))


def test_a_tensor_with_data_in_two_places_is_refused(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(HEAD + "g (float[2] x) => (y) <float[2] w = {1, 2}> { y = Add(x, w) }")
    model.graph.initializer[0].int32_data.append(1)
    with pytest.raises(InvalidModel, match="tensor w: has data in float_data and int32_data"):
        load(model, tmp_path)


def test_the_shape_of_a_parameter_is_that_of_its_tensor(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(HEAD + "g (float[2] x) => (y) <float[2] w = {1, 2}> { y = Add(x, w) }")
    model.graph.value_info.append(onnx.helper.make_tensor_value_info("w", onnx.TensorProto.INT64, [7, 7]))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    loaded = qonnx_core.load(tmp_path / "m.onnx")
    value = loaded.graph.initializers["w"]
    assert (str(value.shape), str(value.dtype)) == ("[2]", "FLOAT")
    (y,) = qonnx_core.compile_model(loaded).run({"x": np.ones(2, np.float32)}).values()
    np.testing.assert_array_equal(y, [2, 3])


def test_a_refusal_says_something(tmp_path: Path) -> None:
    """Of a hundred mutated files that are refused, each is refused with where, what, and what to do."""
    refused = 0
    for case in range(100):
        folder = tmp_path / str(case)
        folder.mkdir()
        try:
            qonnx_core.load(write_case(case, folder, seed_models()))
        except QonnxError as error:
            refused += 1
            assert len(str(error)) > 20  # noqa: PT017
            assert "Traceback" not in str(error)  # noqa: PT017
    assert refused > 20
