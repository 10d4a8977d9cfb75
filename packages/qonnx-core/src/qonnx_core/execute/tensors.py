"""Which tensors of a model can be asked for: by name, or many at once by pattern."""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Iterable

import onnx_ir as ir

from qonnx_core.errors import InvalidInput
from qonnx_core.ir.names import label_of
from qonnx_core.passes.base import has_graphs

_MAKE_SEQUENCES = frozenset((
    "Optional", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceMap",
    "SplitToSequence",
))  # fmt: skip
_PATTERN = re.compile(r"[*?\[]")


class Tensors:
    """The tensors of a model that a session can return.

    Attributes:
        names: inputs, parameters and what the nodes of the main graph compute, in this order.
        dependent: names of those that depend on the inputs, as those do that nodes with inner graphs compute; the
            others are the same in every run.
    """

    def __init__(self, graph: ir.Graph) -> None:
        computed: list[str | None] = [value.name for value in graph.inputs]
        sequences: list[str | None] = []
        dependent: set[ir.Value | None] = set(graph.inputs)
        for node in graph:
            outputs = node.outputs
            for value in outputs:
                (computed if _is_tensor(value) else sequences).append(value.name)
            if not dependent.isdisjoint(node.inputs) or has_graphs(node):
                dependent.update(outputs)
        self._sequences = frozenset(name for name in sequences if name)
        self._computed = tuple([name for name in computed if name])
        self.names = tuple(dict.fromkeys((*self._computed[: len(graph.inputs)], *graph.initializers, *self._computed)))
        self.dependent = frozenset([value.name or "" for value in dependent if value is not None])
        self._known = frozenset(self.names)
        self._inner = _names_inside(graph)

    @property
    def activations(self) -> tuple[str, ...]:
        """The names of the tensors that are computed from the inputs, inputs included, in the order of the graph."""
        return tuple(name for name in self._computed if name in self.dependent)

    def select(self, wanted: str | Iterable[str]) -> tuple[str, ...]:
        """Return the names of the tensors, each one once, in the order asked for.

        A name that exists stands for itself. Otherwise ``*``, ``?`` and ``[...]`` match as in file names, with case:
        inputs and computed tensors, or parameters where only those match.

        Raises:
            InvalidInput: nothing has this name or matches; says so where it is a tensor inside a branch or a loop, or a
                sequence of tensors.
        """
        found: dict[str, None] = {}
        for name in (wanted,) if isinstance(wanted, str) else wanted:
            if name in self._sequences:
                raise InvalidInput(
                    f"tensor {name!r}: is a sequence of tensors; expected a single one. Ask for what reads it."
                )
            found.update(dict.fromkeys((name,) if name in self._known else self._matching(name)))
        return tuple(found)

    def _matching(self, name: str) -> list[str]:
        if _PATTERN.search(name):
            fits = re.compile(fnmatch.translate(name)).match
            computed = [tensor for tensor in self._computed if fits(tensor)]
            found = computed or [tensor for tensor in self.names if fits(tensor)]
            if found:
                return found
            inside = next((tensor for tensor in self._inner if fits(tensor)), None)
        else:
            inside = name if name in self._inner else None
        if inside is not None:
            raise InvalidInput(
                f"tensor {name!r}: {inside} is inside {self._inner[inside]}, which may compute it never or many times; "
                "expected a tensor of the main graph. Make it an output of that node, or ask for the node's outputs."
            )
        near = difflib.get_close_matches(name, self.names, n=4) or list(self.names[:4])
        raise InvalidInput(
            f"tensor {name!r}: the model computes none of this name (shapes are known ahead); expected one of "
            f"its {len(self.names)} tensors, such as {', '.join(near)}. Check the spelling."
        )


def _is_tensor(value: ir.Value) -> bool:
    """Return whether the value is an array, not a sequence of arrays; what has no known type counts as one."""
    producer = value.producer()
    if producer is not None and producer.op_type in _MAKE_SEQUENCES and producer.domain in ("", "ai.onnx"):
        return False
    kind = value.type
    if kind is None or type(kind) is ir.TensorType:  # the usual ones; asking a protocol takes longer
        return True
    return not isinstance(kind, ir.SequenceType | ir.OptionalType)


def named_values(graph: ir.Graph) -> dict[str, ir.Value]:
    """Return the inputs, parameters and computed values of a graph under their names."""
    values = [*graph.inputs, *graph.initializers.values(), *(output for node in graph for output in node.outputs)]
    return {value.name: value for value in values if value.name}


def _graphs_of(attribute: ir.Attr) -> Iterable[ir.Graph]:
    if attribute.is_ref():
        return ()
    if attribute.type == ir.AttributeType.GRAPH:
        return (attribute.as_graph(),)
    return attribute.as_graphs() if attribute.type == ir.AttributeType.GRAPHS else ()


def _names_inside(graph: ir.Graph) -> dict[str, str]:
    """Return the values of all graphs inside nodes, each with the node of the main graph that it is in."""
    found: dict[str, str] = {}
    for node in graph:
        if not has_graphs(node):
            continue
        where = label_of(node)
        for attribute in node.attributes.values():
            for inner in _graphs_of(attribute):
                found.update(dict.fromkeys((*named_values(inner), *_names_inside(inner)), where))
    return found
