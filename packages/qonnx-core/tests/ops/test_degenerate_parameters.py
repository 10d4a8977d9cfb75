"""Quantizers with scales and widths that no exporter means to write: what the formulas give, or a refusal by name.

A scale of 0, NaN or infinity, a negative or subnormal one, and a width of 0 bits, of negative, fractional, huge or
infinitely many are numbers like others. Only a width that is NaN is refused.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from qonnx_core.errors import InvalidModel
from qonnx_core.execute.compiled import compile_model
from qonnx_core.formats.writer import save
from qonnx_core.ops import BipolarQuant, FloatQuant, IntQuant, Quant, Rounding, Trunc, TruncV1
from qonnx_core.ops.op import QonnxOp
from qonnx_core.testing.op_contract import example_model, run_op

_spec = importlib.util.spec_from_file_location("degenerate_oracle", Path(__file__).with_name("oracle.py"))
assert _spec is not None
assert _spec.loader is not None
oracle = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(oracle)

Array = NDArray[Any]
F32 = np.float32
INF, NAN = np.inf, np.nan
X = F32([-INF, -3e38, -200, -2.5, -1.5, -0.5, -1e-40, -0.0, 0, 1e-40, 0.5, 1.5, 2.5, 7, 200, 3e38, INF, NAN])
SCALES = F32([NAN, 0, -0.0, -0.5, INF, -INF, 1e-40, -1e-45, 3e38, 1])
WIDTHS = F32([0, 1, -1, -3, 0.5, 2.5, 4, 32, 33, 64, 129, 200, 1100, INF, -INF])
COLUMN, SCALE_AXIS, WIDTH_AXIS = X.reshape(-1, 1, 1), SCALES.reshape(1, -1, 1), WIDTHS.reshape(1, 1, -1)
ONE, ZERO = F32(1), F32(0)


def truncated(x: Array, scale: Array, zeropt: Array, _: Array, out_scale: Array, bits: Array, signed: bool) -> Array:
    return np.asarray(oracle.trunc_v2(x, scale, zeropt, out_scale, bits, signed))


# The operator, its inputs after the data for degenerate ``s`` and ``w``, and what the oracle gives for all inputs.
TABLE: dict[str, tuple[QonnxOp, Callable[[Array, Array], list[Array]], Callable[..., Array]]] = {
    "Quant": (Quant(), lambda s, w: [s, ZERO, w], oracle.quant),
    "unsigned": (Quant(signed=False), lambda s, w: [s, ZERO, w], lambda *a: oracle.quant(*a, signed=False)),
    "narrow": (
        IntQuant(signed=False, narrow=True, rounding_mode=Rounding.HALF_UP),
        lambda s, w: [ONE, s, w],
        lambda *a: oracle.quant(*a, signed=False, narrow=True, mode="HALF_UP"),
    ),
    "BipolarQuant": (BipolarQuant(), lambda s, w: [s], oracle.bipolar_quant),
    "Trunc of version 1, in": (TruncV1(), lambda s, w: [s, ZERO, w, F32(4)], oracle.trunc_v1),
    "Trunc of version 1, out": (TruncV1(), lambda s, w: [s, ZERO, F32(8), w], oracle.trunc_v1),
    "Trunc": (Trunc(), lambda s, w: [s, ZERO, F32(8), F32(0.5), w], lambda *a: truncated(*a, True)),
    "Trunc, out": (Trunc(signed=False), lambda s, w: [F32(0.5), ZERO, F32(8), s, w], lambda *a: truncated(*a, False)),
}


def assert_same(found: Array, wanted: Array) -> None:
    assert (found.dtype, found.shape) == (F32, wanted.shape)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("name", TABLE)
def test_every_form_of_a_quantizer_gives_what_its_formula_gives(name: str) -> None:
    """Unsigned ones of infinitely many bits, and of more than float64 can count, gave NaN."""
    op, parameters, formula = TABLE[name]
    inputs = [COLUMN, *parameters(SCALE_AXIS, WIDTH_AXIS)]
    wanted = np.asarray(formula(*inputs), F32)
    for constants in (True, False):
        model = example_model(op, inputs, constants=constants)
        feeds = dict(zip(op.inputs, map(np.asarray, inputs[: 1 if constants else None]), strict=False))
        assert_same(compile_model(model).run(feeds)["y"], wanted)
        with tempfile.TemporaryDirectory() as folder:
            save(model, Path(folder) / "op.onnx", with_functions=True)
            options = onnxruntime.SessionOptions()
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            session = onnxruntime.InferenceSession(
                Path(folder) / "op.onnx", options, providers=["CPUExecutionProvider"]
            )
            assert_same(session.run(None, feeds)[0], wanted)


@pytest.mark.parametrize("name", TABLE)
def test_single_numbers_are_computed_as_tensors_of_them_are(name: str) -> None:
    op, parameters, formula = TABLE[name]
    pairs = [(scale, F32(4)) for scale in SCALES] + [(ONE, width) for width in WIDTHS]
    for scale, width in pairs:
        inputs = [X, *parameters(np.asarray(scale), np.asarray(width))]
        assert_same(run_op(op, *inputs), np.asarray(formula(*inputs), F32))


@pytest.mark.parametrize(("op", "index"), [
    (Quant(), 3), (TruncV1(), 3), (TruncV1(), 4), (Trunc(), 5), (FloatQuant(), 2), (FloatQuant(), 3), (FloatQuant(), 4),
    (FloatQuant(), 5),
])  # fmt: skip
def test_a_width_that_is_not_a_number_is_refused_by_name(op: QonnxOp, index: int) -> None:
    inputs = [X, *(np.asarray(F32(4)) for _ in op.inputs[1:])]
    inputs[index] = np.asarray(F32(NAN))
    with pytest.raises(InvalidModel, match=rf"op \({op.op_type}\): input {op.inputs[index]} is NaN; expected a number"):
        run_op(op, *inputs)
