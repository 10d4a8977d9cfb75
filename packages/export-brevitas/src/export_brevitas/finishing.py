"""Makes a clean QONNX model of the exporter's graph: one input, the user's names, nothing that is not needed."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import onnx
import onnx_ir as ir
import onnx_ir.passes.common as common_passes
from onnxscript import optimizer

from export_brevitas.lowering import PARAMETER_ATTRIBUTE, PATH_ATTRIBUTE, TRACED_DOMAIN
from qonnx_core.errors import InvalidInput

DOMAIN = "qonnx.custom_op.general"
DOMAIN_VERSION = 2  # the version in which Trunc has six inputs
BATCH = "batch"

_CONSTANT_NAMES = {
    "Quant": ("scale", "zero_point", "bit_width"),
    "BipolarQuant": ("scale",),
    "Trunc": ("in_scale", "in_zero_point", "in_bit_width", "scale", "bit_width"),
}
# Nodes that only arrange data; the layer's name goes to the node that computes.
_ARRANGING = {"Transpose", "Reshape", "Flatten", "Identity", "Cast", "Shape", "Concat", "Slice", "Squeeze", "Unsqueeze"}
_SCOPES = "pkg.torch.onnx.name_scopes"
_MODEL = "model"  # the attribute of `capture.Traced` that holds the user's model


def finish(
    model: ir.Model,
    *,
    input_names: Sequence[str],
    output_names: Sequence[str],
    opset_version: int,
    graph_name: str,
    metadata: Mapping[str, str],
) -> None:
    """Clean ``model`` in place.

    Args:
        model: what `lowering.lower` returned.
        input_names: one for each graph input.
        output_names: one for each graph output.
        opset_version: the opset of the standard operators that the model is to import.
        graph_name: the graph's name.
        metadata: the file's metadata.

    Raises:
        InvalidInput: names are missing, or the opset is too old for an operator in the graph.
    """
    graph = model.graph
    _require_count("input_names", input_names, graph.inputs)
    _require_count("output_names", output_names, graph.outputs)
    optimizer.fold_constants(model, onnx_shape_inference=False, input_size_limit=1024, output_size_limit=1024)
    common_passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    common_passes.IdentityEliminationPass()(model)
    common_passes.RemoveUnusedNodesPass()(model)
    _make_plain_reshapes(graph)
    common_passes.RemoveUnusedNodesPass()(model)
    _own_constants(graph)
    _name_everything(graph, list(input_names), list(output_names))
    _make_qonnx(graph)
    _strip(model)
    _set_opset(model, opset_version)
    common_passes.ShapeInferencePass()(model)
    graph.name = graph_name
    model.producer_name = "export-brevitas"
    model.metadata_props.update(metadata)


def _require_count(option: str, names: Sequence[str], values: Sequence[ir.Value]) -> None:
    if len(names) != len(values) or len(set(names)) != len(names) or not all(names):
        raise InvalidInput(
            f"{option}: found {list(names)}; expected {len(values)} different names, one for each tensor. "
            "Leave the option out for the names of forward()'s parameters."
        )


def _make_plain_reshapes(graph: ir.Graph) -> None:
    """Give each Reshape with at most one unknown dimension a constant shape; Flatten where it keeps the batch only."""
    for node in list(graph):
        if node.op_type != "Reshape" or node.domain:
            continue
        node.attributes.pop("allowzero", None)
        data, result = node.inputs[0], node.outputs[0]
        if data is None or result.shape is None:
            continue
        dims = [dim if isinstance(dim, int) else -1 for dim in result.shape]
        if dims.count(-1) > 1 or 0 in dims:
            continue
        keeps_batch = data.shape is not None and len(data.shape) >= 2 and data.shape[0] == result.shape[0]
        if len(dims) == 2 and keeps_batch:
            flat = ir.node("Flatten", [data], attributes={"axis": 1}, metadata_props=dict(node.metadata_props))
            flat.outputs[0].shape, flat.outputs[0].type = result.shape, result.type
            graph.insert_before(node, flat)
            result.replace_all_uses_with(flat.outputs[0], replace_graph_outputs=True)
            graph.remove(node, safe=True)
        else:
            shape = ir.Value(name=f"{result.name}_shape", const_value=ir.tensor(np.asarray(dims, dtype=np.int64)))
            shape.name = f"{result.name}_shape"
            graph.register_initializer(shape)
            node.replace_input_with(1, shape)


def _own_constants(graph: ir.Graph) -> None:
    """Replace initializers by copies of their own: torch's share memory with the live model."""
    for value in graph.initializers.values():
        tensor = value.const_value
        if tensor is not None:
            value.const_value = ir.tensor(np.array(tensor.numpy(), copy=True), name=value.name)
            value.shape, value.type = ir.Shape(tensor.numpy().shape), ir.TensorType(tensor.dtype)


class _Names:
    """Hands out names, each once."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)

    def new(self, wanted: str) -> str:
        """Return ``wanted``, or with a number behind it where that is taken."""
        name, count = wanted, 0
        while name in self._taken:
            count += 1
            name = f"{wanted}_{count}"
        self._taken.add(name)
        return name


def _name_everything(graph: ir.Graph, inputs: list[str], outputs: list[str]) -> None:
    values, nodes = _Names([*inputs, *outputs]), _Names([])
    wanted = _initializer_names(graph)
    _rename_initializers(graph, {old: values.new(name) for old, name in wanted.items()})
    layers = [_layer(node) for node in graph]
    named: set[str] = set()
    for node, layer in zip(graph, layers, strict=True):
        is_only = layers.count(layer) == 1
        computes = node.op_type not in _ARRANGING
        if node.domain == TRACED_DOMAIN:
            wished = node.attributes[PATH_ATTRIBUTE].as_string() or node.op_type
        elif layer and layer not in named and (computes or is_only):
            wished = layer
            named.add(layer)
        else:
            wished = f"{layer}.{node.op_type}" if layer else node.op_type
        node.name = nodes.new(wished)
        for index, value in enumerate(node.outputs):
            if not value.is_graph_output():
                value.name = values.new(f"{node.name}_out{index}")
    for value, name in zip(graph.inputs, inputs, strict=True):
        value.name = name
    for value, name in zip(graph.outputs, outputs, strict=True):
        value.name = name


def _initializer_names(graph: ir.Graph) -> dict[str, str]:
    """Return a name for each initializer: the parameter's, or the quantizer's with what it is to it."""
    wanted: dict[str, str] = {}
    for node in graph:
        if node.domain == TRACED_DOMAIN:
            path = node.attributes[PATH_ATTRIBUTE].as_string()
            data = node.attributes[PARAMETER_ATTRIBUTE].as_string() or f"{path}.input"
            for value, name in zip(node.inputs, (data, *_CONSTANT_NAMES[node.op_type]), strict=True):
                if value is not None and value.name in graph.initializers:
                    wanted.setdefault(str(value.name), name if name == data else ".".join(filter(None, [path, name])))
    for old, value in graph.initializers.items():
        if old in wanted:
            continue
        user = next((use.node for use in value.uses()), None)
        if old.startswith(f"{_MODEL}.") and "lifted_tensor" not in old:
            wanted[old] = old.removeprefix(f"{_MODEL}.")
        else:
            layer = "" if user is None else _layer(user)
            wanted[old] = f"{layer}.constant" if layer else "constant"
    return wanted


def _rename_initializers(graph: ir.Graph, names: Mapping[str, str]) -> None:
    values = [graph.initializers.pop(old) for old in list(graph.initializers)]
    for value in values:
        value.name = names[str(value.name)]
        if value.const_value is not None:
            value.const_value.name = value.name
    for value in sorted(values, key=_first_use(graph)):
        graph.register_initializer(value)


def _first_use(graph: ir.Graph) -> Callable[[ir.Value], tuple[int, int]]:
    order = {node: index for index, node in enumerate(graph)}
    return lambda value: min(((order[use.node], use.idx) for use in value.uses()), default=(len(order), 0))


def _layer(node: ir.Node) -> str:
    """Return the path of the user's layer that a node comes from; "" for the model itself."""
    scopes = ast.literal_eval(node.metadata_props.get(_SCOPES, "[]"))
    paths = [str(scope) for scope in scopes[:-1] if str(scope).startswith(_MODEL)]
    layer = paths[-1].removeprefix(_MODEL).removeprefix(".") if paths else ""
    parts = layer.split(".")
    inner = [index for index, part in enumerate(parts) if part.endswith("_quant")]
    return ".".join(parts[: inner[0]]) if inner else layer


def _make_qonnx(graph: ir.Graph) -> None:
    for node in graph:
        if node.domain == TRACED_DOMAIN:
            node.domain = DOMAIN
            node.attributes.pop(PATH_ATTRIBUTE)
            node.attributes.pop(PARAMETER_ATTRIBUTE)


def _strip(model: ir.Model) -> None:
    """Remove the exporter's notes (stack traces, paths on this machine) and call the dynamic dimension ``batch``."""
    common_passes.ClearMetadataAndDocStringPass()(model)
    graph = model.graph
    model.metadata_props.clear()
    model.functions.clear()
    symbols: dict[str, str] = {}
    for value in [*graph.inputs, *graph.initializers.values(), *(each for node in graph for each in node.outputs)]:
        value.metadata_props.clear()
        if value.shape is None:
            continue
        dims: list[int | ir.SymbolicDim] = []
        for dim in value.shape:
            if isinstance(dim, ir.SymbolicDim) and dim.value is not None:
                known = symbols.setdefault(str(dim.value), BATCH if not symbols else str(dim.value))
                dims.append(ir.SymbolicDim(known))
            else:
                dims.append(dim)
        value.shape = ir.Shape(dims)
    for node in graph:
        node.metadata_props.clear()
        node.doc_string = None
        node.version = None


def _set_opset(model: ir.Model, wanted: int) -> None:
    """Import ``wanted``, provided that no operator in the graph has changed since."""
    made = model.graph.opset_imports.get("", wanted)
    if wanted < made:
        changed = sorted(
            {
                f"{node.op_type} ({onnx.defs.get_schema(node.op_type, made, '').since_version})"
                for node in model.graph
                if not node.domain and onnx.defs.get_schema(node.op_type, made, "").since_version > wanted
            }
        )
        if changed:
            raise InvalidInput(
                f"opset_version is {wanted}; the graph has operators that changed since: {', '.join(changed)}. "
                "Take at least the largest of these numbers."
            )
    model.graph.opset_imports.clear()
    model.graph.opset_imports[""] = wanted
    model.graph.opset_imports[DOMAIN] = DOMAIN_VERSION
    model.ir_version = 8 if wanted <= 18 else 9 if wanted <= 20 else 10
