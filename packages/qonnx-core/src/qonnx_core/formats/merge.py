"""Joins two models into one: outputs of the first become inputs of the second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from qonnx_core.errors import InvalidInput, InvalidModel
from qonnx_core.formats.convert_opset import convert_opset
from qonnx_core.formats.merge_dimensions import join_dimensions
from qonnx_core.formats.nested_models import PARTITION, agree_on_opsets, splice
from qonnx_core.formats.normalize import normalized_copy
from qonnx_core.ir.names import free_name
from qonnx_core.ir.verify import verify
from qonnx_core.passes.infer_shapes import InferShapes


def merge_models(
    first: ir.Model, second: ir.Model, *, mapping: Mapping[str, str | Sequence[str]] | None = None
) -> ir.Model:
    """Return a model that computes the second one of what the first one gives; neither is changed.

    Inputs are those of the first model, then those of the second that nothing feeds. Outputs are those of the first
    that nothing reads, then those of the second. Names of both stay; where the second model uses one that is taken, a
    number follows it; free dimensions are renamed likewise, and are the same where values meet. The older opset is
    brought to the newer one, functions of the models are put in place, and metadata and annotations of both are kept
    (those of the first where they differ).

    Args:
        first: the model in front.
        second: the model behind it.
        mapping: ``{output of the first: input of the second}``, or a list of inputs that it feeds. By default every
            input of the second model that has the name of an output of the first; where no name is the same, all of
            them by their positions.

    Raises:
        InvalidInput: the mapping names what is not there, or nothing fits.
        InvalidModel: element types or shapes of what is joined differ.
        Unsupported: versions of another domain say different things of operators that the models use, or an operator
            has no newer form.
    """
    front, back = normalized_copy(first), normalized_copy(second)
    opset = max(front.opset_imports[""], back.opset_imports[""])
    front, back = (each if each.opset_imports[""] == opset else convert_opset(each, opset) for each in (front, back))
    for model in (front, back):
        InferShapes().run(model)
    joined = _joined(front, back, mapping)
    join_dimensions(front, back, [(source, target) for target, source in joined.items()])
    agree_on_opsets("the second model", front, back)
    _join(front, back, joined)
    for key, text in second.metadata_props.items():
        front.metadata_props.setdefault(key, text)
    for key, text in second.graph.metadata_props.items():
        front.graph.metadata_props.setdefault(key, text)
    front.ir_version = max(front.ir_version, second.ir_version)
    InferShapes().run(front)
    verify(front)
    return front


def _joined(
    front: ir.Model, back: ir.Model, mapping: Mapping[str, str | Sequence[str]] | None
) -> dict[ir.Value, ir.Value]:
    """Return ``{input of the second: output of the first}``, checked."""
    outputs = {value.name or "": value for value in front.graph.outputs}
    inputs = {value.name or "": value for value in back.graph.inputs}
    if mapping is None:
        mapping = {name: name for name in inputs if name in outputs}
        if not mapping:
            if len(outputs) != len(inputs):
                raise InvalidInput(
                    f"merge: the first model has the outputs {', '.join(outputs)}, the second the inputs "
                    f"{', '.join(inputs)}; expected equal names, or as many of both. Say which belong together."
                )
            mapping = dict(zip(outputs, inputs, strict=True))
    pairs = [(source, name) for source, fed in mapping.items() for name in ((fed,) if isinstance(fed, str) else fed)]
    for place, known, what in ((0, outputs, "output of the first"), (1, inputs, "input of the second")):
        for name in (pair[place] for pair in pairs):
            if name not in known:
                raise InvalidInput(f"merge: {name!r} is no {what} model; expected one of {', '.join(known)}.")
    if not pairs or len({name for _, name in pairs}) != len(pairs):
        raise InvalidInput("merge: expected at least one pair, and each input of the second model in one pair.")
    joined = {inputs[name]: outputs[source] for source, name in pairs}
    for target, source in joined.items():
        _check_pair(source, target)
    return joined


def _check_pair(source: ir.Value, target: ir.Value) -> None:
    where = f"output {source.name} of the first model and input {target.name} of the second"
    if source.dtype is not None and target.dtype is not None and source.dtype != target.dtype:
        raise InvalidModel(
            f"{where}: hold {source.dtype.name} and {target.dtype.name}; expected one element type. Put a Cast between."
        )
    if source.shape is None or target.shape is None:
        return
    pairs = list(zip(source.shape, target.shape, strict=False))
    apart = any(isinstance(a, int) and isinstance(b, int) and a != b for a, b in pairs)
    if apart or len(source.shape) != len(target.shape):
        raise InvalidModel(
            f"{where}: have the shapes {_text(source)} and {_text(target)}; expected shapes that fit. Put a Reshape or "
            "Transpose between, or change the batch size of one."
        )


def _text(value: ir.Value) -> str:
    return f"[{', '.join(str(dim) for dim in value.shape or ())}]"


def _join(front: ir.Model, back: ir.Model, joined: Mapping[ir.Value, ir.Value]) -> None:
    """Put the second graph behind the first one."""
    graph = front.graph
    taken = {value.name for each in front.graphs() for value in _values(each)}
    reads: list[ir.Value] = []
    for target in back.graph.inputs:
        if target in joined:
            reads.append(joined[target])
            continue
        fresh = ir.val(free_name(target.name or "input", taken), type=target.type, shape=target.shape)
        fresh.metadata_props.update(target.metadata_props)
        fresh.meta.update(target.meta)
        graph.inputs.append(fresh)
        reads.append(fresh)
    used = set(joined.values())
    kept = [value for value in graph.outputs if value not in used]
    graph.outputs.clear()
    graph.outputs.extend(kept)
    names = [value.name or "output" for value in back.graph.outputs]
    node = ir.node(PARTITION, reads, num_outputs=len(names), name="second")
    for value, twin, name in zip(node.outputs, back.graph.outputs, names, strict=True):
        value.name, value.type, value.shape = _make_free(front, name, taken), twin.type, twin.shape
    graph.append(node)
    graph.outputs.extend(node.outputs)
    splice(front, node, back)


def _make_free(model: ir.Model, name: str, taken: set[str | None]) -> str:
    """Return the name for an output: a tensor inside of the first model gives way, its inputs and outputs do not."""
    for graph in model.graphs():
        for value in _values(graph):
            if value.name == name and not value.is_graph_input() and not value.is_graph_output():
                value.name = free_name(name, taken)
                return name
    return free_name(name, taken)


def _values(graph: ir.Graph) -> list[ir.Value]:
    return [*graph.inputs, *graph.initializers.values(), *(value for node in graph for value in node.outputs)]
