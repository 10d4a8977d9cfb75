"""Several models as one: where an output of one has the name of an input of a later one, they are connected."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from qonnx_core.errors import InvalidInput


def link_models(models: Sequence[ir.Model], name: str) -> ir.Model:
    """Return one model of several, connected by tensor names; the given models are not changed.

    Inputs that no earlier model makes are inputs of the whole, outputs that no later model takes are its outputs. Inner
    names get a prefix per model, so that they stay unique.

    Raises:
        InvalidInput: for no models, and for models of different operator set versions.
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
    outputs = [value for tensor, value in made.items() if tensor not in taken]
    graph = ir.Graph(
        list(inputs.values()), outputs, nodes=nodes, initializers=initializers, opset_imports=opsets, name=name
    )
    return ir.Model(graph, ir_version=max(model.ir_version for model in copies))


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
