"""Tells the shape inference of ``onnx`` how many windows a pool has that rounds up: its own rule counts one too many.

A window that would start in the padding at the end does not count (ONNX, operator MaxPool), and onnxruntime computes
none; the inference of ``onnx`` counts it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import onnx
import onnx.defs

from qonnx_core.ops.windows import Shape, ceiled_size

DOMAIN = "qonnx_core.shapes"
_OP_TYPE = "CeiledPool"
_POOLS = ("AveragePool", "LpPool", "MaxPool")
_LISTS = ("kernel_shape", "strides", "pads", "dilations")


def rename_ceiled_pool(node: onnx.NodeProto) -> None:
    """Let a pool that rounds up be one of our own domain; other nodes stay as they are."""
    if node.op_type not in _POOLS or node.domain not in ("", "ai.onnx"):
        return
    if not any(attribute.name == "ceil_mode" and attribute.i for attribute in node.attribute):
        return
    _register()
    kept = [attribute for attribute in node.attribute if attribute.name in (*_LISTS, "auto_pad")]
    del node.attribute[:]
    node.attribute.extend(kept)
    node.op_type, node.domain = _OP_TYPE, DOMAIN


@functools.cache
def _register() -> None:
    schema = onnx.defs.OpSchema
    types = [f"tensor({kind})" for kind in ("float16", "bfloat16", "float", "double", "int8", "uint8")]
    made = schema(
        _OP_TYPE,
        DOMAIN,
        1,
        inputs=[schema.FormalParameter("x", "T")],
        outputs=[
            schema.FormalParameter("y", "T"),
            schema.FormalParameter("indices", "I", param_option=schema.FormalParameterOption.Optional),
        ],
        type_constraints=[("T", types, "of the data"), ("I", ["tensor(int64)"], "of the places of the largest")],
        attributes=[
            *(schema.Attribute(name, schema.AttrType.INTS, name, required=False) for name in _LISTS),
            schema.Attribute("auto_pad", schema.AttrType.STRING, "auto_pad", required=False),
        ],
    )
    made.set_type_and_shape_inference_function(_infer)
    onnx.defs.register_schema(made)


def _infer(context: Any) -> None:
    data = context.get_input_type(0)
    if data is None or not data.HasField("tensor_type"):
        return
    kinds = [data.tensor_type.elem_type, int(onnx.TensorProto.INT64)]
    for index in range(context.get_num_outputs()):
        made = onnx.TypeProto()
        made.tensor_type.elem_type = kinds[index]
        if data.tensor_type.HasField("shape"):
            made.tensor_type.shape.SetInParent()
            for size in _shape(context, data.tensor_type.shape.dim):
                dim = made.tensor_type.shape.dim.add()
                if isinstance(size, int):
                    dim.dim_value = size
                elif size is not None:
                    dim.dim_param = size
        context.set_output_type(index, made)


def _shape(context: Any, dims: Sequence[Any]) -> Shape:
    before = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in dims]
    spatial = before[2:]
    kernel = _numbers(context, "kernel_shape")
    axes = len(kernel)
    strides, dilations = (_numbers(context, name) or [1] * axes for name in ("strides", "dilations"))
    pads = _numbers(context, "pads") or [0] * (2 * axes)
    if len(spatial) != axes or len(strides) != axes or len(dilations) != axes or len(pads) != 2 * axes:
        raise onnx.shape_inference.InferenceError(
            f"kernel {kernel}, strides {strides}, dilations {dilations} and pads {pads} do not fit data of "
            f"{len(spatial)} spatial axes"
        )
    auto = context.get_attribute("auto_pad")
    mode = onnx.helper.get_attribute_value(auto).decode() if auto is not None and auto.name else "NOTSET"
    if mode.startswith("SAME"):
        sizes = [-(-size // stride) if isinstance(size, int) else None
                 for size, stride in zip(spatial, strides, strict=True)]  # fmt: skip
        return (*before[:2], *sizes)
    if mode == "VALID":
        pads = [0] * (2 * axes)
    return (*before[:2], *map(ceiled_size, spatial, kernel, strides, pads[:axes], pads[axes:], dilations))


def _numbers(context: Any, name: str) -> list[int]:
    attribute = context.get_attribute(name)
    return list(attribute.ints) if attribute is not None else []
