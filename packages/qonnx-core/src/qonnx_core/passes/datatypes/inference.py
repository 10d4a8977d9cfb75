"""Walks a model and applies the rule of every node."""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx_ir as ir

from qonnx_core.ir.annotations import get_datatype
from qonnx_core.ir.constants import constant_array
from qonnx_core.ir.datatypes import DataType, Kind
from qonnx_core.ops.registry import op_of
from qonnx_core.passes.base import has_graphs, is_standard
from qonnx_core.passes.datatypes import arithmetic, movement, products, quantizers
from qonnx_core.passes.datatypes.call import Call
from qonnx_core.passes.datatypes.facts import (
    Fact,
    NotInferred,
    Numbers,
    from_array,
    from_container,
    from_datatype,
    united,
)

RULES: dict[str, movement.Rule] = {**movement.RULES, **arithmetic.RULES, **products.RULES, **quantizers.RULES}
_FLOAT_KINDS = frozenset((Kind.FLOAT32, Kind.FLOAT16))


@dataclass
class Inference:
    """The facts that follow by rules, what tensors say by themselves, and reasons where neither is there."""

    facts: dict[ir.Value, Fact] = field(default_factory=dict)
    reasons: dict[ir.Value, str] = field(default_factory=dict)
    given: dict[ir.Value, Fact | None] = field(default_factory=dict)

    def fact_of(self, value: ir.Value | None) -> Fact | None:
        """Return what is known of a value: by a rule, by the user's annotation, by its constant or its integer type."""
        if value is None:
            return None
        if value in self.facts:
            return self.facts[value]
        if value not in self.given:
            self.given[value] = _given(value)
        return self.given[value]


def infer(model: ir.Model, *, fixed_point: bool = False) -> Inference:
    """Return what follows for every tensor of a model whose shapes are inferred; the model is not changed."""
    state = Inference()
    for value in model.graph.inputs:
        if state.fact_of(value) is None:
            state.reasons[value] = "is an input without a data type; annotate it to say more"
    _walk(model.graph, model, state, fixed_point)
    return state


def _walk(graph: ir.Graph, model: ir.Model, state: Inference, fixed_point: bool) -> None:
    for node in graph:
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH and not attribute.is_ref():
                _walk(attribute.as_graph(), model, state, fixed_point)
        try:
            found = _apply(node, model, state)
            for fact in found:
                if isinstance(fact, Numbers):
                    fact.datatype(fixed_point=fixed_point)  # says so where no type is wide enough
        except NotInferred as reason:
            _give_up(node, str(reason), state)
            continue
        for value, fact in zip(node.outputs, found, strict=False):
            if fact is not None:
                state.facts[value] = fact


def _give_up(node: ir.Node, reason: str, state: Inference) -> None:
    for value in node.outputs:
        if not value.name or constant_array(value) is not None:
            continue
        if _given(value) is None:
            state.reasons[value] = f"{node.name or node.op_type} ({node.op_type}): {reason}"


def _apply(node: ir.Node, model: ir.Model, state: Inference) -> list[Fact | None]:
    if has_graphs(node):
        return _branches(node, state)
    call = Call(node, state.fact_of)
    op = op_of(node, model.opset_imports)
    if op is not None:
        return [quantizers.own_operator(op, call)]
    if not is_standard(node):
        raise NotInferred(f"operator {node.domain}::{node.op_type} is not known here")
    rule = RULES.get(node.op_type)
    if rule is None:
        raise NotInferred("its results are on no grid")
    found = rule(call)
    return found if isinstance(found, list) else [found]


def _branches(node: ir.Node, state: Inference) -> list[Fact | None]:
    if node.op_type != "If":
        raise NotInferred("loops are not followed")
    results = [a.as_graph().outputs for a in node.attributes.values() if a.type == ir.AttributeType.GRAPH]
    found: list[Fact | None] = []
    if len({len(values) for values in results} | {len(node.outputs)}) != 1:
        raise NotInferred("its branches do not give as many results")
    for values in zip(*results, strict=True):
        facts = [state.fact_of(value) for value in values]
        numbers = [fact for fact in facts if isinstance(fact, Numbers)]
        if len(numbers) != len(facts):
            raise NotInferred("a branch gives no known data type")
        found.append(united([fact.moved() for fact in numbers]))
    return found


def _given(value: ir.Value) -> Fact | None:
    """Return what a value says by itself."""
    annotated = get_datatype(value)
    array = constant_array(value)
    if array is not None:
        found = from_array(array)
        if found is not None and annotated is not None and _holds(annotated, found):
            return Numbers(found.low, found.high, found.scale, found.odd, declared=annotated)
        return found
    if annotated is not None and annotated.kind not in _FLOAT_KINDS:
        return from_datatype(annotated)
    return from_container(value.dtype)


def _holds(datatype: DataType, numbers: Numbers) -> bool:
    """Return whether an annotated integer type holds these numbers."""
    if not datatype.is_integer() or numbers.step != 1:
        return False
    if datatype.kind is Kind.BIPOLAR and not numbers.odd:
        return False
    return datatype.min <= numbers.low and numbers.high <= datatype.max
