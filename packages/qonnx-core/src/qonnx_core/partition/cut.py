"""From owners to parts: contiguous groups of one backend, and the tensors on which the model may be cut."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from qonnx_core.errors import Unsupported
from qonnx_core.partition.dataflow import Dataflow
from qonnx_core.partition.tensors import TensorGrids


@dataclass(frozen=True, slots=True)
class Group:
    """Nodes of one backend that become one part, in topological order."""

    backend: str
    nodes: tuple[str, ...]


def group(flow: Dataflow, owners: Mapping[str, str]) -> list[Group]:
    """Return the parts in the order of the data flow: the largest connected groups of one backend.

    Groups of one backend that read the same tensor become one part where that leaves every part convex.

    Raises:
        Unsupported: a path leaves a group and comes back; names it, and what would fix it.
    """
    roots = {node: node for node in owners}

    def root(node: str) -> str:
        while roots[node] != node:
            roots[node] = roots[roots[node]]
            node = roots[node]
        return node

    def members() -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for node in flow.nodes:
            if node in owners:
                found.setdefault(root(node), []).append(node)
        return found

    for node in flow.nodes:
        for reader in flow.successors[node]:
            if node in owners and reader in owners and owners[node] == owners[reader]:
                roots[root(reader)] = root(node)
    for nodes in members().values():
        _require_convex(flow, owners, nodes)
    readers_of = {tensor: [n for n in flow.consumers.get(tensor, []) if n in owners] for tensor in sorted(flow.flowing)}
    for readers in readers_of.values():
        for first, second in itertools.pairwise(readers):
            if owners[first] == owners[second] and root(first) != root(second):
                before = dict(roots)
                roots[root(second)] = root(first)
                if _order(flow, members()) is None:
                    roots.clear()
                    roots.update(before)
    parts = members()
    order = _order(flow, parts)
    if order is None:
        raise Unsupported(
            "partition: two parts need each other's results, so neither can go first; expected a flow from part to "
            "part. Give the nodes that connect two branches inside one part to the other backend."
        )
    return [Group(owners[parts[name][0]], tuple(parts[name])) for name in order]


def _order(flow: Dataflow, parts: Mapping[str, list[str]]) -> list[str] | None:
    """Return the parts in topological order, the one with the earliest node first; None where they form a cycle."""
    owner = {node: name for name, nodes in parts.items() for node in nodes}
    needs: dict[str, set[str]] = {name: set() for name in parts}
    for name, nodes in parts.items():
        for node in nodes:
            for reader in flow.successors[node]:
                if reader in owner and owner[reader] != name:
                    needs[owner[reader]].add(name)
    done: list[str] = []
    waiting = sorted(parts, key=lambda name: flow.position[parts[name][0]])
    while waiting:
        ready = next((name for name in waiting if needs[name] <= set(done)), None)
        if ready is None:
            return None
        waiting.remove(ready)
        done.append(ready)
    return done


def _require_convex(flow: Dataflow, owners: Mapping[str, str], nodes: Iterable[str]) -> None:
    inside = set(nodes)
    for start in flow.in_order(inside):
        for first in flow.successors[start]:
            if first in inside:
                continue
            path = _path_back(flow, first, inside)
            if path is None:
                continue
            backend = owners[start]
            between = ", ".join(f"{node} ({owners.get(node, 'host')})" for node in path[:-1])
            raise Unsupported(
                f"partition: the {backend} part with {start} is not convex: a path leaves it at {start}, goes through "
                f"{between} and comes back at {path[-1]}; expected no path that leaves a part and enters it again. "
                f"Give {', '.join(path[:-1])} to {backend} too, or give {path[-1]} and what comes after it to another "
                "backend."
            )


def _path_back(flow: Dataflow, first: str, inside: set[str]) -> list[str] | None:
    """Return the shortest path from an outside node back into the group, the entering node last."""
    came_from: dict[str, str | None] = {first: None}
    waiting = [first]
    while waiting:
        node = waiting.pop(0)
        for reader in flow.successors[node]:
            if reader in came_from:
                continue
            came_from[reader] = node
            if reader in inside:
                path: list[str] = []
                step: str | None = reader
                while step is not None:
                    path.append(step)
                    step = came_from[step]
                return path[::-1]
            waiting.append(reader)
    return None


def require_cut(
    flow: Dataflow, tensors: TensorGrids, tensor: str, giver: str, takers: Iterable[str], *, wire: bool
) -> None:
    """Check that the model may be cut at a tensor: it lies on a grid (without an offset where it goes on a wire).

    ``giver`` and ``takers`` name the two sides in the error.

    Raises:
        Unsupported: names the tensor, why it is no cut, and the nearest tensors up- and downstream that are.
    """
    reason = tensors.obstacle(tensor, wire=wire)
    if reason is None:
        return

    def legal(name: str) -> bool:
        return tensors.obstacle(name, wire=wire) is None

    up = _nearest(flow, tensor, legal, upstream=True)
    down = _nearest(flow, tensor, legal, upstream=False)
    choices = [f"{', '.join(up)} before it"] if up else []
    choices += [f"{', '.join(down)} after it"] if down else []
    producer = flow.producer.get(tensor)
    made_by = f", made by {producer} ({flow.by_name[producer].op_type})," if producer is not None else ""
    advice = f"Cut at {' or at '.join(choices)}." if choices else "Give the whole model to one backend."
    raise Unsupported(
        f"partition: the cut between {giver} and {' and '.join(takers)} is at {tensor}{made_by} where {reason}; "
        f"expected a tensor on an integer grid, right after a quantizer or on an accumulator. {advice}"
    )


def _nearest(flow: Dataflow, tensor: str, legal: Callable[[str], bool], *, upstream: bool) -> list[str]:
    """Return the nearest legal tensors in one direction, at most three: the first one met on each path."""
    found: list[str] = []
    seen = {tensor}
    waiting = [tensor]
    while waiting and len(found) < 3:
        current = waiting.pop(0)
        if upstream:
            producer = flow.producer.get(current)
            around = flow.reads(producer) if producer is not None and producer in flow.predecessors else []
        else:
            around = [out for node in flow.consumers.get(current, []) for out in flow.writes(node)]
        for name in around:
            if name in seen:
                continue
            seen.add(name)
            if legal(name):
                found.append(name)
            else:
                waiting.append(name)
    return found
