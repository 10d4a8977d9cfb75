"""Parts of a model as files of their own, each behind one GenericPartition node, and back again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import onnx_ir as ir

from qonnx_core.errors import InvalidInput, InvalidModel, Unsupported
from qonnx_core.formats.nested_models import PARTITION, confine_nested_models, inline_nested_models
from qonnx_core.formats.normalize import normalized_copy
from qonnx_core.formats.writer import save
from qonnx_core.ir.annotations import merge_annotations
from qonnx_core.ir.graphs import reads_of
from qonnx_core.ir.names import label_of
from qonnx_core.ir.verify import verify
from qonnx_core.ops.op import DOMAIN
from qonnx_core.passes.base import has_graphs
from qonnx_core.passes.infer_shapes import InferShapes

Assign = Callable[[ir.Node], str | None] | Mapping[str, str]
_LABEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_ORDER = "qonnx_core.order"  # entry of the graph's metadata: first outputs of all nodes, and initializers, as they were


def extract_partitions(model: ir.Model, assign: Assign, folder: Path) -> ir.Model:
    """Return the model with one GenericPartition node for each label, and write the labelled parts into the folder.

    The part of label ``a`` is the file ``a.onnx``, a complete model whose inputs and outputs have the names of the
    tensors that cross its border. Nodes that make constants for one part alone, such as quantizers of weights, go with
    it. The returned model runs as it is; to keep it, save it in the same folder. :func:`insert_partitions` undoes it.

    Args:
        model: the model; it is not changed.
        assign: says for each node to which part it goes, None for none: a function of the node, or ``{node name:
            label}``. Labels become file names: letters, digits, underscore, dot, hyphen.
        folder: an existing folder.

    Raises:
        InvalidInput: a label is no file name, a node of the mapping does not exist, or the folder cannot be written.
        Unsupported: a part is not convex: a path leaves it and comes back; names the nodes on the path.
        InvalidModel: the model breaks its format.
    """
    copy = normalized_copy(model)
    InferShapes().run(copy)
    order = _order(copy)
    parts = _parts(copy.graph, assign)
    outermost = _outermost(copy.graph)
    _require_order(copy.graph, parts, outermost)
    nested = [node for node in copy.graph if has_graphs(node)]
    children = {label: _cut_out(copy, label, nodes, outermost, nested) for label, nodes in parts.items()}
    if parts:
        copy.graph.metadata_props[_ORDER] = json.dumps(order)
        copy.opset_imports.setdefault(DOMAIN, 1)
    copy.graph.sort()
    for label, child in children.items():
        save(child, folder / f"{label}.onnx")
    confine_nested_models(copy, folder)
    verify(copy)
    return copy


def insert_partitions(model: ir.Model) -> ir.Model:
    """Return the model with the models that its GenericPartition nodes name in their places.

    What :func:`extract_partitions` took out comes back under the same names and in the same order, so that the cleaned
    model has the same bytes as before.

    Raises:
        InvalidModel: a model is missing, breaks its format, or does not fit its node.
        Unsupported: the model was not read from a file, or two models import different versions of a domain.
    """
    copy = normalized_copy(model, nested=False)
    inline_nested_models(copy, keep_names=True)
    text = copy.graph.metadata_props.pop(_ORDER, None)
    if text is not None:
        _restore(copy, text)
    verify(copy)
    return copy


def _order(model: ir.Model) -> dict[str, list[str]]:
    nodes = [node.outputs[0].name or "" for node in model.graph if node.outputs]
    return {"nodes": nodes, "initializers": list(model.graph.initializers), "domains": list(model.opset_imports)}


def _restore(model: ir.Model, text: str) -> None:
    """Bring nodes and initializers into the order that was noted, as far as it still applies."""
    graph = model.graph
    try:
        order = json.loads(text)
        places = {name: number for number, name in enumerate(order["nodes"])}
        stored = {name: number for number, name in enumerate(order["initializers"])}
        added = {DOMAIN} - set(order["domains"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidModel(
            f"graph {graph.name}: its metadata {_ORDER} is no list of names; expected what extract_partitions wrote. "
            "Remove it."
        ) from error
    nodes = list(graph)
    names = [node.outputs[0].name or "" if node.outputs else "" for node in nodes]
    if all(name in places for name in names):
        number = {node: places[name] for node, name in zip(nodes, names, strict=True)}
        graph.remove(nodes)
        graph.extend(sorted(nodes, key=number.__getitem__))
        graph.sort()
    for domain in added - {node.domain for each in model.graphs() for node in each}:
        model.opset_imports.pop(domain, None)
    values = sorted(graph.initializers.values(), key=lambda value: stored.get(value.name or "", len(stored)))
    for value in values:
        graph.initializers.pop(value.name or "")
    for value in values:
        graph.register_initializer(value)


def _parts(graph: ir.Graph, assign: Assign) -> dict[str, list[ir.Node]]:
    """Return the nodes of each label in the order of the graph, constants for one part alone included."""
    if isinstance(assign, Mapping):
        names = {node.name for node in graph}
        missing = [name for name in assign if name not in names]
        if missing:
            raise InvalidInput(f"partition: {missing[0]!r} is no node of the model; expected names of its nodes.")
    labels: dict[ir.Node, str] = {}
    for node in graph:
        label = assign.get(node.name or "") if isinstance(assign, Mapping) else assign(node)
        if label is None:
            continue
        if _LABEL.fullmatch(label) is None:
            raise InvalidInput(
                f"partition: {label!r} is no label; expected up to 100 letters, digits, underscores, dots and hyphens."
            )
        labels[node] = label
    running = _running(graph)
    outermost = _outermost(graph)
    for node in reversed(list(graph)):  # constants follow their only reader
        if node in labels or node in running:
            continue
        if any(value.is_graph_output() for value in node.outputs):
            continue
        readers = {labels.get(outermost[use.node]) for value in node.outputs for use in value.uses()}
        if len(readers) == 1 and (label := next(iter(readers))) is not None:
            labels[node] = label
    parts: dict[str, list[ir.Node]] = {}
    for node in graph:
        if node in labels:
            parts.setdefault(labels[node], []).append(node)
    return parts


def _running(graph: ir.Graph) -> set[ir.Node]:
    """Return the nodes that depend on an input of the graph; those with inner graphs count as such."""
    known: set[ir.Value] = set(graph.inputs)
    running: set[ir.Node] = set()
    for node in graph:
        if has_graphs(node) or any(value in known for value in node.inputs):
            running.add(node)
            known.update(node.outputs)
    return running


def _outermost(graph: ir.Graph) -> dict[ir.Node, ir.Node]:
    """Return, for every node, the node of the graph in which it is: itself or one with inner graphs."""
    found: dict[ir.Node, ir.Node] = {}
    for node in graph:
        found[node] = node
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH and not attribute.is_ref():
                for inner in (attribute.as_graph(), *attribute.as_graph().subgraphs()):
                    found.update(dict.fromkeys(inner, node))
    return found


def _require_order(graph: ir.Graph, parts: Mapping[str, list[ir.Node]], outermost: Mapping[ir.Node, ir.Node]) -> None:
    """Refuse parts of which none can run first; linear in the graph, and the reason is looked for only then."""
    blocks = {node: label for label, nodes in parts.items() for node in nodes}
    waits: dict[ir.Node | str, int] = {blocks.get(node, node): 0 for node in graph}
    after: dict[ir.Node | str, set[ir.Node | str]] = {block: set() for block in waits}
    for node in graph:
        block = blocks.get(node, node)
        for value in dict.fromkeys(reads_of(node)):
            producer = value.producer()
            source = None if producer is None else outermost.get(producer)
            before = None if source is None else blocks.get(source, source)
            if before is not None and before != block and block not in after[before]:
                after[before].add(block)
                waits[block] += 1
    ready = [block for block, count in waits.items() if count == 0]
    done = 0
    while ready:
        done += 1
        for block in after[ready.pop()]:
            waits[block] -= 1
            if waits[block] == 0:
                ready.append(block)
    if done == len(waits):
        return
    for label, nodes in parts.items():
        _require_convex(graph, label, nodes, outermost)
    raise Unsupported(
        "partition: two parts need each other's results, so neither can run first; expected a flow from part to part. "
        "Cut one of them in two."
    )


def _require_convex(
    graph: ir.Graph, label: str, nodes: Iterable[ir.Node], outermost: Mapping[ir.Node, ir.Node]
) -> None:
    """Refuse a part that a path leaves and enters again; one sweep over the graph."""
    inside = set(nodes)
    before: dict[ir.Node, ir.Node] = {}  # an outside node behind the part, and the node that it reads it from
    for node in graph:
        for value in dict.fromkeys(reads_of(node)):
            source = value.producer()
            source = None if source is None else outermost.get(source)
            if source is None or source is node:
                continue
            if node not in inside and (source in inside or source in before):
                before.setdefault(node, source)
            elif node in inside and source in before:
                path = [source]
                while before[path[-1]] not in inside:
                    path.append(before[path[-1]])
                between = ", ".join(label_of(each) for each in reversed(path))
                raise Unsupported(
                    f"partition {label}: a path leaves it at {_name(before[path[-1]])}, goes through {between} and "
                    f"comes back at {_name(node)}; expected no path that leaves a part and enters it again. Give what "
                    "is between to the part too, or cut it in two."
                )


def _name(node: ir.Node) -> str:
    return node.name or node.outputs[0].name or node.op_type


def _cut_out(
    model: ir.Model,
    label: str,
    nodes: list[ir.Node],
    outermost: Mapping[ir.Node, ir.Node],
    nested: Iterable[ir.Node],
) -> ir.Model:
    """Move the nodes into a model of their own and put a GenericPartition in their place; return that model."""
    graph, inside = model.graph, set(nodes)
    own = {value for node in nodes for value in node.outputs}
    needed = [
        value for node in nodes for value in dict.fromkeys(reads_of(node)) if value.graph is graph and value not in own
    ]
    reads = [value for value in dict.fromkeys(needed) if not value.is_initializer()]
    parameters = [value for value in dict.fromkeys(needed) if value.is_initializer()]
    given = [
        value
        for node in nodes
        for value in node.outputs
        if value.is_graph_output() or any(outermost.get(use.node) not in inside for use in value.uses())
    ]
    place = ir.node(
        PARTITION, reads, {"model": f"{label}.onnx"}, domain=DOMAIN, num_outputs=len(given), name=label
    )  # fmt: skip
    graph.insert_after(nodes[-1], place)
    for old, new in zip(given, place.outputs, strict=True):
        new.name, new.type, new.shape = old.name, old.type, old.shape
        merge_annotations(old, new)
        for index, output in enumerate(graph.outputs):
            if output is old:
                graph.outputs[index] = new
        for use in list(old.uses()):
            if outermost.get(use.node) not in inside:
                use.node.replace_input_with(use.idx, new)
    for inner in [inner for node in nested if node not in inside for inner in _inner_graphs(node)]:
        _swap_outputs(inner, dict(zip(given, place.outputs, strict=True)))
    inputs: dict[ir.Value, ir.Value] = {}
    for value in (*reads, *parameters):
        twin = ir.Value(name=value.name, type=value.type, shape=value.shape, const_value=value.const_value)
        twin.metadata_props.update(value.metadata_props)
        merge_annotations(value, twin)
        inputs[value] = twin
        for use in list(value.uses()):
            if outermost.get(use.node) in inside:
                use.node.replace_input_with(use.idx, twin)
    for inner in [inner for node in nodes for inner in _inner_graphs(node)]:
        _swap_outputs(inner, inputs)
    graph.remove(nodes)
    for value in parameters:
        if not value.uses() and not value.is_graph_output():
            graph.initializers.pop(value.name or "")
    child = ir.Graph(
        [inputs[value] for value in reads],
        given,
        nodes=nodes,
        initializers=[inputs[value] for value in parameters],
        opset_imports=dict(model.opset_imports),
        name=label,
    )
    return ir.Model(child, ir_version=model.ir_version, producer_name=model.producer_name)


def _inner_graphs(node: ir.Node) -> list[ir.Graph]:
    found = []
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH and not attribute.is_ref():
            found += [attribute.as_graph(), *attribute.as_graph().subgraphs()]
    return [graph for graph in found if isinstance(graph, ir.Graph)]


def _swap_outputs(graph: ir.Graph, replaced: Mapping[ir.Value, ir.Value]) -> None:
    for index, value in enumerate(graph.outputs):
        if value in replaced:
            graph.outputs[index] = replaced[value]
