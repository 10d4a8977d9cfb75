"""Padding that onnxruntime gets wrong or refuses, against windows that are walked one by one."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from qonnx_core.errors import InvalidModel, Unsupported
from qonnx_core.execute.compiled import compile_model
from qonnx_core.formats.plain import lower_to_plain_onnx
from qonnx_core.formats.reader import from_proto
from qonnx_core.ops.windows import same_pads

Array = NDArray[Any]


def walked(x: Array, op_type: str, *, kernel_shape: list[int], strides: list[int], dilations: list[int],
           pads: list[int] | None = None, auto_pad: str = "NOTSET", ceil_mode: int = 0) -> Array:  # fmt: skip
    """Return the pool of (N, C, ...): of the elements inside the image in every window."""
    sizes, axes = x.shape[2:], len(kernel_shape)
    extents = [d * (k - 1) + 1 for d, k in zip(dilations, kernel_shape, strict=True)]
    if auto_pad == "NOTSET":
        begins, ends = (pads or [0] * 2 * axes)[:axes], (pads or [0] * 2 * axes)[axes:]
        counts = []
        for size, begin, end, extent, stride in zip(sizes, begins, ends, extents, strides, strict=True):
            room = size + begin + end - extent
            count = (-(-room // stride) if ceil_mode else room // stride) + 1
            counts.append(count - 1 if (count - 1) * stride >= size + begin else count)
    else:
        counts = [-(-size // stride) for size, stride in zip(sizes, strides, strict=True)]
        totals = [max((n - 1) * s + e - size, 0) for n, s, e, size in zip(counts, strides, extents, sizes, strict=True)]
        begins = [total // 2 if auto_pad == "SAME_UPPER" else total - total // 2 for total in totals]
    y = np.zeros((*x.shape[:2], *counts), x.dtype)
    for place in itertools.product(*map(range, counts)):
        found = []
        for element in itertools.product(*map(range, kernel_shape)):
            at = [p * s + e * d - b for p, s, e, d, b in zip(place, strides, element, dilations, begins, strict=True)]
            if all(0 <= a < size for a, size in zip(at, sizes, strict=True)):
                found.append(x[(slice(None), slice(None), *at)])
        y[(slice(None), slice(None), *place)] = (
            np.max(found, axis=0) if op_type == "MaxPool" else np.mean(found, axis=0)
        )
    return y


def model_of(op_type: str, shape: list[Any], elem: int = onnx.TensorProto.FLOAT, **attributes: Any) -> ir.Model:
    make = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node(op_type, ["x"], ["y"], name="pool", **attributes)
    graph = onnx.helper.make_graph([node], "g", [make("x", elem, shape)], [make("y", elem, None)])
    imports = [onnx.helper.make_opsetid("", 21)]
    return from_proto(onnx.helper.make_model(graph, opset_imports=imports, ir_version=10))


CASES: list[tuple[str, tuple[int, ...], dict[str, Any]]] = [
    ("MaxPool", (7,), {"kernel_shape": [3], "strides": [1], "dilations": [2], "auto_pad": "SAME_UPPER"}),
    ("MaxPool", (6, 5), {"kernel_shape": [2, 3], "strides": [2, 2], "dilations": [2, 1], "auto_pad": "SAME_LOWER"}),
    ("MaxPool", (5, 5), {"kernel_shape": [2, 2], "strides": [1, 3], "dilations": [3, 3], "auto_pad": "SAME_UPPER",
                         "ceil_mode": 1}),
    ("MaxPool", (4, 7), {"kernel_shape": [2, 1], "strides": [3, 4], "dilations": [1, 1], "auto_pad": "SAME_UPPER"}),
    ("AveragePool", (4,), {"kernel_shape": [1], "strides": [4], "dilations": [1], "auto_pad": "SAME_UPPER"}),
    ("AveragePool", (6, 7), {"kernel_shape": [2, 2], "strides": [1, 3], "dilations": [2, 2], "auto_pad": "SAME_LOWER"}),
    ("MaxPool", (6,), {"kernel_shape": [2], "strides": [2], "dilations": [4], "pads": [2, 3]}),
    ("MaxPool", (6, 5), {"kernel_shape": [1, 3], "strides": [4, 2], "dilations": [1, 2], "pads": [0, 3, 2, 2],
                         "ceil_mode": 1}),
]  # fmt: skip


@pytest.mark.parametrize("batch", ["N", 2])
@pytest.mark.parametrize(("op_type", "size", "attributes"), CASES)
def test_pools_are_padded_as_onnx_says(op_type: str, size: tuple[int, ...], attributes: Any, batch: Any) -> None:
    """onnxruntime looked past the dilations, padded by negative numbers, or refused the model."""
    x = np.random.default_rng(0).integers(-8, 9, (2, 3, *size)).astype(np.float32)
    model = model_of(op_type, [batch, 3, *size], **attributes)
    np.testing.assert_array_equal(compile_model(model).run({"x": x})["y"], walked(x, op_type, **attributes))
    plain = lower_to_plain_onnx(model)
    np.testing.assert_array_equal(compile_model(plain).run({"x": x})["y"], walked(x, op_type, **attributes))


@pytest.mark.parametrize("size", [6, 7, 8, 9])
@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER"])
def test_windows_of_one_element_need_no_sizes(mode: str, size: int) -> None:
    x = np.arange(2 * size * size, dtype=np.float32).reshape(1, 2, size, size)
    model = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["": 18]>
    g (float[N, 2, H, W] x) => (y) <float[1, 2, 1, 1] w = {{2, 1}}>
    {{ y = Conv<auto_pad = "{mode}", strides = [2, 3], kernel_shape = [1, 1]>(x, w) }}""")
    found = compile_model(from_proto(model)).run({"x": x})["y"]
    np.testing.assert_array_equal(found, (2 * x[:, :1] + x[:, 1:])[:, :, ::2, ::3])


def test_a_pool_of_integers_is_padded_by_their_least() -> None:
    attributes: dict[str, Any] = {"kernel_shape": [2], "strides": [2], "dilations": [4], "pads": [2, 3]}
    x = np.random.default_rng(0).integers(-8, 9, (2, 3, 6)).astype(np.int8)
    found = compile_model(model_of("MaxPool", ["N", 3, 6], onnx.TensorProto.INT8, **attributes)).run({"x": x})["y"]
    np.testing.assert_array_equal(found, walked(x, "MaxPool", **attributes))


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize(("kernel", "strides", "dilations"), [((3, 2), (1, 2), (2, 3)), ((1, 1), (4, 3), (1, 1))])
def test_convolutions_are_padded_as_onnx_says(mode: str, kernel: Any, strides: Any, dilations: Any) -> None:
    generator = np.random.default_rng(0)
    x, w = (generator.integers(-4, 5, shape).astype(np.float32) for shape in ((2, 2, 4, 6), (3, 2, *kernel)))
    pads = same_pads((4, 6), kernel, strides, dilations, upper=mode == "SAME_UPPER")
    found = []
    for padding in (f'auto_pad = "{mode}"', f"pads = {list(pads or ())}"):
        model = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["": 18]>
        g (float[N, 2, 4, 6] x, float[3, 2, {kernel[0]}, {kernel[1]}] w) => (y)
        {{ y = Conv<{padding}, strides = {list(strides)}, dilations = {list(dilations)}>(x, w) }}""")
        found.append(compile_model(from_proto(model)).run({"x": x, "w": w})["y"])
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(("op_type", "shape", "attributes", "message"), [
    ("MaxPool", ["N", 3, None], {"kernel_shape": [3], "strides": [2], "dilations": [2], "auto_pad": "SAME_UPPER"},
     r"pool \(MaxPool\): auto_pad is SAME_UPPER and the size of the image is not fixed; write pads instead"),
    ("MaxPool", ["N", 3, None], {"kernel_shape": [2], "strides": [2], "pads": [2, 2], "ceil_mode": 1},
     r"pool \(MaxPool\): ceil_mode and the size of the image is not fixed"),
    ("AveragePool", ["N", 3, 8], {"kernel_shape": [2], "pads": [2, 2]},
     r"pool \(AveragePool\): pads are \[2, 2\] for a kernel of \[2\]; onnxruntime takes only smaller ones"),
])  # fmt: skip
def test_what_is_not_known_to_be_right_is_refused(op_type: str, shape: Any, attributes: Any, message: str) -> None:
    with pytest.raises((Unsupported, InvalidModel), match=message):
        compile_model(model_of(op_type, shape, **attributes))


def test_a_pad_that_is_added_takes_no_name_that_is_in_use() -> None:
    model = model_of("MaxPool", [1, 1, 6], kernel_shape=[2], pads=[2, 2])
    other = ir.node("Neg", [model.graph.inputs[0]], name="pool/padded")
    other.outputs[0].name, other.outputs[0].type = "pool/padded", ir.TensorType(ir.DataType.FLOAT)
    model.graph.append(other)
    model.graph.outputs.append(other.outputs[0])
    x = np.arange(6, dtype=np.float32).reshape(1, 1, 6)
    found = compile_model(model).run({"x": x})
    np.testing.assert_array_equal(found["pool/padded"], -x)
    assert found["y"].shape == (1, 1, 9)
