"""Every pass of the catalog has something to do on random graphs, keeps its contract where it has, and is linear.

The graphs are those of kind ``varied``, written in an opset from 9 to 23 and read back, with a batch of 1, of any size
and of 3. Their data are whole numbers on grids, so that sums are exact in float32 in any order.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from qonnx_core import compile_model
from qonnx_core.errors import InvalidInput, Unsupported
from qonnx_core.formats.convert_opset import convert_opset
from qonnx_core.formats.reader import from_proto
from qonnx_core.ir.annotations import set_datatype, set_layout
from qonnx_core.ir.constants import constant_array
from qonnx_core.passes.append_argmax import AppendArgMax
from qonnx_core.passes.base import Pass
from qonnx_core.passes.catalog import catalog
from qonnx_core.passes.change_3d_to_4d import Change3DTo4D
from qonnx_core.passes.change_batch_size import ChangeBatchSize
from qonnx_core.passes.convert_to_channels_last import ConvertToChannelsLast
from qonnx_core.passes.expose_intermediates import ExposeIntermediates
from qonnx_core.passes.fold_constants import FoldConstants
from qonnx_core.passes.infer_datatypes import InferDataTypes
from qonnx_core.passes.infer_layouts import InferLayouts
from qonnx_core.passes.infer_shapes import InferShapes
from qonnx_core.passes.insert_identity import InsertIdentity
from qonnx_core.passes.insert_topk import InsertTopK
from qonnx_core.passes.layouts.axes import channels_last
from qonnx_core.passes.lower_convs_to_matmul import LowerConvsToMatMul
from qonnx_core.passes.make_batch_symbolic import MakeBatchSymbolic
from qonnx_core.passes.make_inputs_channels_last import MakeInputChannelsLast
from qonnx_core.passes.move_pad_attribute import MovePadAttributeToTensor
from qonnx_core.passes.name_everything import NameEverything
from qonnx_core.passes.prune.prune import PruneChannels
from qonnx_core.passes.quantize.config import QuantizationConfig
from qonnx_core.passes.quantize.fixed_point_params import FixedPointQuantizeParams
from qonnx_core.passes.quantize.quantize_graph import QuantizeGraph
from qonnx_core.passes.rebalance_im2col import RebalanceIm2Col
from qonnx_core.passes.remove_unused import RemoveUnused
from qonnx_core.testing.deep_network import deep_network
from qonnx_core.testing.pass_contract import Arrays, check_pass
from qonnx_core.testing.random_graphs import RandomGraph, random_graph
from qonnx_core.testing.work import check_linear

SEEDS = range(90)
FEWEST, ENOUGH = 2, 5  # graphs on which a pass has to have something to do, and after which it was tried enough
OPSETS = range(9, 24)


def leave(model: ir.Model) -> None:
    """Leave the model as it was read."""


def without_shapes(model: ir.Model) -> None:
    """Forget the types and shapes of inner tensors, and all annotations of them."""
    for node in model.graph:
        for value in node.outputs:
            set_datatype(value, None)
            set_layout(value, None)
            if not value.is_graph_output():
                value.type = value.shape = None


def with_pad_attributes(model: ir.Model) -> None:
    """Write the pads of Pad as an attribute, as before opset 11."""
    for node in model.graph:
        if node.op_type != "Pad" or "axes" in node.attributes or len(node.inputs) > 3:
            continue
        arrays = [constant_array(value) for value in node.inputs[1:] if value is not None]
        if all(array is not None for array in arrays):
            node.attributes["pads"] = ir.AttrInt64s("pads", [int(number) for number in np.asarray(arrays[0])])
            if len(arrays) > 1:
                node.attributes["value"] = ir.AttrFloat32("value", float(np.asarray(arrays[1])))
            node.resize_inputs(1)


def with_gains_off_the_grid(model: ir.Model) -> None:
    """Add to constant factors what rounding to multiples of 2^-12 takes away again."""
    for node in model.graph:
        for value in node.inputs if node.op_type == "Mul" else ():
            array = constant_array(value)
            if array is not None and value is not None and array.dtype == np.float32:
                value.const_value = ir.tensor(array + np.float32(2.0**-16), name=value.name)


def with_an_unread_node(model: ir.Model) -> None:
    """Add a node whose output nobody reads."""
    made = ir.node("Neg", [model.graph.inputs[0]], name="unread")
    made.outputs[0].name = "unread_out"
    model.graph.append(made)


def lowered(model: ir.Model) -> None:
    """Write convolutions as Im2Col and MatMul."""
    LowerConvsToMatMul().run(model)


def in_new_order(changed: ir.Model, arrays: Arrays) -> Arrays:
    """Return inputs of 3 to 5 axes with the channels last, where the changed model takes them so."""
    moved = []
    for value, array in zip(changed.graph.inputs, arrays, strict=True):
        turned = array.transpose(channels_last(array.ndim)) if array.ndim > 2 else array
        assert value.shape is not None
        fits = all(not isinstance(a, int) or a == b for a, b in zip(value.shape, turned.shape, strict=True))
        moved.append(turned if fits else array)
    return moved


def with_four_axes(changed: ir.Model, arrays: Arrays) -> Arrays:
    """Return signals as images of width 1, where the changed model takes those."""
    ranks = [len(value.shape or ()) for value in changed.graph.inputs]
    return [array[..., None] if rank > array.ndim else array for rank, array in zip(ranks, arrays, strict=True)]


def without_last_axis(arrays: Arrays) -> Arrays:
    """Return outputs of three axes as they are with one more behind."""
    return [array[..., None] if array.ndim == 3 else array for array in arrays]


def places_of_largest(count: int) -> Callable[[Arrays], Arrays]:
    """Return the places of so many largest, the first where several are equal."""
    return lambda arrays: [np.argsort(-array, axis=-1, kind="stable")[..., :count] for array in arrays]


def is_classifier(graph: RandomGraph) -> bool:
    """Return whether there is one output ``(N, C)`` of at least two classes, computed by a node."""
    shape = graph.model.graph.outputs[0].shape
    return len(graph.model.graph.outputs) == 1 and shape is not None and len(shape) == 2 and shape[1] != 1


@dataclass(frozen=True)
class Case:
    """A pass, and what is special about it: which graphs it takes in what form, and what it does to the values."""

    step: Pass
    prepare: Callable[[ir.Model], None] = leave
    takes: Callable[[RandomGraph], bool] = lambda graph: True
    renames: bool = False
    feed: Callable[[ir.Model, Arrays], Arrays] | None = None
    answer: Callable[[Arrays], Arrays] | None = None
    any_batch: bool = True  # the changed model takes as many samples as the model does
    like_unprepared: bool = False  # the values are those of the graph before it was prepared


WEIGHTS = {"match": {"op_type": ["MatMul", "Conv"]}, "weights": {"bits": 16, "scale": 2.0**-8}}  # which holds them all
SPECIAL: dict[str, list[Case]] = {
    "append_argmax": [Case(AppendArgMax(), takes=is_classifier, answer=places_of_largest(1))],
    "change_3d_to_4d": [Case(Change3DTo4D())],
    "change_batch_size": [
        Case(ChangeBatchSize(3), takes=lambda graph: len(graph.inputs["x"]) == 3, any_batch=False),
    ],
    "convert_to_channels_last": [
        Case(ConvertToChannelsLast()),
        Case(ConvertToChannelsLast(make_input_channels_last=True), feed=in_new_order),
    ],
    "expose_intermediates": [Case(ExposeIntermediates(("*",)))],
    "fixed_point_quantize_params": [
        Case(FixedPointQuantizeParams("FIXED<24,12>", ("Mul",)), prepare=with_gains_off_the_grid, like_unprepared=True)
    ],
    "fold_constants": [Case(FoldConstants()), Case(FoldConstants(quantizers=True))],
    "infer_datatypes": [Case(InferDataTypes(), prepare=without_shapes)],
    "infer_layouts": [Case(InferLayouts(), prepare=without_shapes)],
    "infer_shapes": [Case(InferShapes(), prepare=without_shapes)],
    "insert_identity": [Case(InsertIdentity(inputs=True, outputs=True))],
    "insert_topk": [Case(InsertTopK(2), takes=is_classifier, answer=places_of_largest(2))],
    "make_inputs_channels_last": [Case(MakeInputChannelsLast(), feed=in_new_order)],
    "move_pad_attribute_to_tensor": [
        Case(MovePadAttributeToTensor(), prepare=with_pad_attributes, like_unprepared=True)
    ],
    "name_everything": [Case(NameEverything(), renames=True)],
    "prune_channels": [Case(PruneChannels(zero_channels=True))],
    "quantize_graph": [Case(QuantizeGraph(QuantizationConfig.model_validate({"quantize": [WEIGHTS]})))],
    "remove_unused": [Case(RemoveUnused(), prepare=with_an_unread_node)],
    "rebalance_im2col": [Case(RebalanceIm2Col(2), prepare=lowered)],
}


def cases() -> list[Case]:
    """Return the cases of all passes of this repository; those without a special one run as they are made."""
    found = []
    for name, entry in catalog().items():
        if not entry.plugin:
            found += SPECIAL.get(name) or [Case(entry.factory())]
    return found


@functools.cache
def written(seed: int) -> tuple[RandomGraph, onnx.ModelProto]:
    """Return a random graph, and its file in an opset of its own where its operators are as old as that."""
    graph = random_graph(seed, "varied", batch=[1, "N", 3][seed % 3])
    try:
        return graph, ir.to_proto(convert_opset(graph.model, OPSETS[seed % len(OPSETS)]))
    except Unsupported:
        return graph, ir.to_proto(graph.model)


@functools.cache
def graph_of(seed: int) -> RandomGraph:
    """Return a random graph after it was written and read back."""
    graph, proto = written(seed)
    return RandomGraph(from_proto(proto), graph.inputs, seed, graph.exact, graph.known)


def frames_of(graph: RandomGraph) -> list[dict[str, np.ndarray]]:
    """Return inputs of the batch that the file has, and of another size where it has any."""
    free = not isinstance(graph.model.graph.inputs[0].shape[0], int)  # type: ignore[index]
    return [graph.inputs, {name: array[:1] for name, array in graph.inputs.items()}] if free else [graph.inputs]


@pytest.mark.parametrize("case", cases(), ids=lambda case: f"{case.step.name}")
def test_a_pass_has_something_to_do_and_keeps_its_contract(case: Case) -> None:
    fired = 0
    for seed in SEEDS:
        graph = graph_of(seed)
        if not case.takes(graph):
            continue
        model = graph.model.clone()
        case.prepare(model)
        try:
            edits = case.step.run(model.clone())
        except (InvalidInput, Unsupported):  # nothing there that the pass is asked for
            continue
        if not edits:
            continue
        fired += 1
        for inputs in frames_of(graph) if case.any_batch else [graph.inputs]:
            check_pass(
                case.step, model, inputs, min_edits=1, renames=case.renames, feed=case.feed, answer=case.answer,
                like=graph.model if case.like_unprepared else None,
            )  # fmt: skip
        if fired == ENOUGH:
            break
    assert fired >= FEWEST, f"{case.step.name}: has something to do on {fired} of {len(SEEDS)} random graphs"


@pytest.mark.parametrize("case", cases(), ids=lambda case: f"{case.step.name}")
def test_the_work_of_a_pass_is_linear_in_the_graph(case: Case) -> None:
    def work(blocks: int) -> Callable[[], object]:
        model = deep_network(blocks)
        case.prepare(model)
        return lambda: run(model)

    def run(model: ir.Model) -> None:
        with contextlib.suppress(InvalidInput, Unsupported):  # the network has nothing for it: a look was taken
            case.step.run(model)

    check_linear(work, 6)


def test_the_samples_of_an_opened_batch_are_those_of_the_model_one_by_one() -> None:
    opened = 0
    for seed in SEEDS:
        graph = graph_of(seed)
        changed = graph.model.clone()
        if not MakeBatchSymbolic().run(changed):
            continue
        opened += 1
        frames = graph.more_inputs(3)["x"]
        before, after = compile_model(graph.model), compile_model(changed)
        single = [list(before.run({"x": frame[None]}).values()) for frame in frames]
        for found, *wanted in zip(after.run({"x": frames}).values(), *single, strict=True):
            np.testing.assert_array_equal(found, np.concatenate(wanted))
    assert opened >= FEWEST


def test_the_graphs_come_in_every_opset() -> None:
    found = [next(entry.version for entry in written(seed)[1].opset_import if not entry.domain) for seed in SEEDS]
    assert set(found) == set(OPSETS)
