"""Brings a model of any QONNX dialect to the one form that everything else reads."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from qonnx_core.errors import InvalidModel
from qonnx_core.formats.function_checks import check_function_opsets, check_functions
from qonnx_core.formats.function_operators import check_function_operators
from qonnx_core.formats.inline_functions import inline_functions
from qonnx_core.formats.nested_models import inline_nested_models
from qonnx_core.formats.node_checks import check_standard_nodes
from qonnx_core.formats.opsets import TARGET_OPSET, raise_opset
from qonnx_core.ir.constants import constant_tensor
from qonnx_core.ir.copies import copy_model
from qonnx_core.ir.names import free_name
from qonnx_core.ir.sizes import check_growth, has_negative_size
from qonnx_core.ops.op import DOMAIN, QonnxOp
from qonnx_core.ops.registry import DOMAIN_ALIASES, LISTED_ONLY, default_registry, op_class_of
from qonnx_core.ops.schemas import register_schemas
from qonnx_core.passes.base import graphs_of

_MIN_IR_VERSION = 8
_MOST_AXES = 64


def normalize(model: ir.Model) -> None:
    """Rewrite the model in place: opset 21 or newer, one name for our domain and each node, attributes written out.

    Raises:
        InvalidModel: a node breaks the format of its operator (number of inputs, rounding mode, version, ...).
        Unsupported: a node of an old opset cannot be brought to the new one, or a tensor would be too large.
    """
    register_schemas()
    check_standard_nodes(model)
    check_functions(model)
    check_growth(model)
    model.ir_version = max(model.ir_version or 0, _MIN_IR_VERSION)
    _drop_our_functions(model)
    _rename_domains(model)
    check_function_operators(model)
    for graph in _graphs(model):
        for value in [value for value in graph.inputs if value.is_initializer()]:
            graph.inputs.remove(value)
        _take_shapes_of_tensors(graph)
        _forget_negative_sizes(graph)
        for node in graph:
            _write_out_attributes(node, model.opset_imports)
    raise_opset(model)
    for graph in _graphs(model):
        for node in graph:
            _drop_allowzero(node)
        _make_node_names_unique(graph)


def _drop_allowzero(node: ir.Node) -> None:
    """Let a Reshape be one without ``allowzero``, which new exporters always write, where its target holds no 0."""
    if node.op_type != "Reshape" or "allowzero" not in node.attributes or len(node.inputs) < 2:
        return
    target = constant_tensor(node.inputs[1])
    if target is not None and target.size <= _MOST_AXES and np.all(target.numpy()):
        del node.attributes["allowzero"]


def _take_shapes_of_tensors(graph: ir.Graph) -> None:
    """Give initializers the element type and shape that their tensors have, whatever the file says about them."""
    for value in graph.initializers.values():
        tensor = value.const_value
        if tensor is not None and value.shape != tensor.shape:
            value.shape = ir.Shape([int(str(dim)) for dim in tensor.shape])
        if tensor is not None and value.dtype != tensor.dtype:
            value.type = ir.TensorType(tensor.dtype)


def _forget_negative_sizes(graph: ir.Graph) -> None:
    """Let sizes below 0 be unknown: old exporters write -1 for a size that is free."""
    for value in (*graph.inputs, *(value for node in graph for value in node.outputs)):
        if has_negative_size(value):
            assert value.shape is not None
            value.shape = ir.Shape([None if isinstance(dim, int) and dim < 0 else dim for dim in value.shape])


def normalized_copy(model: ir.Model, *, nested: bool = True) -> ir.Model:
    """Return a copy of the model, normalised, with the functions and models that it brings along inlined.

    Args:
        model: the model; it is not changed.
        nested: whether the models that GenericPartition nodes name take their places.

    Raises:
        InvalidModel: the model or a node of it breaks the format.
        Unsupported: a node of an old opset cannot be brought to the new one.
    """
    copy = copy_model(model)
    normalize(copy)
    if copy.functions:
        check_function_opsets(copy)
        inline_functions(copy)
        normalize(copy)
    if nested:
        inline_nested_models(copy)
    return copy


def _graphs(model: ir.Model) -> list[ir.Graph]:
    """Return the main graph and all graphs inside its nodes."""
    return graphs_of(model)


def _make_node_names_unique(graph: ir.Graph) -> None:
    """Give nodes that share a name one of their own: the format allows sharing, onnxruntime does not."""
    taken = {node.name for node in graph}
    seen: set[str | None] = set()
    for node in graph:
        if node.name and node.name in seen:
            node.name = free_name(node.name, taken)
        seen.add(node.name)


def _drop_our_functions(model: ir.Model) -> None:
    """Remove function bodies of our operators: the definition here is the one that counts."""
    ours = {(op.domain, op.op_type) for op in default_registry()}
    for identifier in list(model.functions):
        domain, name, _ = identifier
        if (DOMAIN_ALIASES.get(domain, domain), name) in ours:
            del model.functions[identifier]


def _rename_domains(model: ir.Model) -> None:
    registry = default_registry()
    ours = {(op.domain, op.op_type) for op in registry}
    used: set[str] = set()
    graphs: list[ir.Graph | ir.Function] = [*_graphs(model), *model.functions.values()]
    for graph in graphs:
        for node in graph:
            target = DOMAIN_ALIASES.get(node.domain)
            listed = node.op_type in LISTED_ONLY and node.domain != "finn"
            if target is not None and (listed or (target, node.op_type) in ours):
                node.domain = target
            used.add(node.domain)
    imports = model.opset_imports
    versions = [imports.pop(alias) for alias in DOMAIN_ALIASES if alias in imports and not _uses(graphs, alias)]
    for domain in sorted(used & registry.domains - set(imports)):
        imports[domain] = max(versions, default=1) if domain == DOMAIN else 1
    if "ai.onnx" in imports:
        imports.setdefault("", imports.pop("ai.onnx"))
        for graph in graphs:
            for node in graph:
                if node.domain == "ai.onnx":
                    node.domain = ""
    if "" not in imports:
        if _uses(graphs, ""):
            raise InvalidModel(
                "model: imports no version of the standard ONNX operators; expected one. Export it again."
            )
        imports[""] = TARGET_OPSET  # passes add standard operators


def _uses(graphs: list[ir.Graph | ir.Function], domain: str) -> bool:
    return any(node.domain == domain for graph in graphs for node in graph)


def _write_out_attributes(node: ir.Node, imports: dict[str, int]) -> None:
    found = op_class_of(node, imports)
    if found is None:
        return
    if found.check.__func__ is not QonnxOp.check.__func__:  # type: ignore[attr-defined]
        found.check(node)
    for name, value in found.from_node(node).attributes().items():
        stored = node.attributes.get(name)
        if stored is None or stored.is_ref() or stored.value != value or type(stored.value) is not type(value):
            node.attributes[name] = ir.convenience.convert_attribute(name, value)
