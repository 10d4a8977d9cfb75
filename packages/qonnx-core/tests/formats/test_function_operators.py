"""Operators in functions are checked when a file is loaded, and not when it is run."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import parser

from qonnx_core.errors import InvalidModel
from qonnx_core.execute.compiled import compile_model
from qonnx_core.formats.reader import from_proto

MODEL = """<ir_version: 10, opset_import: ["": 21, "qonnx.custom_op.general": 1, "own": 1]>
g (float[N, 4] x) => (float[N, 4] y) <float s = {{0.5}}, float z = {{0}}, float b = {{4}}>
{{ y = own.f{call}(x, s, z, b) }}
<domain: "own", opset_import: ["": 21, "qonnx.custom_op.general": 1]>
f {parameters}(x, s, z, b) => (y) {{ y = qonnx.custom_op.general.{operator}(x, s, z, {rest}) }}"""


def model_text(call: str = "", parameters: str = "", operator: str = "Quant", rest: str = "b") -> str:
    return MODEL.format(call=call, parameters=parameters, operator=operator, rest=rest)


MODES = "expected one of ROUND, CEIL"
REFUSED = {
    "written": ({"operator": 'Quant<rounding_mode = "BOGUS">'},
                rf"function own::f: y \(Quant\): rounding_mode is 'BOGUS'; {MODES}"),
    "given": ({"call": '<m = "BOGUS">', "parameters": "<m>", "operator": "Quant<rounding_mode: string = @m>"},
              rf"y \(f\): rounding_mode is 'BOGUS'; {MODES}"),
    "given number": ({"call": "<n = 7>", "parameters": "<n>", "operator": "Quant<narrow: int = @n>"},
                     r"y \(f\): attribute narrow is 7; expected 0 or 1"),
    "beside": ({"call": "<n = 1>", "parameters": "<n>", "operator": "Quant<narrow: int = @n, signed = 2>"},
               r"function own::f: y \(Quant\): attribute signed is 2; expected 0 or 1"),
    "other version": ({"operator": "Trunc", "rest": "b, s, b"},
                      r"function own::f: y \(Trunc\): has 6 inputs; Trunc of .* version 1 takes 5"),
    "unknown": ({"operator": "Qant"}, r"function own::f: y: operator qonnx.custom_op.general::Qant is not defined"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_an_operator_in_a_function_is_refused_at_load(case: str) -> None:
    """It was loaded, and refused when it was run."""
    parts, message = REFUSED[case]
    with pytest.raises(InvalidModel, match=message):
        from_proto(parser.parse_model(model_text(**parts)))


@pytest.mark.parametrize("mode", ["floor", "Round_To_Zero", "ROUND"])
def test_what_a_call_gives_reaches_the_operator(mode: str) -> None:
    text = model_text(f'<m = "{mode}">', "<m>", "Quant<rounding_mode: string = @m>")
    found = compile_model(from_proto(parser.parse_model(text))).run({"x": np.float32([[-0.6, 0.6, 0.9, 9]])})["y"]
    first = {"floor": [-1, 0.5, 0.5, 3.5], "Round_To_Zero": [-0.5, 0.5, 0.5, 3.5], "ROUND": [-0.5, 0.5, 1, 3.5]}[mode]
    assert found.tolist() == [first]


def test_a_function_of_the_model_in_our_domain_can_be_called_by_another_one() -> None:
    text = model_text(operator="MadeUp") + '<domain: "qonnx.custom_op.general", opset_import: ["": 21]>'
    model = from_proto(parser.parse_model(text + " MadeUp (x, s, z, b) => (y) { y = Mul(x, s) }"))
    assert compile_model(model).run({"x": np.float32([[1, 2, 3, 4]])})["y"].tolist() == [[0.5, 1, 1.5, 2]]
