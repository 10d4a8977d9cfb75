"""Annotates tensors with the data types that follow from quantizers, constants and annotated inputs."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from qonnx_core.ir.annotations import get_datatype, set_datatype
from qonnx_core.ir.datatypes import DataType, Kind
from qonnx_core.passes.base import graphs_of
from qonnx_core.passes.datatypes.facts import Numbers, from_container
from qonnx_core.passes.datatypes.inference import Inference, infer
from qonnx_core.passes.infer_shapes import InferShapes

_WIDE_BITS = 32


@dataclass(frozen=True)
class InferDataTypes:
    """Write ``INT4``, ``BIPOLAR``, ``SCALEDINT<8>``, ... onto every tensor whose values they provably hold.

    The sources are quantizers, constants, integer element types and the annotations of graph inputs; through every
    other operator bounds and grid are followed exactly, so an accumulator is as wide as K products of its operands'
    ends need (the reference writes ``INT32``, ``UINT32`` or ``SCALEDINT<32>`` there, whatever K is). Sign gives
    ``TERNARY``, because ``Sign(0)`` is 0 (the reference writes ``BIPOLAR``). What the operators of the format state
    themselves (``Quant``: ``INT<b>`` at scale 1, else ``SCALEDINT<b>``; ``MultiThreshold``: ``out_dtype``;
    ``XnorPopcountMatMul``: ``UINT32``) is written as they state it. An annotation of a tensor about which nothing
    follows is believed and stays. Float rounding is counted: beyond the precision of the element type a bound grows.
    ``SCALEDINT`` says that values are integers times a scale up to the rounding of that product, ``FIXED`` and the
    integer types hold exactly. All types are meant for finite values. One exception is inherited from the format: a
    ``Quant`` of more than 24 bits on float32 saturates at ``2^(b-1)``, which ``INT<b>`` does not hold.

    Args:
        scaled_integers: write ``SCALEDINT<n>``; without it such tensors are ``FLOAT32``, as in the reference's default.
        fixed_point: write ``FIXED<b,i>`` or an integer type where the scale is a single power of two.
    """

    scaled_integers: bool = True
    fixed_point: bool = False
    name: str = "infer_datatypes"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of annotations that changed; shapes are inferred on the way.

        Raises:
            InvalidModel: types or shapes contradict each other.
        """
        InferShapes().run(model)
        state = infer(model, fixed_point=self.fixed_point)
        changed = 0
        for graph in graphs_of(model):
            for node in graph:
                for value in node.outputs:
                    found = self._datatype(value, state)
                    if found is not None and found != get_datatype(value):
                        set_datatype(value, found)
                        changed += 1
        return changed

    def _datatype(self, value: ir.Value, state: Inference) -> DataType | None:
        fact = state.facts.get(value)
        if fact is None or not value.name:
            return None
        found = fact.datatype(fixed_point=self.fixed_point) if isinstance(fact, Numbers) else fact.datatype
        if found.kind is Kind.SCALEDINT and not self.scaled_integers:
            return DataType.FLOAT32
        container = from_container(value.dtype)
        is_plain = container is not None and found == container.declared and found.bits >= _WIDE_BITS
        return None if is_plain else found  # shapes and indices say nothing by their int64


def infer_datatypes_report(model: ir.Model) -> list[tuple[str, str]]:
    """Return the tensors without a known data type, in the order of the graph, each with the reason.

    The model needs inferred shapes and is not changed.
    """
    state = infer(model)
    return [(value.name or "", reason) for value, reason in state.reasons.items() if value not in state.facts]
