"""What passes and conversions add gets names that nothing has yet, in no graph of the model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx.checker
import onnx.parser
import onnx_ir as ir
import onnxruntime
import pytest

import qonnx_core
from qonnx_core.formats.convert_opset import convert_opset
from qonnx_core.formats.from_qcdq import from_qcdq
from qonnx_core.formats.plain import lower_to_plain_onnx
from qonnx_core.formats.reader import from_proto
from qonnx_core.formats.to_qcdq import to_qcdq
from qonnx_core.formats.writer import serialize
from qonnx_core.ir.names import Names
from qonnx_core.ir.verify import verify
from qonnx_core.passes.append_argmax import AppendArgMax
from qonnx_core.passes.base import Pass
from qonnx_core.passes.convert_div_to_mul import ConvertDivToMul
from qonnx_core.passes.convert_sub_to_add import ConvertSubToAdd
from qonnx_core.passes.extract_bias import ExtractBias
from qonnx_core.passes.extract_quant_scale import ExtractQuantScale
from qonnx_core.passes.gemm_to_matmul import GemmToMatMul
from qonnx_core.passes.insert_identity import InsertIdentity
from qonnx_core.passes.insert_topk import InsertTopK
from qonnx_core.passes.unshare_parameters import UnshareParameters

HEAD = '<ir_version: 10, opset_import: ["": 21, "qonnx.custom_op.general": 1]>'
QUANT = "qonnx.custom_op.general.Quant(x, s, z, b)"
PARAMETERS = "float s = {0.5}, float z = {0}, float b = {4}"
X = np.linspace(-5, 5, 12, dtype=np.float32).reshape(3, 4)


def to_quant(model: ir.Model) -> ir.Model:
    return from_qcdq(model).model


def to_integers(model: ir.Model) -> ir.Model:
    return to_qcdq(model).model


def by(each: Pass) -> Callable[[ir.Model], ir.Model]:
    def run(model: ir.Model) -> ir.Model:
        copy = model.clone()
        assert each.run(copy) > 0
        return copy

    return run


# A change, an operator, its parameters, and names that the change gives where they are free.
CASES = {
    "sub": (by(ConvertSubToAdd()), "Sub(x, s)", "s/negative"),
    "div": (by(ConvertDivToMul()), "Div(x, s)", "s/reciprocal"),
    "gemm": (by(GemmToMatMul()), "Gemm<alpha = 0.5, transB = 1>(x, w)", "w/transposed y/alpha y/matmul_0"),
    "bias": (by(ExtractBias()), "Gemm<transB = 1>(x, w, v)", "y/gemm_0"),
    "scale": (by(ExtractQuantScale()), QUANT, "y/div_0 y/quant/constant_7"),
    "identity": (by(InsertIdentity(inputs=True)), "Relu(x)", "x_identity"),
    "unshare": (by(UnshareParameters()), "Clip(x, s, s)", "s/copy_1"),
    "to_qcdq": (to_integers, QUANT, "y/zero_point y/QuantizeLinear_0"),
    "from_qcdq": (to_quant, "DequantizeLinear(c, s)", "y/quant/constant_6"),
    "plain": (lower_to_plain_onnx, QUANT, "qonnx.custom_op.general/0/0_0 qonnx.custom_op.general/0/1_0"),
}


def model_of(operator: str, taken: str, *, inside: bool) -> ir.Model:
    """Return a model with the operator and with tensors of these names, beside it or inside a branch."""
    tensors = [f'"{name}" = Identity(u{number})' for number, name in enumerate(taken.split())]
    givers = [f"u{number} = Neg(x)" for number in range(len(tensors))]
    first = taken.split()[0]
    more = f'{" ".join(givers)} {" ".join(tensors)} k = Add(x, "{first}")'
    if inside:
        more = f"""k = If(t) <then_branch = th () => (float[N, 4] k1) {{ {more.replace("k =", "k1 =")} }},
          else_branch = el () => (float[N, 4] k2) {{ k2 = Neg(x) }}>"""
    start = "c = QuantizeLinear(x, s)" if "(c, s)" in operator else ""
    text = f"""{HEAD} g (float[N, 4] x) => (float[N, 4] y, float[N, 4] k)
      <{PARAMETERS}, float[4] v = {{1, 2, 3, 4}}, bool t = {{1}},
       float[4, 4] w = {{1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8}}>
      {{ {more} {start} y = {operator} }}"""
    return from_proto(onnx.parser.parse_model(text))


@pytest.mark.parametrize("inside", [False, True], ids=["beside", "inside"])
@pytest.mark.parametrize("case", list(CASES))
def test_new_names_are_free(case: str, inside: bool) -> None:
    change, operator, taken = CASES[case]
    model = model_of(operator, taken, inside=inside)
    wanted = qonnx_core.compile_model(model).run({"x": X})
    changed = change(model)
    names = [value.name for graph in changed.graphs() for value in graph.initializers.values()]
    for graph in changed.graphs():
        names += [value.name for node in graph for value in node.outputs]
    assert len(names) == len(set(names))
    verify(changed)
    again = from_proto(onnx.load_model_from_string(serialize(changed)))
    for name, array in wanted.items():
        np.testing.assert_array_equal(qonnx_core.compile_model(again).run({"x": X})[name], array)


def test_a_plain_model_that_is_quantized_again_is_lowered_again() -> None:
    """The names of the nodes that stand for a quantizer are taken by those that stood for the first one."""
    model = from_proto(
        onnx.parser.parse_model(f"{HEAD} g (float[N, 4] x) => (float[N, 4] y) <{PARAMETERS}> {{ y = {QUANT} }}")
    )
    plain = lower_to_plain_onnx(model)
    verify(plain)
    again = lower_to_plain_onnx(quantized_again(plain))
    verify(again)
    onnx.checker.check_model(onnx.load_model_from_string(serialize(again)))


def quantized_again(plain: ir.Model) -> ir.Model:
    """Return the model with one more quantizer behind its output."""
    proto = onnx.load_model_from_string(serialize(plain))
    quantizer = onnx.helper.make_node("Quant", ["y", "s2", "z2", "b2"], ["q"], domain="qonnx.custom_op.general")
    proto.graph.node.append(quantizer)
    for name, number in (("s2", 0.25), ("z2", 0.0), ("b2", 3.0)):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(number), name))
    proto.graph.output[0].name = "q"
    proto.opset_import.append(onnx.helper.make_opsetid("qonnx.custom_op.general", 1))
    return from_proto(proto)


@pytest.mark.parametrize(
    ("each", "taken"), [(AppendArgMax(), "y_logits"), (InsertTopK(k=2), "y_all y/k y_values")], ids=["argmax", "topk"]
)
def test_what_stands_behind_the_output_has_free_names(each: Pass, taken: str) -> None:
    tensors = " ".join(f'"{name}" = Identity(x)' for name in taken.split())
    text = f'{HEAD} g (float[N, 4] x) => (float[N, 4] y) {{ {tensors} y = Neg("{taken.split()[0]}") }}'
    model = by(each)(from_proto(onnx.parser.parse_model(text)))
    verify(model)
    found = qonnx_core.compile_model(from_proto(onnx.load_model_from_string(serialize(model)))).run({"x": X})["y"]
    np.testing.assert_array_equal(found[:, 0], np.argmin(X, axis=1))


def test_a_name_is_given_once() -> None:
    graph = model_of("Relu(x)", "a", inside=True).graph
    names = Names(graph)
    assert [names.free(stem) for stem in ("a", "k1", "new", "new", "x")] == ["a_1", "k1_1", "new", "new_1", "x_1"]
    assert [names.free_for_node(stem) for stem in ("a", "a")] == ["a", "a_1"]


BRANCHES = """<ir_version: 8, opset_import: ["": {opset}]> g (float[2, 1, 3] x, bool c) => (float[2, 3] y)
  {{ val_0 = Neg(x) val_1 = Exp(x) y = If(c)
     <then_branch = a () => (float[2, 3] p) {{ h = Add(val_0, val_1) i = Round(h) p = Squeeze{first} }},
      else_branch = b () => (float[2, 3] p) {{ i = Add(val_1, val_0) p = Squeeze{first} }}> }}"""


@pytest.mark.parametrize(("opset", "target"), [(11, 21), (11, 9), (11, 23), (21, 9), (21, 11)])
def test_a_branch_that_changes_its_opset_still_reads_outer_tensors(opset: int, target: int) -> None:
    """Names as PyTorch's exporter gives them, and as the library that holds the graph numbers new tensors."""
    text = BRANCHES.format(opset=opset, first="<axes = [1]>(i)" if opset < 13 else "(i, k)")
    text = text if opset < 13 else text.replace("val_0 = Neg", "k = Constant<value = int64[1] {1}>() val_0 = Neg")
    proto = onnx.parser.parse_model(text)
    model = from_proto(proto)
    x = np.asarray([[[0.2, -1.7, 2.5]], [[3.1, 0.0, -0.5]]], np.float32)
    converted = onnx.load_model_from_string(serialize(convert_opset(model, target)))
    for flag in (True, False):
        inputs = {"x": x, "c": np.asarray(flag)}
        (wanted,) = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, inputs)
        np.testing.assert_array_equal(qonnx_core.compile_model(model).run(inputs)["y"], wanted)
        (found,) = onnxruntime.InferenceSession(converted.SerializeToString()).run(None, inputs)
        np.testing.assert_array_equal(found, wanted)
