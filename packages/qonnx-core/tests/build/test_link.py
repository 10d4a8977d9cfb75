"""Several models become one where their tensor names meet."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from qonnx_core import compile_model
from qonnx_core.build.link import keep_outputs, link_models, sources_of_outputs
from qonnx_core.errors import InvalidInput

FIRST = """<ir_version: 10, opset_import: ["" : 21, "qonnx.custom_op.general" : 1]>
first (float[N, 2] x, float[N, 2] z) => (float[N, 2] y) { t = Add(x, z)  y = Neg(t) }"""
SECOND = """<ir_version: 10, opset_import: ["" : 21, "qonnx.custom_op.general" : 2]>
second (float[N, 2] y) => (float[N, 2] out) { t = Mul(y, y)  out = Sub(t, y) }"""


def parsed(text: str) -> ir.Model:
    import onnx

    return ir.serde.deserialize_model(onnx.parser.parse_model(text))


def test_an_output_feeds_the_input_of_its_name_and_inner_names_stay_apart() -> None:
    models = [parsed(FIRST), parsed(SECOND)]
    linked = link_models(models, "both")
    assert [value.name for value in linked.graph.inputs] == ["x", "z"]
    assert [value.name for value in linked.graph.outputs] == ["out"]
    x, z = np.array([[1.0, 2.0]], np.float32), np.array([[3.0, -5.0]], np.float32)
    y = -(x + z)
    assert np.array_equal(compile_model(linked).run({"x": x, "z": z})["out"], y * y - y)
    assert [value.name for value in models[0].graph.outputs] == ["y"]


def test_versions_of_an_operator_set_that_both_use_have_to_agree() -> None:
    older = parsed(SECOND.replace('"" : 21', '"" : 20'))
    with pytest.raises(InvalidInput, match=r"model 1 imports version 20 of ai\.onnx, an earlier one 21"):
        link_models([parsed(FIRST), older], "both")


def test_nothing_to_link_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no models to connect"):
        link_models([], "host_pre")


def test_outputs_may_be_chosen_also_those_that_a_later_model_takes() -> None:
    linked = link_models([parsed(FIRST), parsed(SECOND)], "both", ["out", "y"])
    assert [value.name for value in linked.graph.outputs] == ["out", "y"]
    with pytest.raises(InvalidInput, match="no model makes gone; expected some of y"):
        link_models([parsed(FIRST)], "one", ["gone"])


def test_a_model_is_cut_down_to_some_outputs_and_what_they_need() -> None:
    whole = parsed(
        """<ir_version: 10, opset_import: ["" : 21]>
        whole (float[N, 2] a, float[N, 2] b) => (float[N, 2] c, float[N, 2] d) { c = Neg(b)  d = Add(a, c) }"""
    )
    assert sources_of_outputs(whole) == {"c": {"b"}, "d": {"a", "b"}}
    kept = keep_outputs(whole, ["c"])
    assert [value.name for value in kept.graph.inputs] == ["b"]
    assert [value.name for value in kept.graph.outputs] == ["c"]
    assert len(list(kept.graph)) == 1
    assert len(whole.graph.outputs) == 2
