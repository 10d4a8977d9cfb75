"""An operator of a domain that nobody here knows is not taken for the one of ONNX that has its name."""

from __future__ import annotations

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest

import qonnx_core
from qonnx_core.errors import Unsupported
from qonnx_core.formats.reader import from_proto
from qonnx_core.ir.grid import Grid
from qonnx_core.passes.append_argmax import AppendArgMax
from qonnx_core.passes.streamline import to_integer_form

Q, LAST, OTHER = "qonnx.custom_op.general", "qonnx.custom_op.channels_last", "unknown.domain"
HEAD = f'<ir_version: 8, opset_import: ["": 17, "{Q}": 1, "{LAST}": 1, "{OTHER}": 1]>'
QUANT = f"{Q}.Quant<signed = 1, narrow = 0>"
NUMBERS = """float s = {1}, float z = {0}, float b = {4}, float[1, 1] t = {1}, float[3] c = {1, 2, 3},
    float[3] o = {1, 1, 1}, float[3, 3] w = {1, 2, 3, 4, 5, 6, 7, 8, 9}"""


def cleaned(nodes: str, shape: str = "1, 3") -> ir.Model:
    text = f"{HEAD} g (float[{shape}] x) => (float[{shape}] y) <{NUMBERS}> {{ {nodes} }}"
    return qonnx_core.cleanup_model(from_proto(onnx.parser.parse_model(text)))


@pytest.mark.parametrize(
    "nodes",
    [
        f"a = {OTHER}.MatMul(x, w) y = {QUANT}(a, s, z, b)",
        f"a = {OTHER}.Relu(x) y = {QUANT}(a, s, z, b)",
        f"v = {OTHER}.Add(c, c) a = Add(x, v) y = {QUANT}(a, s, z, b)",
        f"v = {OTHER}.Constant() a = Add(x, v) y = {QUANT}(a, s, z, b)",
        "y = Quant<signed = 1, narrow = 0>(x, s, z, b)",
        "y = MultiThreshold(x)",
    ],
)
def test_an_operator_without_a_definition_has_no_integer_form(nodes: str) -> None:
    model = cleaned(nodes)
    with pytest.raises(Unsupported, match=r"an operator of domain '.*' that has no definition here"):
        to_integer_form(model, {model.graph.inputs[0].name or "": Grid.parse("INT4")})


@pytest.mark.parametrize("shape", ["1, 3", "1, 3, 3", "1, 5, 4, 3"])
def test_the_channels_of_a_normalization_of_channels_last_are_the_last_axis(shape: str) -> None:
    model = cleaned(f"a = {LAST}.BatchNormalization<epsilon = 0.0>(x, c, c, c, o) y = {QUANT}(a, s, z, b)", shape)
    name = model.graph.inputs[0].name or ""
    sizes = [int(size) for size in shape.split(", ")]
    x = np.random.default_rng(0).integers(-8, 8, sizes).astype(np.float32)
    (wanted,) = qonnx_core.compile_model(model).run({name: x}).values()
    (found,) = to_integer_form(model, {name: Grid.parse("INT4")}).run({name: x}).values()
    np.testing.assert_array_equal(found, wanted)
    right = np.clip((x - [1, 2, 3]) * [1, 2, 3] + [1, 2, 3], -8, 7)
    np.testing.assert_array_equal(found, right)


def test_a_softmax_of_another_domain_is_no_softmax_for_label_select() -> None:
    model = from_proto(
        onnx.parser.parse_model(f"{HEAD} g (float[1, 3] x) => (float[1, 3] y) {{ y = {OTHER}.Softmax(x) }}")
    )
    assert AppendArgMax().run(model) == 1
    assert [node.op_type for node in model.graph] == ["Softmax", "ArgMax"]
