"""`partition`: a cleaned model becomes complete sub-models, one for each part that a backend builds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.errors import InvalidInput, Unsupported
from qonnx_core.ir.grid import Grid
from qonnx_core.partition.cut import Group, group, require_cut
from qonnx_core.partition.dataflow import Dataflow
from qonnx_core.partition.extract import extract_model
from qonnx_core.partition.owners import LAYER_OPS, assign, ruled
from qonnx_core.partition.rules import HOST, Rules, near
from qonnx_core.partition.tensors import TensorGrids, tensor_grids

Array = NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Partition:
    """Nodes that one backend builds as one block; no path leaves the set and enters it again.

    ``nodes`` are their names in topological order, those that make its constants included. ``model`` is a complete
    QONNX model whose inputs and outputs carry the tensor names of the whole, ``input_grids`` the grid of each input.
    """

    name: str
    backend: str
    nodes: tuple[str, ...]
    model: ir.Model
    input_grids: dict[str, Grid]

    @property
    def inputs(self) -> tuple[str, ...]:
        """The tensors that go in, in port order."""
        return tuple(value.name or "" for value in self.model.graph.inputs)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The tensors that come out, in port order."""
        return tuple(value.name or "" for value in self.model.graph.outputs)


@dataclass(frozen=True, slots=True)
class Partitioned:
    """A whole model in parts, in the order of the data flow, with what the host computes before and after them.

    ``head`` and ``tail`` are complete models (None where the host has nothing to do there) of the nodes in
    ``pre_nodes`` and ``post_nodes``; their inputs and outputs carry the original tensor names too.
    """

    parts: tuple[Partition, ...]
    head: ir.Model | None
    tail: ir.Model | None
    pre_nodes: tuple[str, ...]
    post_nodes: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def models(self) -> tuple[ir.Model, ...]:
        """Head, parts and tail in the order in which they are executed."""
        before = () if self.head is None else (self.head,)
        after = () if self.tail is None else (self.tail,)
        return (*before, *(part.model for part in self.parts), *after)


def partition(
    model: ir.Model, rules: Rules, input_grids: Mapping[str, Grid], *, backends: Collection[str] | None = None
) -> Partitioned:
    """Cut a cleaned model into parts, one backend each, whose composition computes the same bits as the whole.

    Args:
        model: a cleaned QONNX model; it is not changed.
        rules: who gets which nodes.
        input_grids: the grid of each model input that hardware reads.
        backends: names that rules may use besides ``host``; without it those that are installed.

    Constants follow the nodes that read them. What comes after the last tensor on an integer grid belongs to no part,
    nor do nodes ruled to the host at the start and the end.

    Raises:
        InvalidInput: unknown names in the rules, a rule without effect, or an input without a grid.
        Unsupported: a part that is not convex, a cut on a float tensor, or host nodes in the middle.
    """
    if backends is None:
        from qonnx_core import plugins

        backends = plugins.names("backends")
    rules.require_backends(backends)
    flow = Dataflow(model)
    unknown = [name for name in input_grids if name not in flow.inputs]
    if unknown:
        raise InvalidInput(
            f"grid of {unknown[0]}: the model has no such input; expected {' or '.join(flow.inputs)}. "
            f"{near(unknown[0], flow.inputs)}"
        )
    missing = [name for name in flow.inputs if name not in input_grids]
    _require_input_grids(flow, ruled(flow, rules), missing)
    tensors = tensor_grids(model, input_grids, missing)
    owners, head, tail = assign(flow, rules, tensors)
    groups = group(flow, owners)
    labels = dict.fromkeys((*head, *tail), HOST)
    names = [f"{number}_{part.backend}" for number, part in enumerate(groups)]
    for name, part in zip(names, groups, strict=True):
        labels |= dict.fromkeys(part.nodes, name)
    _require_cuts(flow, tensors, labels, set(tail))
    parts = tuple(_part(flow, tensors, name, part) for name, part in zip(names, groups, strict=True))
    return Partitioned(
        parts,
        _host_model(flow, head, "host_head"),
        _host_model(flow, tail, "host_tail"),
        tuple(head),
        tuple(tail),
        tuple(flow.outputs),
    )


def default_mixed_rules(
    model: ir.Model, input_grids: Mapping[str, Grid] | None = None, first: str = "finn", second: str = "hls4ml"
) -> Rules:
    """Return the split of ``--backend mixed`` without rules: the first layer for one backend, the rest for the other.

    The cut is at the first activation quantizer that follows a matrix product and has another one after it.
    ``input_grids`` is not needed for that and accepted so that callers need not care.

    Raises:
        Unsupported: the model has no such quantizer.
    """
    del input_grids
    from qonnx_core.verify.quantizers import is_quantizer

    flow = Dataflow(model)
    layers = {name for name in flow.nodes if flow.by_name[name].op_type in LAYER_OPS}
    for name in flow.nodes:
        if not is_quantizer(flow.by_name[name]):
            continue
        (tensor,) = flow.writes(name)
        before, after = flow.upstream_of(tensor), flow.downstream_of(tensor)
        if layers & before and layers & after and layers <= before | after:
            return Rules.split_after(tensor, first, second)
    raise Unsupported(
        "partition: found no quantizer between two matrix products; expected one to split the model at. "
        "Say in a rules file which nodes go where, or build for one backend."
    )


def compose(partitioned: Partitioned, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return the outputs of the whole model, computed part by part, head and tail included."""
    from qonnx_core import compile_model

    values: dict[str, Array] = dict(inputs)
    for model in partitioned.models:
        given = {value.name or "": values[value.name or ""] for value in model.graph.inputs}
        values.update(compile_model(model).run(given))
    return {name: values[name] for name in partitioned.outputs}


def _require_input_grids(flow: Dataflow, owners: Mapping[str, str], missing: Collection[str]) -> None:
    for tensor in missing:
        readers = [node for node in flow.consumers.get(tensor, []) if owners[node] != HOST]
        if readers:
            raise InvalidInput(
                f"input {tensor}: found no grid for it, but {readers[0]} ({owners[readers[0]]}) reads it; expected an "
                f"integer grid. Give one with --input-type {tensor}=TYPE, for example UINT8*1/255 or FIXED<16,6>."
            )


def _require_cuts(flow: Dataflow, tensors: TensorGrids, labels: Mapping[str, str], tail: set[str]) -> None:
    """Check every tensor that crosses from one owner to another."""
    for tensor in (tensor for node in flow.nodes for tensor in flow.writes(node)):
        readers = [node for node in flow.consumers.get(tensor, []) if node in labels]
        hardware = sorted({labels[node] for node in readers if labels[node] != HOST})
        giver = labels[flow.producer[tensor]]
        takers = [name for name in hardware if name != giver]
        if takers:
            require_cut(flow, tensors, tensor, _side(giver), takers, wire=True)
        if giver != HOST and any(node in tail for node in readers):
            require_cut(flow, tensors, tensor, giver, ["the host"], wire=False)


def _side(label: str) -> str:
    return "the host" if label == HOST else label


def _part(flow: Dataflow, tensors: TensorGrids, name: str, part: Group) -> Partition:
    inputs, outputs = _ports(flow, part.nodes)
    on_grid = {tensor: grid for tensor in inputs if isinstance(grid := tensors.of(tensor), Grid)}
    model = extract_model(flow, part.nodes, inputs, outputs, name=name, grids=on_grid)
    nodes = flow.in_order({*part.nodes, *flow.constants_of(part.nodes)})
    return Partition(name, part.backend, tuple(nodes), model, on_grid)


def _host_model(flow: Dataflow, nodes: list[str], name: str) -> ir.Model | None:
    if not nodes:
        return None
    inputs, outputs = _ports(flow, nodes)
    return extract_model(flow, nodes, inputs, outputs, name=name)


def _ports(flow: Dataflow, nodes: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the tensors that enter and leave a set of nodes, in order of first use and of production."""
    inside = list(nodes)
    members = set(inside)
    made = [tensor for node in inside for tensor in flow.writes(node)]
    own = set(made)
    inputs = [tensor for node in inside for tensor in flow.reads(node) if tensor not in own]
    outputs = [
        tensor
        for tensor in made
        if tensor in flow.outputs or any(reader not in members for reader in flow.consumers.get(tensor, []))
    ]
    outputs.sort(key=lambda tensor: flow.outputs.index(tensor) if tensor in flow.outputs else len(flow.outputs))
    order = {tensor: position for position, tensor in enumerate(flow.inputs)}
    return sorted(dict.fromkeys(inputs), key=lambda tensor: order.get(tensor, len(order))), outputs
