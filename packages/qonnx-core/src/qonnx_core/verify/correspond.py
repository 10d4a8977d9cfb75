"""Which tensors of two graphs are the same tensor, whatever they are called and in whatever order nodes stand."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Hashable, Mapping, Sequence

import onnx_ir as ir

from qonnx_core.ir.constants import constant_tensor

_COMMUTATIVE = frozenset(("Add", "And", "Mul", "Or", "Sum", "Xor"))
_ALIASES = {"IntQuant": "Quant"}


def operator(node: ir.Node) -> str:
    """Return what a node computes: operators with two names have one here."""
    return _ALIASES.get(node.op_type, node.op_type)


def by_name(left: Sequence[str], right: Sequence[str]) -> list[int]:
    """Return for each name on the left its place on the right: that of the same name where both have the same names."""
    places = {name: place for place, name in enumerate(right)}
    if len(left) == len(places) and set(left) == places.keys():
        return [places[name] for name in left]
    return list(range(len(left)))


def corresponding(
    left: ir.Graph, right: ir.Graph, inputs: Sequence[int], outputs: Sequence[int]
) -> dict[str, str] | None:
    """Return the name on the right of every named tensor on the left; None where the graphs are not built alike.

    They are where every node has a partner of the same operator that reads and makes the partners of its tensors. The
    numbers of parameters, and attributes, may differ; where operands that commute are alike but for their parameters,
    these decide which belong together. Walks from the outputs up, once.

    Args:
        left: a cleaned graph.
        right: the other one.
        inputs: for each input on the left its place among those on the right.
        outputs: the same for outputs.
    """
    if len(left) != len(right):
        return None
    places = _places(left, right, inputs)
    forms = _forms(left, right, places)
    exact = functools.cache(lambda: _forms(left, right, places, with_numbers=True))
    pairs: dict[ir.Value, ir.Value] = {}
    taken: set[ir.Value] = set()
    nodes = 0
    todo = [(value, right.outputs[place]) for value, place in zip(left.outputs, outputs, strict=True)]
    while todo:
        mine, theirs = todo.pop()
        if mine in pairs or theirs in taken:
            if pairs.get(mine) is not theirs:
                return None
            continue
        ours, other = mine.producer(), theirs.producer()
        if ours is None or other is None:
            if ours is not other or places[0].get(mine) != places[1].get(theirs):
                return None
            pairs[mine] = theirs
            taken.add(theirs)
            continue
        if _kind(ours) != _kind(other) or mine.index() != theirs.index():
            return None
        nodes += 1
        pairs.update(zip(ours.outputs, other.outputs, strict=True))
        taken.update(other.outputs)
        operands = list(other.inputs)
        if _swapped(ours, other, forms, exact, pairs):
            operands.reverse()
        for one, two in zip(ours.inputs, operands, strict=True):
            if one is None or two is None:
                if one is not two:
                    return None
                continue
            todo.append((one, two))
    if nodes != len(left):
        return None
    return {mine.name: theirs.name for mine, theirs in pairs.items() if mine.name and theirs.name}


def computed_alike(left: ir.Graph, right: ir.Graph, inputs: Sequence[int]) -> dict[str, str]:
    """Return the name on the right of tensors on the left that are made by the same operators from the inputs on.

    They reach down to where the graphs are built otherwise. Of several tensors that are made alike the first stands
    for the first, where both graphs have as many. Arguments as in `corresponding`.
    """
    forms = _forms(left, right, _places(left, right, inputs))
    groups: list[dict[int, list[ir.Value]]] = [{}, {}]
    for graph, form, group in zip((left, right), forms, groups, strict=True):
        for value in (value for node in graph for value in node.outputs):
            group.setdefault(form[value], []).append(value)
    pairs: dict[ir.Value, ir.Value] = {}
    for key, values in groups[0].items():
        others = groups[1].get(key, [])
        if len(values) != len(others):
            continue
        for mine, theirs in zip(values, others, strict=True):
            pairs[mine] = theirs
            ours, other = mine.producer(), theirs.producer()
            if ours is None or other is None or ours.op_type in _COMMUTATIVE:
                continue
            for one, two in zip(ours.inputs, other.inputs, strict=True):
                if one is not None and two is not None and one.is_initializer() and two.is_initializer():
                    pairs[one] = two
    return {mine.name: theirs.name for mine, theirs in pairs.items() if mine.name and theirs.name}


def _places(left: ir.Graph, right: ir.Graph, inputs: Sequence[int]) -> list[dict[ir.Value, int]]:
    """Return the number of each input, the same on both sides."""
    others = _runtime_inputs(right)
    return [
        {value: i for i, value in enumerate(_runtime_inputs(left))},
        {others[place]: i for i, place in enumerate(inputs)},
    ]


def _runtime_inputs(graph: ir.Graph) -> list[ir.Value]:
    return [value for value in graph.inputs if not value.is_initializer()]


def _kind(node: ir.Node) -> tuple[str, str, int, int]:
    domain = "" if node.domain == "ai.onnx" else node.domain
    return domain, operator(node), len(node.inputs), len(node.outputs)


def _forms(
    left: ir.Graph, right: ir.Graph, places: Sequence[Mapping[ir.Value, int]], *, with_numbers: bool = False
) -> list[dict[ir.Value, int]]:
    """Return a number for each tensor: the same for tensors that are computed alike from alike ones.

    Parameters are alike that have one type and shape, and with ``with_numbers`` the same numbers.
    """
    keys: dict[Hashable, int] = {}
    found: list[dict[ir.Value, int]] = [{}, {}]

    def form(value: ir.Value | None, side: int) -> int:
        if value is None:
            return -1
        if value not in found[side]:
            place = places[side].get(value)
            key: Hashable = ("input", place)
            if place is None:
                key = (str(value.dtype), str(value.shape), _digest(value) if with_numbers else b"")
            found[side][value] = keys.setdefault(key, len(keys))
        return found[side][value]

    for side, graph in enumerate((left, right)):
        for node in graph:
            operands = [form(value, side) for value in node.inputs]
            if node.op_type in _COMMUTATIVE:
                operands.sort()
            for index, value in enumerate(node.outputs):
                found[side][value] = keys.setdefault((_kind(node), tuple(operands), index), len(keys))
    return found


def _digest(value: ir.Value) -> bytes:
    tensor = constant_tensor(value)
    if tensor is None or tensor.dtype == ir.DataType.STRING:
        return b""
    return hashlib.blake2b(tensor.tobytes()).digest()


def _swapped(
    ours: ir.Node,
    other: ir.Node,
    forms: Sequence[Mapping[ir.Value, int]],
    exact: Callable[[], Sequence[Mapping[ir.Value, int]]],
    pairs: Mapping[ir.Value, ir.Value],
) -> bool:
    """Return whether two operands that commute stand the other way round on the right."""
    first, second = ours.inputs[:2] if len(ours.inputs) == 2 else (None, None)
    if ours.op_type not in _COMMUTATIVE or first is None or second is None:
        return False
    one, two = other.inputs
    if one is None or two is None:
        return False
    mine, theirs = (forms[0][first], forms[0][second]), (forms[1][one], forms[1][two])
    if mine[0] != mine[1]:
        return mine == theirs[::-1]
    known = (pairs.get(first), pairs.get(second))
    if known != (None, None):
        return known[0] is two or known[1] is one
    exact_left, exact_right = exact()
    straight = (exact_left[first] == exact_right[one]) + (exact_left[second] == exact_right[two])
    crossed = (exact_left[first] == exact_right[two]) + (exact_left[second] == exact_right[one])
    if straight != crossed:
        return crossed > straight
    return first.name == two.name and second.name == one.name
