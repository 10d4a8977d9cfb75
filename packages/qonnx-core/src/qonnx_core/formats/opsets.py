"""Brings the standard operators of a model to opset 21, so that every pass meets one form of each.

Done on the IR, node by node: annotations, metadata, large tensors and custom operators stay as they are.
Source: the "Version" sections of the ONNX operator documentation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.errors import InvalidModel, Unsupported
from qonnx_core.ir.constants import constant_tensor
from qonnx_core.ir.names import label_of, new_names_apart

TARGET_OPSET = 21
_OLDEST = 7
_STANDARD = ("", "ai.onnx")
# Operators whose new form depends on the shape of their input, up to this opset.
_NEED_SHAPES = {"Softmax": 13, "LogSoftmax": 13, "Hardmax": 13, "GroupNormalization": 21}
# Operators whose constants were attributes of float32, and become inputs in the element type of their data.
_NEED_TYPES = {"Clip": 11, "Pad": 11}
# Operators whose change at this opset has no counterpart that always holds.
_NO_WAY = {"Scan": 9}

_Adapter = Callable[["_Site", int], None]


def raise_opset(model: ir.Model) -> None:
    """Rewrite the model in place to opset 21; one that is newer already stays as it is.

    Raises:
        InvalidModel: the opset is newer than the installed onnx package knows.
        Unsupported: the opset is older than 7, or a node has no form in the newer opset.
    """
    newest = onnx.defs.onnx_opset_version()
    parts: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for part in parts:
        version = part.opset_imports.get("")
        if version is None or version == TARGET_OPSET:
            continue
        if version > newest:
            raise InvalidModel(
                f"model: imports opset {version}; expected at most {newest}, the newest that onnx {onnx.__version__} "
                "knows. Upgrade the onnx package or export the model with an older opset."
            )
        if version > TARGET_OPSET:
            continue
        if version < _OLDEST:
            raise Unsupported(
                f"model: imports opset {version}; expected {_OLDEST} or newer. Export it again, or raise it with "
                "onnx.version_converter."
            )
        if part is model.graph:
            _know_shapes(model)
        graph = part if isinstance(part, ir.Graph) else part.graph
        with new_names_apart(graph):
            for inner in (graph, *graph.subgraphs()):
                for node in list(inner):
                    if node.domain in _STANDARD:
                        _raise_node(node, version)
        part.opset_imports[""] = TARGET_OPSET


def is_current(node: ir.Node, version: int) -> bool:
    """Return whether a standard node of this opset reads the same in opset 21, so that it can stay as it is."""
    return version >= max(_CHANGED.get(node.op_type, 0), _OLDEST)


def _know_shapes(model: ir.Model) -> None:
    """Infer shapes where an operator's new form depends on the shape or element type of its input."""
    from qonnx_core.passes.infer_shapes import InferShapes  # formats and passes know each other only here

    version = model.opset_imports[""]
    for node in (node for graph in model.graphs() for node in graph):
        data = node.inputs[0] if node.inputs else None
        if data is None:
            continue
        needs_shape = data.shape is None and version < _NEED_SHAPES.get(node.op_type, 0)
        if needs_shape or (data.dtype is None and version < _NEED_TYPES.get(node.op_type, 0)):
            InferShapes().run(model)
            return


class _Site:
    """One node under change, with the few edits that the adapters need."""

    def __init__(self, node: ir.Node) -> None:
        self.node = node
        graph = node.graph
        assert graph is not None
        self.graph = graph

    def take(self, name: str) -> object | None:
        """Remove an attribute and return its value, or None where it is not there."""
        attribute = self.node.attributes.pop(name, None)
        return None if attribute is None else attribute.value

    def take_ints(self, name: str) -> list[int] | None:
        """Remove an attribute of integers and return it."""
        value = self.take(name)
        return None if value is None else [int(number) for number in value] if isinstance(value, Sequence) else None

    def constant(self, array: NDArray[Any]) -> ir.Value:
        """Return a constant of the graph in front of the node."""
        made = ir.node("Constant", [], {"value": ir.tensor(array)})
        self.graph.insert_before(self.node, made)
        output = made.outputs[0]
        output.shape = ir.Shape(array.shape)
        output.type = ir.TensorType(ir.DataType.from_numpy(array.dtype))
        return output

    def set_inputs(self, inputs: Sequence[ir.Value | None]) -> None:
        """Give the node these inputs."""
        self.node.resize_inputs(len(inputs))
        for index, value in enumerate(inputs):
            self.node.replace_input_with(index, value)

    def add_ints(self, values: list[int] | None, at: int) -> None:
        """Make the integers input number ``at``."""
        if values is not None:
            self.add(self.constant(np.asarray(values, dtype=np.int64)), at)

    def add(self, value: ir.Value | None, at: int) -> None:
        """Make the value input number ``at``; inputs before it that are not there stay empty."""
        inputs = list(self.node.inputs)
        inputs += [None] * (at + 1 - len(inputs))
        inputs[at] = value
        self.set_inputs(inputs)

    def number(self, value: float) -> ir.Value:
        """Return a scalar constant in the element type of the data."""
        data = self.node.inputs[0]
        dtype = np.dtype(np.float32) if data is None or data.dtype is None else data.dtype.numpy()
        return self.constant(np.asarray(value, dtype=dtype))


def _raise_node(node: ir.Node, version: int) -> None:
    since = _NO_WAY.get(node.op_type)
    if since is not None and version < since:
        raise Unsupported(
            f"{label_of(node)}: is of opset {version}, and its meaning changed "
            f"with opset {since}; expected {since} or newer. Export the model again with opset {TARGET_OPSET}."
        )
    for op_types, until, adapt in _ADAPTERS:
        if node.op_type in op_types and version < until:
            adapt(_Site(node), version)
            return


def _axes_to_input(site: _Site, version: int) -> None:
    site.add_ints(site.take_ints("axes"), 1)


def _softmax(site: _Site, version: int) -> None:
    """Before opset 13 the axes from ``axis`` on (default 1) are one; now there is one axis (default -1)."""
    axis = site.take("axis")
    axis = 1 if not isinstance(axis, int) else axis
    data, result = site.node.inputs[0], site.node.outputs[0]
    assert data is not None
    rank = None if data.shape is None else len(data.shape)
    if rank is not None and axis % rank == rank - 1:
        site.node.attributes["axis"] = ir.AttrInt64("axis", -1)
        return
    shape = ir.node("Shape", [data])
    flat = ir.node("Flatten", [data], {"axis": axis})
    site.graph.insert_before(site.node, [shape, flat])
    site.node.replace_input_with(0, flat.outputs[0])
    site.node.attributes["axis"] = ir.AttrInt64("axis", -1)
    inner = ir.node(site.node.op_type, [flat.outputs[0]], {"axis": -1}, name=site.node.name)
    back = ir.node("Reshape", [inner.outputs[0], shape.outputs[0]])
    back.outputs[0].type = result.type
    back.outputs[0].shape = result.shape
    ir.convenience.replace_nodes_and_values(
        site.graph, site.node, [site.node], [inner, back], [result], [back.outputs[0]]
    )


def _dropout(site: _Site, version: int) -> None:
    """Inference only: the ratio changes nothing, but stays readable."""
    if version < 10 and len(site.node.outputs) > 1:  # its mask is of the type of the data
        if any(mask.uses() or mask.is_graph_output() for mask in site.node.outputs[1:]):
            raise Unsupported(
                f"{label_of(site.node)}: gives its mask, which opset {version} leaves open outside of training; "
                "expected the inference form. Export the model in evaluation mode."
            )
        site.node.resize_outputs(1)
    ratio = site.take("ratio")
    if isinstance(ratio, float):
        site.add(site.constant(np.asarray(ratio, dtype=np.float32)), 1)


def _batch_normalization(site: _Site, version: int) -> None:
    spatial = site.take("spatial")
    used = [value.name for value in site.node.outputs[1:] if value.uses() or value.is_graph_output()]
    if spatial == 0 or used:
        raise Unsupported(
            f"{label_of(site.node)}: has {'spatial=0' if spatial == 0 else 'training outputs'}; "
            "expected the inference form. Export the model in evaluation mode."
        )
    if len(site.node.outputs) > 1:
        site.node.resize_outputs(1)


def _clip(site: _Site, version: int) -> None:
    low, high = site.take("min"), site.take("max")
    if isinstance(low, float):
        site.add(site.number(low), 1)
    if isinstance(high, float):
        site.add(site.number(high), 2)


def _pad(site: _Site, version: int) -> None:
    value = site.take("value")
    site.add_ints(site.take_ints("pads"), 1)
    if isinstance(value, float) and value != 0:
        site.add(site.number(value), 2)


def _slice(site: _Site, version: int) -> None:
    for at, name in ((1, "starts"), (2, "ends"), (3, "axes")):
        site.add_ints(site.take_ints(name), at)


def _topk(site: _Site, version: int) -> None:
    k = site.take("k")
    if isinstance(k, int):
        site.add_ints([k], 1)


def _split(site: _Site, version: int) -> None:
    parts = site.take_ints("split") if version < 13 else None
    if parts is not None:
        site.add_ints(parts, 1)
    elif len(site.node.inputs) < 2 or site.node.inputs[1] is None:
        site.node.attributes["num_outputs"] = ir.AttrInt64("num_outputs", len(site.node.outputs))


def _resize(site: _Site, version: int) -> None:
    """Upsample, and Resize of opset 10, place samples at ``asymmetric`` coordinates."""
    scales = site.take("scales")
    if isinstance(scales, Sequence):
        scale_value: ir.Value | None = site.constant(np.asarray(scales, dtype=np.float32))
    else:
        scale_value = site.node.inputs[1]
    site.set_inputs([site.node.inputs[0], None, scale_value])
    site.node.op_type = "Resize"
    for name, value in (("coordinate_transformation_mode", "asymmetric"), ("nearest_mode", "floor")):
        site.node.attributes[name] = ir.AttrString(name, value)


def _resize_11(site: _Site, version: int) -> None:
    """Drop the empty tensors that opsets 11 and 12 ask for where a region or scales are not given."""
    inputs = [None if (known := constant_tensor(value)) is not None and known.size == 0 else value
              for value in site.node.inputs]  # fmt: skip
    site.set_inputs(inputs)
    if site.node.attributes.get_string("coordinate_transformation_mode", "") == "tf_half_pixel_for_nn":
        raise Unsupported(
            f"{label_of(site.node)}: places samples by tf_half_pixel_for_nn, which "
            "ended with opset 13; expected another mode. Export the model again."
        )


def _grid_sample(site: _Site, version: int) -> None:
    names = {"bilinear": "linear", "bicubic": "cubic"}
    mode = site.node.attributes.get_string("mode", "bilinear") or "bilinear"
    site.node.attributes["mode"] = ir.AttrString("mode", names.get(mode, mode))


def _dft(site: _Site, version: int) -> None:
    axis = site.take("axis")
    site.add(site.constant(np.asarray(axis if isinstance(axis, int) else 1, dtype=np.int64)), 2)


def _roi_align(site: _Site, version: int) -> None:
    site.node.attributes["coordinate_transformation_mode"] = ir.AttrString(
        "coordinate_transformation_mode", "output_half_pixel"
    )


def _group_normalization(site: _Site, version: int) -> None:
    """Before opset 21 there is one scale and bias for each group, now for each channel."""
    groups = site.node.attributes.get_int("num_groups", 1)
    data = site.node.inputs[0]
    channels = None if data is None or data.shape is None or len(data.shape) < 2 else data.shape[1]
    for index in (1, 2):
        known = constant_tensor(site.node.inputs[index])
        if known is None or not isinstance(channels, int) or channels % groups or known.size != groups:
            raise Unsupported(
                f"{label_of(site.node)}: is of opset {version}, with "
                "parameters for each group; expected constants, and a known number of channels. Export the model "
                f"again with opset {TARGET_OPSET}."
            )
        site.add(site.constant(np.repeat(np.asarray(known.numpy()), channels // groups)), index)


def _scatter(site: _Site, version: int) -> None:
    site.node.op_type = "ScatterElements"


_REDUCTIONS = tuple(
    f"Reduce{name}" for name in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")
)
# Operators, the first opset in which the new form holds, and the change.
_ADAPTERS: tuple[tuple[tuple[str, ...], int, _Adapter], ...] = (
    (("Squeeze", "Unsqueeze", "ReduceSum"), 13, _axes_to_input),
    (_REDUCTIONS, 18, _axes_to_input),
    (("Softmax", "LogSoftmax", "Hardmax"), 13, _softmax),
    (("Dropout",), 12, _dropout),
    (("BatchNormalization",), 14, _batch_normalization),
    (("Clip",), 11, _clip),
    (("Pad",), 11, _pad),
    (("Slice",), 10, _slice),
    (("TopK",), 10, _topk),
    (("Split",), 18, _split),
    (("Upsample",), 10, _resize),
    (("Resize",), 11, _resize),
    (("Resize",), 13, _resize_11),
    (("Scatter",), 11, _scatter),
    (("GridSample",), 20, _grid_sample),
    (("DFT",), 20, _dft),
    (("RoiAlign",), 16, _roi_align),
    (("GroupNormalization",), 21, _group_normalization),
)
_CHANGED: dict[str, int] = dict(_NO_WAY)
for _op_types, _until, _ in _ADAPTERS:
    for _op_type in _op_types:
        _CHANGED[_op_type] = max(_until, _CHANGED.get(_op_type, 0))
