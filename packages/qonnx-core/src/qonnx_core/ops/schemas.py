"""Makes the operators known to the ``onnx`` package, for its checker and its shape inference."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import onnx
import onnx.defs
import onnx_ir as ir

from qonnx_core.ops.op import QonnxOp, attribute_type
from qonnx_core.ops.registry import default_registry

_FLOATS = ["tensor(float16)", "tensor(float)", "tensor(double)"]
_NUMBERS = [*_FLOATS, *(f"tensor({sign}int{bits})" for sign in ("", "u") for bits in (8, 16, 32, 64))]


@functools.cache
def register_schemas() -> None:
    """Register every operator's schema with ``onnx``, once a process; one that exists already is left alone."""
    for op in default_registry():
        if not _exists(op):
            onnx.defs.register_schema(_schema(op))


def schema_name(op: type[QonnxOp]) -> str:
    """Return the name of an operator's schema: its own, with the domain where standard ONNX has the same one.

    ``onnx.reference`` cannot be imported once two domains have schemas of one name.
    """
    return f"{op.op_type}.{op.domain}" if onnx.defs.has(op.op_type) else op.op_type


def _exists(op: type[QonnxOp]) -> bool:
    try:
        found = onnx.defs.get_schema(schema_name(op), op.since_version, op.domain)
    except onnx.defs.SchemaError:
        return False
    return bool(found.since_version == op.since_version)


def _schema(op: type[QonnxOp]) -> Any:
    schema = onnx.defs.OpSchema
    parameters = [schema.FormalParameter(op.inputs[0], "T", description=op.about.get(op.inputs[0], "the data"))]
    single, optional = schema.FormalParameterOption.Single, schema.FormalParameterOption.Optional
    fewest = len(op.inputs) - op.num_optional
    parameters += [
        schema.FormalParameter(
            name, f"T{n}", description=op.about.get(name, name), param_option=single if n < fewest else optional
        )
        for n, name in enumerate(op.inputs[1:], 1)
    ]
    made = schema(
        schema_name(op),
        op.domain,
        op.since_version,
        doc=op.__doc__ or "",
        inputs=parameters,
        outputs=[schema.FormalParameter(op.output, "T", description="the result, in the element type of the data")],
        type_constraints=[("T", _FLOATS, "element type of the data")]
        + [(f"T{n}", _NUMBERS, f"element type of {name}") for n, name in enumerate(op.inputs[1:], 1)],
        attributes=[_attribute(field, op.about.get(field.name, "")) for field in dataclasses.fields(op)],
    )
    made.set_type_and_shape_inference_function(functools.partial(_infer, op))
    return made


def _attribute(field: dataclasses.Field[Any], about: str) -> Any:
    schema = onnx.defs.OpSchema
    kind = attribute_type(field).name
    if field.default is dataclasses.MISSING or field.default == ():
        required = field.default is dataclasses.MISSING
        return schema.Attribute(field.name, getattr(schema.AttrType, kind), about, required=required)
    default = int(field.default) if isinstance(field.default, bool) else field.default
    stored = str(default) if kind == "STRING" else default
    return schema.Attribute(field.name, onnx.helper.make_attribute(field.name, stored), about)


def _infer(op: type[QonnxOp], context: Any) -> None:
    types = [context.get_input_type(index) for index in range(context.get_num_inputs())]
    if not types or types[0] is None or not types[0].HasField("tensor_type"):
        return
    shapes = [_shape(kind) for kind in types]
    if op.infer_shape is QonnxOp.infer_shape:
        shape = op.output_shape(shapes)
    else:
        shape = _with_attributes(op, context).infer_shape(shapes)
    made = onnx.TypeProto()
    made.tensor_type.elem_type = types[0].tensor_type.elem_type
    if shape is not None:
        made.tensor_type.shape.SetInParent()
        for dim in shape:
            added = made.tensor_type.shape.dim.add()
            if isinstance(dim, int):
                added.dim_value = dim
            elif dim is not None:
                added.dim_param = dim
    context.set_output_type(0, made)


def _with_attributes(op: type[QonnxOp], context: Any) -> QonnxOp:
    """Return the operator with the attributes of the node under inference, which can be one of a function's body."""
    given = (context.get_attribute(field.name) for field in dataclasses.fields(op))
    attributes = [ir.serde.deserialize_attribute(each) for each in given if each is not None and each.name]
    return op.of_attributes(op.op_type, {attribute.name: attribute for attribute in attributes})


def _shape(kind: Any) -> tuple[int | str | None, ...] | None:
    if kind is None or not kind.HasField("tensor_type") or not kind.tensor_type.HasField("shape"):
        return None
    return tuple(
        dim.dim_value if dim.HasField("dim_value") else (dim.dim_param or None) for dim in kind.tensor_type.shape.dim
    )
