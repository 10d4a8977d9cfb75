"""A set of nodes as a complete model of its own, under the original tensor names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

import onnx_ir as ir

from qonnx_core.errors import InvalidInput
from qonnx_core.ir.annotations import get_datatype, set_datatype
from qonnx_core.ir.datatypes import DataType
from qonnx_core.ir.grid import Grid
from qonnx_core.partition.dataflow import Dataflow

BATCH_DIMENSION = "N"


def extract_model(
    flow: Dataflow,
    nodes: Iterable[str],
    inputs: Sequence[str],
    outputs: Sequence[str],
    *,
    name: str,
    grids: Mapping[str, Grid] | None = None,
) -> ir.Model:
    """Return a model that computes ``outputs`` from ``inputs`` with copies of the nodes.

    The constants that the nodes read come along, with the nodes that make them. Inputs and outputs keep their names,
    element types and shapes, with a symbolic batch dimension; inputs with a grid are annotated with its data type.
    """
    model = flow.model
    wanted = flow.in_order({*nodes, *flow.constants_of(nodes)})
    originals = {value.name: value for value in _values(model)}
    values: dict[str, ir.Value] = {}
    for tensor in inputs:
        values[tensor] = _copied(originals[tensor], batch=True)
        if grids is not None and tensor in grids:
            annotate(values[tensor], grids[tensor])
    initializers: dict[str, ir.Value] = {}
    copies: list[ir.Node] = []
    for node_name in wanted:
        node = flow.by_name[node_name]
        reads: list[ir.Value | None] = []
        for value in node.inputs:
            if value is None or not value.name:
                reads.append(value if value is None else ir.Value(name=""))
                continue
            if value.name not in values:
                copy = _copied(originals[value.name])
                copy.const_value = value.const_value
                initializers[value.name] = values[value.name] = copy
            reads.append(values[value.name])
        made = [_copied(value, batch=value.name in outputs) for value in node.outputs]
        values.update({value.name: value for value in made if value.name})
        copies.append(
            ir.Node(
                node.domain,
                node.op_type,
                reads,
                list(node.attributes.values()),
                overload=node.overload,
                outputs=made,
                version=node.version,
                name=node.name,
                doc_string=node.doc_string,
                metadata_props=dict(node.metadata_props),
            )
        )
    graph = ir.Graph(
        [values[tensor] for tensor in inputs],
        [values[tensor] for tensor in outputs],
        nodes=copies,
        initializers=list(initializers.values()),
        opset_imports=dict(model.graph.opset_imports),
        name=name,
    )
    return ir.Model(
        graph,
        ir_version=model.ir_version,
        producer_name=model.producer_name,
        producer_version=model.producer_version,
        functions=[function.clone() for function in model.functions.values()],
    )


def annotate(value: ir.Value, grid: Grid) -> None:
    """Annotate a value with the data type of its grid: itself at scale 1, fixed point or scaled integer otherwise."""
    plain = not any(grid.zero_point) and not any(grid.offset)
    datatype = grid.datatype
    existing = get_datatype(value)
    if plain and all(scale == 1 for scale in grid.scale):
        set_datatype(value, datatype)
    elif plain and len(grid.scale) == 1 and _fraction_bits(grid.scale[0]) > 0 and datatype.signed and datatype.bits > 1:
        bits, fraction = datatype.bits, _fraction_bits(grid.scale[0])
        set_datatype(value, DataType.parse(f"FIXED<{bits},{bits - fraction}>"))
    elif existing is None or existing.is_integer():
        set_datatype(value, DataType.parse(f"SCALEDINT<{datatype.bits}>"))


def _fraction_bits(scale: Fraction) -> int:
    """How many bits come after the point where the scale is a negative power of two, else 0."""
    denominator = scale.denominator
    return denominator.bit_length() - 1 if scale.numerator == 1 and not denominator & (denominator - 1) else 0


def _values(model: ir.Model) -> Iterable[ir.Value]:
    yield from model.graph.inputs
    yield from model.graph.initializers.values()
    for node in model.graph:
        yield from node.outputs


def _copied(value: ir.Value, *, batch: bool = False) -> ir.Value:
    shape = value.shape.copy() if value.shape is not None else None
    if batch and shape is None:
        raise InvalidInput(
            f"tensor {value.name}: its shape is unknown; expected one for a cut. Run cleanup_model first."
        )
    if batch and shape is not None and len(shape) > 0 and not isinstance(shape[0], ir.SymbolicDim):
        shape = ir.Shape([BATCH_DIMENSION, *list(shape)[1:]])
    copy = ir.Value(
        name=value.name,
        shape=shape,
        type=value.type,
        doc_string=value.doc_string,
        metadata_props=dict(value.metadata_props),
    )
    entries = value.meta.get("quant_parameter_tensor_names")
    if isinstance(entries, dict):
        copy.meta["quant_parameter_tensor_names"] = dict(entries)
    return copy
