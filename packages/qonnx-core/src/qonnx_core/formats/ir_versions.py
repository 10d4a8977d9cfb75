"""Which version of the ONNX file format a model needs, so that old runtimes read what they can run."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
import onnx_ir as ir

from qonnx_core.errors import InvalidInput

OLDEST_IR_VERSION = 4  # before it, every parameter is an input too
_FUNCTIONS = 8
_OVERLOADS = 10
# The version that brought an element type.
_TYPES = {
    "FLOAT8E4M3FN": 9, "FLOAT8E4M3FNUZ": 9, "FLOAT8E5M2": 9, "FLOAT8E5M2FNUZ": 9, "INT4": 10, "UINT4": 10,
    "FLOAT4E2M1": 11, "FLOAT8E8M0": 12, "INT2": 13, "UINT2": 13, "FLOAT6E2M3": 14, "FLOAT6E3M2": 14,
}  # fmt: skip


def required_ir_version(model: ir.Model) -> int:
    """Return the lowest IR version in which a file can hold the model: by opsets, functions and element types.

    Source: the table of ``onnx.helper``, which says with which IR version each opset was published.
    """
    imports = [model.opset_imports, *(function.opset_imports for function in model.functions.values())]
    needed = [ir_version_of_opsets(domains) for domains in imports]
    if model.functions:
        overloaded = any(function.overload for function in model.functions.values())
        needed.append(_OVERLOADS if overloaded else _FUNCTIONS)
    for graph in model.graphs():
        values = (*graph.inputs, *graph.initializers.values(), *(value for node in graph for value in node.outputs))
        needed += [_TYPES.get(value.dtype.name, 0) for value in values if value.dtype is not None]
    return max(needed)


def ir_version_of_opsets(imports: Mapping[str, int]) -> int:
    """Return the IR version with which the newest of these opsets was published."""
    found = (
        onnx.helper.OP_SET_ID_VERSION_MAP.get((domain or "ai.onnx", version), OLDEST_IR_VERSION)
        for domain, version in imports.items()
    )
    return max(found, default=OLDEST_IR_VERSION)


def with_ir_version(model: ir.Model, version: int | None = None) -> ir.Model:
    """Return the model to be written in this IR version, or in the lowest that holds it; the graph is shared.

    Raises:
        InvalidInput: the version is too low for the model, or not known here.
    """
    needed = required_ir_version(model)
    if version is None:
        version = needed
    elif not needed <= version <= onnx.IR_VERSION:
        raise InvalidInput(
            f"IR version {version}: does not hold this model; expected {needed} (what its opset, types and functions "
            f"need) to {onnx.IR_VERSION} (the newest that onnx {onnx.__version__} knows). For an older runtime lower "
            "the opset too."
        )
    if version == model.ir_version:
        return model
    return ir.Model(
        model.graph,
        ir_version=version,
        producer_name=model.producer_name,
        producer_version=model.producer_version,
        domain=model.domain,
        model_version=model.model_version,
        doc_string=model.doc_string,
        functions=tuple(model.functions.values()),
        metadata_props=dict(model.metadata_props),
    )
