"""Every node gets an owner: a backend by the rules, or the host before and after the hardware."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable

import onnx_ir as ir

from qonnx_core.errors import InvalidInput, Unsupported
from qonnx_core.partition.dataflow import Dataflow
from qonnx_core.partition.rules import HOST, Match, Rules, near
from qonnx_core.partition.tensors import TensorGrids
from qonnx_core.verify.quantizers import is_quantizer

_AFFINE = frozenset({"Add", "BatchNormalization", "Div", "Mul", "Sub"})
LAYER_OPS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_MOVES = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})


def matched(flow: Dataflow, match: Match, where: str) -> list[str]:
    """Return the nodes that a match names, in topological order; nodes that make constants are included by name.

    Raises:
        InvalidInput: an unknown tensor, or nothing that matches; offers near matches.
    """
    if match.name is not None:
        found = [name for name in flow.by_name if fnmatch.fnmatchcase(name, match.name)]
        if not found:
            raise InvalidInput(
                f"{where} ({match}): no node has such a name; names are those that `qonnx info` prints. "
                f"{near(match.name, list(flow.by_name))}"
            )
        return found
    if match.op_type is not None:
        found = [name for name, node in flow.by_name.items() if node.op_type == match.op_type]
        if not found:
            types = {node.op_type for node in flow.by_name.values()}
            raise InvalidInput(
                f"{where} ({match}): the model has no such operator; it has {', '.join(sorted(types))}. "
                f"{near(match.op_type, types)}"
            )
        return found
    return _region(flow, match, where)


def _region(flow: Dataflow, match: Match, where: str) -> list[str]:
    for key, tensor in (("from", match.start), ("to", match.end)):
        if tensor is None:
            continue
        if tensor not in flow.tensors:
            raise InvalidInput(
                f"{where} ({match}): {key} names no tensor of the cleaned model; expected one that `qonnx info` "
                f"prints. {near(tensor, flow.tensors)}"
            )
        if tensor not in flow.flowing:
            raise InvalidInput(
                f"{where} ({match}): {key} is a constant; expected a tensor that depends on an input. "
                "Constants follow the nodes that read them."
            )
    found = set(flow.nodes)
    if match.start is not None:
        found &= flow.downstream_of(match.start)
    if match.end is not None:
        found &= flow.upstream_of(match.end)
    if not found:
        raise InvalidInput(
            f"{where} ({match}): no path leads from the one tensor to the other, so the region is empty; expected "
            "tensors in the order of the data flow. Exchange the two, or look at `qonnx info`."
        )
    return flow.in_order(found)


def float_tail(flow: Dataflow, tensors: TensorGrids) -> set[str]:
    """Return the nodes after the last tensor that hardware has to compute: final scales, offsets, softmax.

    A node belongs to the tail when everything that reads its outputs does, and it has an output on no grid, or is a
    product, an offset or a batch normalization with constants whose result hardware would only relabel: a scale
    never changes an integer, and an offset that is no multiple of the scale is no integer addition.
    """
    tail: set[str] = set()
    for node in reversed(flow.nodes):
        moves = flow.by_name[node].op_type in _MOVES
        if all(reader in tail for reader in flow.successors[node]) and (moves or _is_final(flow, node, tensors)):
            tail.add(node)
    for node in flow.nodes:
        moves = flow.by_name[node].op_type in _MOVES and not _is_final(flow, node, tensors)
        if node in tail and moves and not any(source in tail for source in flow.predecessors[node]):
            tail.discard(node)  # data movement goes with what comes before it
    return tail


def _is_final(flow: Dataflow, node: str, tensors: TensorGrids) -> bool:
    op_type = flow.by_name[node].op_type
    used = {value.name for value in flow.by_name[node].outputs if value.uses() or value.is_graph_output()}
    outputs = [tensors.of(tensor) for tensor in flow.writes(node) if tensor in used]
    if any(isinstance(grid, str) for grid in outputs):
        return True
    if op_type not in _AFFINE or len(flow.reads(node)) != 1:
        return False
    if op_type in ("Mul", "Div"):
        return True
    return any(not isinstance(grid, str) and any(grid.offset) for grid in outputs)


def ruled(flow: Dataflow, rules: Rules) -> dict[str, str]:
    """Return who gets each node that depends on an input, by the rules alone: the first match, else the default.

    Raises:
        InvalidInput: a rule matches nothing.
    """
    owners: dict[str, str] = {}
    for number, rule in enumerate(rules.rules):
        for node in matched(flow, rule.match, f"rule {number + 1}"):
            owners.setdefault(node, rule.backend)
    return {node: owners.get(node, rules.default) for node in flow.nodes}


def assign(flow: Dataflow, rules: Rules, tensors: TensorGrids) -> tuple[dict[str, str], list[str], list[str]]:
    """Return the backend of each hardware node, and the host's nodes before and after the hardware.

    Raises:
        InvalidInput: a rule matches nothing, or has no effect.
        Unsupported: a node in the middle is ruled to the host, nothing is left for hardware, or a quantizer or matrix
            product has no integer form and is not ruled to the host.
    """
    tail = float_tail(flow, tensors)
    for number, rule in enumerate(rules.rules):
        where = f"rule {number + 1}"
        _require_effect(flow, matched(flow, rule.match, where), tail, rule.backend, where, rule.match)
    wanted = ruled(flow, rules)
    _require_integer_form(flow, tail, wanted, tensors)
    owned = {node: HOST if node in tail else owner for node, owner in wanted.items()}
    host = [node for node in flow.nodes if owned[node] == HOST]
    head, after = _split_host(flow, host)
    hardware = {node: backend for node, backend in owned.items() if backend != HOST}
    if not hardware:
        raise Unsupported(
            "partition: nothing is left for hardware, every node is the host's; expected at least one node for a "
            "backend. Give the nodes before the last quantizer to a backend."
        )
    return hardware, head, after


def _require_integer_form(flow: Dataflow, tail: set[str], wanted: dict[str, str], tensors: TensorGrids) -> None:
    """Refuse to leave hardware's work to the host because something before it has no integer form."""
    work = [node for node in flow.nodes if node in tail and wanted[node] != HOST and _is_work(flow.by_name[node])]
    if not work:
        return
    outputs = [tensor for node in flow.nodes for tensor in flow.writes(node)]
    reasons = [tensors.causes[tensor] for tensor in outputs if tensor in tensors.causes]
    raise Unsupported(
        f"partition: {', '.join(work[:4])}{' and more' if len(work) > 4 else ''} would be left to the host, because it "
        "or something before it has no integer form; expected quantizers and matrix products in hardware. Change what "
        "is named below, or give these nodes and all behind them to the host by a rule",
        list(dict.fromkeys(reasons)) or [f"{work[0]}: {tensors.of(flow.writes(work[0])[0])}"],
    )


def _is_work(node: ir.Node) -> bool:
    return is_quantizer(node) or node.op_type in LAYER_OPS


def _require_effect(
    flow: Dataflow, found: Iterable[str], tail: set[str], backend: str, where: str, match: Match
) -> None:
    dynamic = [node for node in found if node in flow.predecessors]
    if not dynamic:
        raise InvalidInput(
            f"{where} ({match}): it matches only nodes that make constants; expected nodes that depend on an input. "
            "Constants follow the nodes that read them: name those."
        )
    if backend != HOST and all(node in tail for node in dynamic):
        raise InvalidInput(
            f"{where} ({match}): {', '.join(dynamic)} comes after the last tensor on an integer grid, which the host "
            f"computes; expected nodes before it for {backend}. Remove the rule."
        )


def _split_host(flow: Dataflow, host: list[str]) -> tuple[list[str], list[str]]:
    """Return the host's nodes that come before all hardware, and those that come after all of it."""
    nodes = set(host)
    after: set[str] = set()
    for node in reversed(host):
        if all(reader in after for reader in flow.successors[node]):
            after.add(node)
    before: set[str] = set()
    for node in host:
        if node not in after and all(source in before for source in flow.predecessors[node]):
            before.add(node)
    middle = [node for node in host if node not in before and node not in after]
    if middle:
        node = middle[0]
        upstream = next(n for n in flow.predecessors[node] if n not in before)
        source = upstream if upstream not in nodes else f"{upstream} (the host's too)"
        raise Unsupported(
            f"{node} ({flow.by_name[node].op_type}): it is ruled to the host but lies between hardware, after "
            f"{source}; expected host nodes only before or after all hardware. Give it to a backend, or give "
            "everything before it or everything after it to the host too."
        )
    return [node for node in host if node in before], [node for node in host if node in after]
