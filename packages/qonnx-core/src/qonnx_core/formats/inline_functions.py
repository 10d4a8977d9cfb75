"""Puts the functions that a model brings along in place of their calls, in time linear in the nodes that come out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx_ir as ir
from onnx_ir.convenience import replace_nodes_and_values

from qonnx_core.errors import InvalidModel
from qonnx_core.ir.graphs import graphs_in, graphs_of
from qonnx_core.ir.names import numbered_name

_LONGEST_BASE = 100  # characters of a name that its copies keep: a thousand copies of a long text are a lot of memory


def inline_functions(model: ir.Model) -> None:
    """Replace each call by the nodes of its function, in place, and remove the functions.

    The functions have passed ``check_functions``: they come to an end, and what comes out is bounded. Attributes that
    stand for one of the function take what the call gives, else the function's default, else they are left out. A name
    stays where it is free; every other copy gets a number.

    Raises:
        InvalidModel: a function returns an input that its call leaves out.
    """
    for written in model.functions.values():
        for domain, version in written.opset_imports.items():
            model.opset_imports.setdefault(domain, version)
    values: set[str] = set()
    nodes: set[str] = set()
    waiting = graphs_of(model)
    for graph in waiting:
        values.update(value.name or "" for value in (*graph.inputs, *graph.initializers.values()))
        values.update(value.name or "" for node in graph for value in node.outputs)
        nodes.update(node.name or "" for node in graph)
    while waiting:
        graph = waiting.pop()
        for node in graph:
            function = model.functions.get(node.op_identifier())
            if function is None:
                waiting.extend(graphs_in(node))
                continue
            made, results = _Copy(node, function, values, nodes).nodes()
            replace_nodes_and_values(
                graph,
                insertion_point=node,
                old_nodes=[node],
                new_nodes=made,
                old_values=node.outputs,
                new_values=results,
            )
    model.functions.clear()


def _free(name: str, taken: set[str]) -> str:
    """Return the name, with a number where it is taken; it is taken from now on."""
    found = numbered_name(name[:_LONGEST_BASE], taken, first=2) if name in taken else name
    taken.add(found)
    return found


class _Copy:
    """The nodes of a function for one call of it."""

    def __init__(self, call: ir.Node, function: ir.Function, values: set[str], nodes: set[str]) -> None:
        self._call = call
        self._function = function
        self._value_names = values
        self._node_names = nodes
        given = [*call.inputs, *[None] * (len(function.inputs) - len(call.inputs))]
        self._values: dict[ir.Value, ir.Value | None] = dict(zip(function.inputs, given, strict=True))
        defaults = {name: attribute for name, attribute in function.attributes.items() if attribute.value is not None}
        self._attributes: Mapping[str, ir.Attr] = {**defaults, **call.attributes}

    def nodes(self) -> tuple[list[ir.Node], list[ir.Value]]:
        """Return the nodes and what takes the place of the outputs of the call, each made by one of the nodes."""
        made = [self._node(node) for node in self._function]
        own = {value for node in made for value in node.outputs}
        results: list[ir.Value] = []
        for output in self._function.outputs:
            value = self._result(output)
            if value not in own:  # an input of the function, or a second output of one name
                passed = ir.node("Identity", [value], name=_free("node", self._node_names))
                passed.outputs[0].name = _free("val", self._value_names)
                made.append(passed)
                value = passed.outputs[0]
            own.discard(value)
            results.append(value)
        return made, results

    def _result(self, value: ir.Value) -> ir.Value:
        found = self._values.get(value, value)
        if found is None:
            raise InvalidModel(
                f"{self._call.name or self._call.op_type} ({self._call.op_type}): leaves out input {value.name!r}, "
                "which its function returns; expected a tensor. Give the call that input."
            )
        return found

    def _node(self, node: ir.Node) -> ir.Node:
        inputs = [None if value is None else self._values.get(value, value) for value in node.inputs]
        attributes = [found for name, value in node.attributes.items() if (found := self._attribute(name, value))]
        copy = ir.Node(
            node.domain,
            node.op_type,
            inputs,
            attributes,
            overload=node.overload,
            num_outputs=len(node.outputs),
            name=_free(node.name or "node", self._node_names),
            doc_string=node.doc_string,
            metadata_props={**self._call.metadata_props, **node.metadata_props},
        )
        copy.meta.update(node.meta)
        for old, new in zip(node.outputs, copy.outputs, strict=True):
            self._describe(old, new)
        return copy

    def _describe(self, old: ir.Value, new: ir.Value) -> None:
        """Give the copy of a value what the value has, and a name of its own; an output that is left out has none."""
        new.name = old.name if old.name == "" else _free(old.name or "val", self._value_names)
        new.type = old.type
        new.shape = None if old.shape is None else old.shape.copy()
        new.const_value = old.const_value
        new.doc_string = old.doc_string
        new.metadata_props.update(old.metadata_props)
        new.meta.update(old.meta)
        self._values[old] = new

    def _attribute(self, name: str, attribute: ir.Attr) -> ir.Attr | None:
        if attribute.is_ref():
            given = self._attributes.get(attribute.ref_attr_name or "")
            return None if given is None else ir.Attr(name, given.type, given.value, doc_string=given.doc_string)
        if attribute.type == ir.AttributeType.GRAPH:
            return ir.Attr(name, attribute.type, self._graph(attribute.as_graph()))
        if attribute.type == ir.AttributeType.GRAPHS:
            return ir.Attr(name, attribute.type, [self._graph(graph) for graph in attribute.as_graphs()])
        return attribute

    def _graph(self, graph: ir.Graph) -> ir.Graph:
        inputs, initializers = self._fresh(graph.inputs), self._fresh(graph.initializers.values())
        nodes = [self._node(node) for node in graph]
        return ir.Graph(
            inputs,
            [self._result(value) for value in graph.outputs],
            nodes=nodes,
            initializers=initializers,
            doc_string=graph.doc_string,
            opset_imports=graph.opset_imports.copy(),
            name=graph.name,
            metadata_props=dict(graph.metadata_props),
        )

    def _fresh(self, values: Iterable[ir.Value]) -> list[ir.Value]:
        made = []
        for value in values:
            known = self._values.get(value)
            if known is None:
                known = ir.Value()
                self._describe(value, known)
            made.append(known)
        return made
