"""Infers element types and shapes of all values, through our operators as well."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass

import onnx
import onnx_ir as ir
from onnx import shape_inference

from qonnx_core.errors import InvalidModel
from qonnx_core.ir.constants import constant_tensor
from qonnx_core.ir.graphs import graphs_in, reads_of
from qonnx_core.ir.long_vectors import longest_vector
from qonnx_core.ir.sizes import check_sizes
from qonnx_core.ops.ceiled_pools import DOMAIN as SHAPES_DOMAIN
from qonnx_core.ops.ceiled_pools import rename_ceiled_pool
from qonnx_core.ops.op import QonnxOp
from qonnx_core.ops.registry import check_parameters, default_registry, op_class_of
from qonnx_core.ops.schemas import register_schemas, schema_name
from qonnx_core.passes.base import has_graphs, is_standard
from qonnx_core.passes.inferred_symbols import settle_symbols

_SMALL_ELEMENTS = 128  # tensors up to this size are shown to the inference, because shapes can follow from their values


_LONG_VECTOR = 2**20
# Standard operators whose results have shapes that follow from the values of inputs, from the input of this number on.
_SHAPED_BY = {
    **dict.fromkeys(("ConstantOfShape", "Range"), 0),
    **dict.fromkeys(("Reshape", "Expand", "Unsqueeze", "Squeeze", "Tile", "Resize", "Upsample", "Pad", "Slice"), 1),
    **dict.fromkeys(("TopK", "Split", "OneHot", "CenterCropPad", "AffineGrid", "MaxUnpool", "Col2Im", "STFT"), 1),
    **dict.fromkeys(("DFT", "RandomNormal", "Bernoulli", "SplitToSequence", "Trilu", "GroupNormalization"), 1),
    **dict.fromkeys((f"Reduce{kind}" for kind in ("Max", "Min", "Mean", "Sum", "Prod", "L1", "L2", "SumSquare")), 1),
    **dict.fromkeys(("ReduceLogSum", "ReduceLogSumExp"), 1),
    **dict.fromkeys(("BlackmanWindow", "HammingWindow", "HannWindow", "MelWeightMatrix"), 0),
}  # fmt: skip


@dataclass(frozen=True)
class InferShapes:
    """Write onto every value the element type and shape that follow from the inputs.

    What a file said about inner values is not trusted, except behind operators that nobody here knows.
    """

    name: str = "infer_shapes"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of values that changed.

        Raises:
            InvalidModel: types or shapes contradict each other.
            Unsupported: a tensor would take more memory than any usual one.
        """
        register_schemas()
        computed = _has_computed_shapes(model)
        try:
            try:
                inferred = _infer(_skeleton(model), computed, model)
            except (shape_inference.InferenceError, ValueError):
                # The message of this one names our operators.
                inferred = _infer(_skeleton(model, simplified=False), computed, model)
        except (shape_inference.InferenceError, ValueError) as error:
            raise InvalidModel(
                f"model: shapes or types contradict each other: {_first_complaint(error)}; expected a graph that fits "
                "together. Check the node named there."
            ) from error
        changed = _merge(model.graph, inferred.graph)
        check_sizes(model)
        check_parameters(model)
        return changed


_CODES = re.compile(r"\[\w+Error\] |Inference error\(s\): ")
_PLACE = re.compile(r"\(op_type:([^,()]*), node name: ([^()]*)\): ")


def _first_complaint(error: Exception) -> str:
    """Return the first of the complaints of shape inference, which later ones mostly follow from, with its node."""
    text = _CODES.sub("", " ".join(str(error).split()))
    places = list(_PLACE.finditer(text))
    if not places or places[0].start() > 0:
        return text
    end = places[1].start() if len(places) > 1 else len(text)
    op_type, name = places[0].groups()
    return f"{name or 'a node without a name'} ({op_type}): {text[places[0].end() : end].strip()}"


def _infer(proto: onnx.ModelProto, computed: bool, model: ir.Model) -> onnx.ModelProto:
    """Return the model with shapes; values that shapes follow from are looked at where they are ``computed``.

    ``onnx`` then keeps every element of every vector by itself, so that long vectors would take hours. It also errs
    about values of several axes: where only it finds a contradiction or a negative size, values are not looked at.
    """
    inferred = shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=False)
    if computed and longest_vector(inferred.graph) <= _LONG_VECTOR:
        with contextlib.suppress(shape_inference.InferenceError):
            looked = shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
            if not _has_negative_size(looked.graph):
                inferred = looked
    settle_symbols(proto, inferred, model)
    return inferred


def _has_negative_size(graph: onnx.GraphProto) -> bool:
    infos = (*graph.value_info, *graph.output)
    return any(dim.dim_value < 0 for info in infos for dim in info.type.tensor_type.shape.dim)


def _has_computed_shapes(model: ir.Model) -> bool:
    """Return whether shapes can follow from values that nodes compute: in graphs inside nodes, always."""
    if model.functions:
        return True
    for node in model.graph:
        if has_graphs(node):
            return True
        first = _SHAPED_BY.get(node.op_type)
        if first is not None and any(
            value is not None and value.producer() is not None and constant_tensor(value) is None
            for value in node.inputs[first:]
        ):
            return True
    return False


def _skeleton(model: ir.Model, *, simplified: bool = True) -> onnx.ModelProto:
    """Return the model with the tensors that nodes read and no others; large ones become inputs of known shape.

    Simplified, operators of ours that keep the shape of their data are standard ones that do so too, which are inferred
    without a call into Python.
    """
    proto = onnx.ModelProto(ir_version=max(model.ir_version or 0, 10))
    for domain, version in model.opset_imports.items():
        proto.opset_import.add(domain=domain, version=version)
    proto.opset_import.add(domain=SHAPES_DOMAIN, version=1)
    for function in model.functions.values():
        ir.serde.serialize_function_into(proto.functions.add(), function)
    graph = proto.graph
    graph.name = model.graph.name or "graph"
    for value in model.graph.inputs:
        _add_info(graph.input.add(), value)
    writer = _NodeWriter(model, graph, simplified)
    for node in model.graph:
        writer.add(node)
    for value in model.graph.outputs:
        writer.use(value)
        info = graph.output.add(name=value.name or "")
        producer = value.producer()
        if producer is not None and _is_opaque(producer, model):
            info.Clear()
            _add_info(info, value)
    return proto


class _NodeWriter:
    """Writes nodes with what inference looks at, and the tensors that they read when they are first read."""

    def __init__(self, model: ir.Model, graph: onnx.GraphProto, simplified: bool) -> None:
        self._model = model
        self._simplified = simplified
        self._graph = graph
        self._written: set[ir.Value] = set(model.graph.inputs)
        self._unknown: set[ir.Value] = set()  # what nothing can be inferred of

    def add(self, node: ir.Node) -> None:
        """Write one node of the main graph."""
        graph, model = self._graph, self._model
        if has_graphs(node):
            for value in model.graph.initializers.values():
                self.use(value)
        if self._simplified and not is_standard(node) and self._keeps_shape(node):
            # An operator of ours with parameters that widen nothing: of its data's shape and type, which is a float.
            data = node.inputs[0]
            assert data is not None
            self.use(data)
            graph.node.add(op_type="Floor", name=node.name or "", input=[data.name], output=[node.outputs[0].name])
            return
        for read in node.inputs:
            if read is not None:
                self.use(read)
        if node.attributes:
            ir.serde.serialize_node_into(graph.node.add(), node)
            self._forget_inner_types(node, graph.node[-1])
        else:
            graph.node.add(
                op_type=node.op_type,
                domain=node.domain,
                name=node.name or "",
                overload=node.overload,
                input=["" if value is None else value.name or "" for value in node.inputs],
                output=[value.name or "" for value in node.outputs],
            )
        _use_schema_names(graph.node[-1], model)
        self._note_unknown(node)
        if _is_opaque(node, model):
            for value in node.outputs:
                if value.type is not None and value.name and not value.is_graph_output():
                    _add_info(graph.value_info.add(), value)

    def use(self, value: ir.Value) -> None:
        """Write the tensor behind an initializer, once."""
        tensor = value.const_value
        if tensor is None or value in self._written or not value.is_initializer():
            return
        self._written.add(value)
        dims = [int(str(dim)) for dim in tensor.shape]
        if tensor.size <= _SMALL_ELEMENTS and tensor.dtype != ir.DataType.STRING:
            self._graph.initializer.add(
                name=value.name, data_type=int(tensor.dtype), dims=dims, raw_data=tensor.tobytes()
            )
            return
        info = self._graph.input.add(name=value.name)
        info.type.tensor_type.elem_type = int(tensor.dtype)
        info.type.tensor_type.shape.SetInParent()
        for dim in dims:
            info.type.tensor_type.shape.dim.add(dim_value=dim)

    def _keeps_shape(self, node: ir.Node) -> bool:
        op = op_class_of(node, self._model.opset_imports)
        if op is None or not op.broadcasts or not _infers_by_broadcasting(op) or not node.inputs:
            return False
        scalars = (value is not None and _is_scalar(value) for value in node.inputs[1:])
        return node.inputs[0] is not None and len(node.inputs) == len(op.inputs) and all(scalars)

    def _note_unknown(self, node: ir.Node) -> None:
        """Note what the node computes if nothing is known of it, or of something that the node reads."""
        if _is_opaque(node, self._model):
            self._unknown.update(value for value in node.outputs if value.type is None or value.shape is None)
        elif self._unknown and not self._unknown.isdisjoint(reads_of(node)):
            self._unknown.update(node.outputs)

    def _forget_inner_types(self, node: ir.Node, written: onnx.NodeProto) -> None:
        """Leave out what the file says of values that nodes of graphs inside the node compute, as for those outside.

        The names of free sizes in it would be taken then, so that a second run would give others. It stays where
        nothing can be inferred; so do the element types of results, in which branches have to agree.
        """
        graphs = [
            graph
            for attribute in written.attribute
            for graph in ((attribute.g,) if attribute.HasField("g") else attribute.graphs)
        ]
        for inner, twin in zip(graphs_in(node), graphs, strict=True):
            computed: set[str | None] = set()
            for child, child_twin in zip(inner, twin.node, strict=True):
                self._forget_inner_types(child, child_twin)
                self._note_unknown(child)
                if not _is_opaque(child, self._model):
                    computed.update(value.name for value in child.outputs if value not in self._unknown)
            kept = [info for info in twin.value_info if info.name not in computed]
            del twin.value_info[:]
            twin.value_info.extend(kept)
            for info in twin.output:
                if info.name in computed and info.type.HasField("tensor_type"):
                    info.type.tensor_type.ClearField("shape")
                elif info.name in computed:
                    info.ClearField("type")


def _is_scalar(value: ir.Value) -> bool:
    tensor = value.const_value
    return tensor is not None and value.is_initializer() and len(tensor.shape) == 0


def _infers_by_broadcasting(op: type[QonnxOp]) -> bool:
    return op.infer_shape is QonnxOp.infer_shape and op.output_shape.__func__ is QonnxOp.output_shape.__func__  # type: ignore[attr-defined]


def _use_schema_names(node: onnx.NodeProto, model: ir.Model) -> None:
    """Give our operators, those of graphs inside the node included, the names under which ``onnx`` knows them.

    Pools that round up get the one under which their inference is right. So does MeanVarianceNormalization, which keeps
    type and shape: ``onnx`` reads its definition under the wrong opset (seen in 1.23).
    """
    rename_ceiled_pool(node)
    if node.op_type == "MeanVarianceNormalization" and node.domain in ("", "ai.onnx"):
        node.op_type = "Floor"
        del node.attribute[:]
    if node.domain not in ("", "ai.onnx"):
        imported = model.opset_imports.get(node.domain)
        found = default_registry().find(node.domain, node.op_type, imported)
        if found is not None:
            node.op_type = schema_name(found)
    for attribute in node.attribute:
        if attribute.HasField("g"):
            for inner in attribute.g.node:
                _use_schema_names(inner, model)


def _is_opaque(node: ir.Node, model: ir.Model) -> bool:
    """Return whether nothing can be inferred through the node."""
    if node.domain in ("", "ai.onnx", "ai.onnx.ml") or node.op_identifier() in model.functions:
        return False
    return op_class_of(node, model.opset_imports) is None


def _add_info(info: onnx.ValueInfoProto, value: ir.Value) -> None:
    ir.serde.serialize_value_into(info, value)


def _merge(graph: ir.Graph, inferred: onnx.GraphProto, *, inside: bool = False) -> int:
    """Write what was inferred onto the values of a graph; ``inside`` a node, a branch may never be taken."""
    found = {info.name: info for info in (*inferred.value_info, *inferred.output)}
    changed = 0
    for value in _values(graph):
        info = found.get(value.name or "")
        if info is not None and info.type.HasField("tensor_type"):
            changed += _update(value, info, inside)
    for node, twin in zip(graph, inferred.node, strict=True):  # by place: the first output can be left out
        for name, attribute in node.attributes.items():
            if attribute.type == ir.AttributeType.GRAPH and not attribute.is_ref():
                # A twin has no graph where its operator takes none, which verifying refuses later.
                for inner in (other.g for other in twin.attribute if other.name == name):
                    changed += _merge(attribute.as_graph(), inner, inside=True)
    return changed


def _values(graph: ir.Graph) -> list[ir.Value]:
    return [value for node in graph for value in node.outputs]


def _update(value: ir.Value, info: onnx.ValueInfoProto, inside: bool) -> int:
    tensor = info.type.tensor_type
    changed = 0
    if tensor.elem_type and (value.dtype != tensor.elem_type or not isinstance(value.type, ir.TensorType)):
        value.type = ir.TensorType(ir.DataType(tensor.elem_type))
        changed = 1
    if tensor.HasField("shape"):
        dims = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in tensor.shape.dim]
        if inside:
            dims = [None if isinstance(dim, int) and dim < 0 else dim for dim in dims]
        if value.shape is None or [dim if isinstance(dim, int) else dim.value for dim in value.shape] != dims:
            value.shape = ir.Shape(dims)
            changed = 1
    return changed
