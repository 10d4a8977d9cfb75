"""Turns a traced program into an ONNX graph, through torch's own exporter for everything but the quantizers."""

from __future__ import annotations

from typing import Any

import onnx
import onnx_ir as ir
import torch
from onnxscript import values
from torch.onnx.errors import OnnxExporterError

from export_brevitas import traced_ops
from export_brevitas.capture import Program
from export_brevitas.quiet import quiet
from qonnx_core.errors import InvalidInput, Unsupported

# Our traced operators keep this domain until `finishing` makes QONNX nodes of them.
TRACED_DOMAIN = "export_brevitas.traced"
PATH_ATTRIBUTE = "path"
PARAMETER_ATTRIBUTE = "parameter"

MIN_TORCH_OPSET = 18  # the oldest that torch's exporter writes
MAX_OPSET = 23

_INPUTS = {
    "Quant": ("x", "scale", "zeropt", "bitwidth"),
    "BipolarQuant": ("x", "scale"),
    "Trunc": ("x", "scale", "zeropt", "in_bitwidth", "out_scale", "out_bitwidth"),
}
_INT, _STRING = onnx.defs.OpSchema.AttrType.INT, onnx.defs.OpSchema.AttrType.STRING
_QUANT_ATTRIBUTES = {"signed": _INT, "narrow": _INT, "rounding_mode": _STRING}


def lower(program: Program, *, opset_version: int) -> ir.Model:
    """Return the ONNX graph of a program, with quantizers as nodes of `TRACED_DOMAIN`.

    Raises:
        InvalidInput: no such opset.
        Unsupported: torch's exporter has no translation for an operator; names the operator.
    """
    if not 1 <= opset_version <= MAX_OPSET:
        raise InvalidInput(
            f"opset_version is {opset_version}; expected 1 to {MAX_OPSET}. Leave it out for the default."
        )
    with quiet():
        try:
            made = torch.onnx.export(
                program.exported,
                custom_translation_table=_translations(),
                dynamo=True,
                opset_version=max(opset_version, MIN_TORCH_OPSET),
                optimize=False,
                verbose=False,
            )
        except OnnxExporterError as error:
            raise Unsupported(
                f"{_failing_operator(error)}: torch's ONNX exporter cannot translate it; expected operators with an "
                "ONNX form. Write this part of forward() with other operators."
            ) from error
    if made is None:
        raise Unsupported("torch's ONNX exporter returned nothing; expected a graph. Try another torch version.")
    graph: ir.Model = made.model
    return graph


def _failing_operator(error: BaseException) -> str:
    """Return the most telling line of the exporter's chain of errors."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0]


def _translations() -> dict[Any, Any]:
    quant, bipolar, trunc = (_operator(name) for name in ("Quant", "BipolarQuant", "Trunc"))

    def to_quant(
        x: Any,
        scale: Any,
        zero_point: Any,
        bit_width: Any,
        signed: bool,
        narrow: bool,
        rounding_mode: str,
        name: str,
        parameter: str,
    ) -> Any:
        attributes = {"signed": int(signed), "narrow": int(narrow), "rounding_mode": rounding_mode}
        return quant(x, scale, zero_point, bit_width, **attributes, path=name, parameter=parameter)

    def to_bipolar(x: Any, scale: Any, name: str, parameter: str) -> Any:
        return bipolar(x, scale, path=name, parameter=parameter)

    def to_trunc(
        x: Any,
        scale: Any,
        zero_point: Any,
        bit_width: Any,
        out_scale: Any,
        out_bit_width: Any,
        signed: bool,
        narrow: bool,
        rounding_mode: str,
        name: str,
    ) -> Any:
        attributes = {"signed": int(signed), "narrow": int(narrow), "rounding_mode": rounding_mode}
        return trunc(x, scale, zero_point, bit_width, out_scale, out_bit_width, **attributes, path=name, parameter="")

    ours = getattr(torch.ops, traced_ops.NAMESPACE)
    return {ours.quant.default: to_quant, ours.bipolar.default: to_bipolar, ours.trunc.default: to_trunc}


def _operator(name: str) -> values.Op:
    schema = onnx.defs.OpSchema
    attributes = {PATH_ATTRIBUTE: _STRING, PARAMETER_ATTRIBUTE: _STRING} | (
        {} if name == "BipolarQuant" else _QUANT_ATTRIBUTES
    )
    made = schema(
        name,
        TRACED_DOMAIN,
        1,
        inputs=[schema.FormalParameter(each, "T") for each in _INPUTS[name]],
        outputs=[schema.FormalParameter("y", "T")],
        type_constraints=[("T", ["tensor(float)"], "")],
        attributes=[schema.Attribute(each, kind, required=True) for each, kind in attributes.items()],
    )
    return values.Op(values.Opset(TRACED_DOMAIN, 1), name, made)
