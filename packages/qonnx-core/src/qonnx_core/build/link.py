"""Several models as one: where an output of one has the name of an input of a later one, they are connected."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from qonnx_core.errors import InvalidInput


def link_models(models: Sequence[ir.Model], name: str, outputs: Sequence[str] | None = None) -> ir.Model:
    """Return one model of several, connected by tensor names; the given models are not changed.

    Inputs that no earlier model makes are inputs of the whole. Its outputs are ``outputs``, in this order, whether a
    later model takes them or not; by default those that no later model takes. Inner names get a prefix per model, so
    that they stay unique.

    Raises:
        InvalidInput: for no models, models of different operator set versions, and outputs that no model makes.
    """
    if not models:
        raise InvalidInput(f"{name}: found no models to connect; expected at least one.")
    copies = [model.clone() for model in models]
    opsets: dict[str, int] = {}
    made: dict[str, ir.Value] = {}
    inputs: dict[str, ir.Value] = {}
    taken: set[str] = set()
    nodes: list[ir.Node] = []
    initializers: list[ir.Value] = []
    for number, model in enumerate(copies):
        graph = model.graph
        used = {"", *(node.domain for node in graph.all_nodes())}
        for domain, version in model.opset_imports.items():
            if domain in used and opsets.setdefault(domain, version) != version:
                raise InvalidInput(
                    f"{name}: model {number} imports version {version} of {domain or 'ai.onnx'}, an earlier one "
                    f"{opsets[domain]}; expected one version."
                )
        ports = {value.name or "" for value in (*graph.inputs, *graph.outputs)}
        _make_unique(graph, ports, f"h{number}_")
        for value in list(graph.inputs):
            tensor = value.name or ""
            if (source := made.get(tensor, inputs.get(tensor))) is not None:
                ir.convenience.replace_all_uses_with(value, source)
                taken.add(tensor)
            else:
                inputs[tensor] = value
        made.update({value.name or "": value for value in graph.outputs})
        initializers += list(graph.initializers.values())
        inner = list(graph)
        graph.outputs.clear()
        graph.inputs.clear()
        graph.initializers.clear()
        graph.remove(inner)
        nodes += inner
    if outputs is None:
        outputs = [tensor for tensor in made if tensor not in taken]
    if unknown := [tensor for tensor in outputs if tensor not in made]:
        raise InvalidInput(f"{name}: no model makes {', '.join(unknown)}; expected some of {', '.join(made)}.")
    ends = [made[tensor] for tensor in outputs]
    graph = ir.Graph(
        list(inputs.values()), ends, nodes=nodes, initializers=initializers, opset_imports=opsets, name=name
    )
    return ir.Model(graph, ir_version=max(model.ir_version for model in copies))


def sources_of_outputs(model: ir.Model) -> dict[str, set[str]]:
    """Return the names of the model's inputs that each of its outputs depends on, in the order of the outputs."""
    inputs = {value.name or "" for value in model.graph.inputs}
    known: dict[str, set[str]] = {name: {name} for name in inputs}
    for node in model.graph:
        reached = {source for value in node.inputs if value is not None for source in known.get(value.name or "", ())}
        known.update({value.name or "": reached for value in node.outputs})
    return {value.name or "": known.get(value.name or "", set()) for value in model.graph.outputs}


def keep_outputs(model: ir.Model, names: Collection[str]) -> ir.Model:
    """Return a copy of a model that has only these of its outputs, and the inputs and nodes that they need."""
    kept = model.clone()
    graph = kept.graph
    wanted = [value for value in graph.outputs if value.name in names]
    needed = {source for name, found in sources_of_outputs(model).items() if name in names for source in found}
    graph.outputs.clear()
    graph.outputs.extend(wanted)
    RemoveUnusedNodesPass()(kept)
    inputs = [value for value in graph.inputs if value.name in needed]
    graph.inputs.clear()
    graph.inputs.extend(inputs)
    return kept


def _make_unique(graph: ir.Graph, ports: set[str], prefix: str) -> None:
    """Put a prefix before every inner tensor and node name."""
    for number, node in enumerate(graph):
        node.name = f"{prefix}{node.name or f'{node.op_type}_{number}'}"
        for value in node.outputs:
            if value.name and value.name not in ports:
                value.name = f"{prefix}{value.name}"
    for value in list(graph.initializers.values()):
        if value.name not in ports:
            value.name = f"{prefix}{value.name}"
