"""How operators are written in an older opset, where that is another form than today's.

Source: the "Version" sections of the ONNX operator documentation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.ir.constants import constant_array, static_shape

Array = NDArray[Any]


class Refused(Exception):
    """A node has no form in the older opset; the text says why. Caught where the node is named."""


class Site:
    """One node under change, with the few edits that the changes need; ``source`` is the opset it is of."""

    def __init__(self, node: ir.Node, source: int) -> None:
        self.node = node
        self.source = source
        assert node.graph is not None
        self.graph = node.graph

    def input(self, index: int) -> ir.Value | None:
        """Return an input, or None where it is not there."""
        return self.node.inputs[index] if index < len(self.node.inputs) else None

    def known(self, index: int, what: str) -> Array | None:
        """Return the array of a constant input, None where the input is not there; refuse one that is computed."""
        value = self.input(index)
        if value is None:
            return None
        array = constant_array(value)
        if array is None:
            raise Refused(f"{what} is computed while the model runs, and an attribute in that opset")
        return np.asarray(array)

    def keep_inputs(self, count: int) -> None:
        """Drop all inputs from ``count`` on."""
        if len(self.node.inputs) > count:
            self.node.resize_inputs(count)

    def rank(self) -> int:
        """Return the rank of the data; refuse where it is not known."""
        data = self.input(0)
        if data is None or data.shape is None:
            raise Refused("the rank of its input is not known")
        return len(data.shape)

    def constant(self, array: Array) -> ir.Value:
        """Return a constant of the graph in front of the node."""
        made = ir.node("Constant", [], {"value": ir.tensor(array)})
        self.insert(made)
        return made.outputs[0]

    def insert(self, node: ir.Node) -> ir.Value:
        """Put a node in front of this one and return its output."""
        self.graph.insert_before(self.node, node)
        if node.op_type == "Constant":
            value = node.attributes["value"].value
            node.outputs[0].shape = ir.Shape([int(str(size)) for size in value.shape])
            node.outputs[0].type = ir.TensorType(value.dtype)
        return node.outputs[0]

    def replace(self, nodes: Sequence[ir.Node]) -> None:
        """Let these nodes stand for this one; the last one makes its output."""
        old, new = self.node.outputs[0], nodes[-1].outputs[0]
        new.type, new.shape = old.type, old.shape
        nodes[-1].name = self.node.name
        nodes[-1].metadata_props.update(self.node.metadata_props)
        ir.convenience.replace_nodes_and_values(self.graph, self.node, [self.node], list(nodes), [old], [new])


Lowering = Callable[[Site, int], None]


def _axes_to_attribute(site: Site, target: int) -> None:
    axes = site.known(1, "its axes input")
    nothing = site.node.attributes.pop("noop_with_empty_axes", None)
    if axes is not None and axes.size:
        site.node.attributes["axes"] = ir.AttrInt64s("axes", [int(axis) for axis in axes.reshape(-1)])
        if target < 11 and axes.min() < 0:
            rank = site.rank() + (len(axes) if site.node.op_type == "Unsqueeze" else 0)
            site.node.attributes["axes"] = ir.AttrInt64s("axes", [int(axis) % rank for axis in axes.reshape(-1)])
    elif nothing is not None and nothing.as_int():
        site.replace([ir.node("Identity", [site.node.inputs[0]])])
        return
    site.keep_inputs(1)


def _softmax(site: Site, target: int) -> None:
    """Bring the axis to the end: there, one axis and all axes from it on are the same."""
    rank = site.rank()
    axis = site.node.attributes.get_int("axis", -1) % max(1, rank)
    site.node.attributes["axis"] = ir.AttrInt64("axis", rank - 1)
    if axis == rank - 1:
        return
    perm = [other for other in range(rank) if other != axis] + [axis]
    there = ir.node("Transpose", [site.node.inputs[0]], {"perm": perm})
    inner = ir.node(site.node.op_type, [there.outputs[0]], {"axis": rank - 1})
    back = ir.node("Transpose", [inner.outputs[0]], {"perm": [perm.index(other) for other in range(rank)]})
    site.replace([there, inner, back])


def _dropout(site: Site, target: int) -> None:
    training = site.known(2, "its training mode")
    if training is not None and training.any():
        raise Refused("is in training mode")
    if any(mask.uses() or mask.is_graph_output() for mask in site.node.outputs[1:]):
        raise Refused("gives its mask, which older opsets leave open outside of training")
    site.node.resize_outputs(1)
    ratio = site.known(1, "its ratio")
    if ratio is not None:
        site.node.attributes["ratio"] = ir.AttrFloat32("ratio", float(ratio.item()))
    site.node.attributes.pop("seed", None)
    site.keep_inputs(1)


def _clip(site: Site, target: int) -> None:
    data = site.input(0)
    if data is None or data.dtype not in (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE):
        raise Refused("works on integers, or an unknown type")
    for index, name in ((1, "min"), (2, "max")):
        end = site.known(index, f"its {name}")
        if end is not None:
            site.node.attributes[name] = _float_attribute(name, end)
    site.keep_inputs(1)


def _float_attribute(name: str, array: Array) -> ir.Attr:
    number = float(array.item())
    if float(np.float32(number)) != number and not math.isnan(number):
        raise Refused(f"its {name} is no float32, as the attribute is")
    return ir.AttrFloat32(name, number)


def _pad_axes(site: Site, target: int) -> None:
    if site.input(3) is None:
        return
    axes, pads = site.known(3, "its axes input"), site.known(1, "its pads input")
    assert axes is not None
    assert pads is not None
    rank = site.rank()
    full = np.zeros((2, rank), np.int64)
    full[:, [int(axis) % rank for axis in axes]] = pads.reshape(2, -1)
    site.node.replace_input_with(1, site.constant(full.reshape(-1)))
    site.keep_inputs(3)


def _pad_attributes(site: Site, target: int) -> None:
    pads, value = site.known(1, "its pads input"), site.known(2, "its constant")
    assert pads is not None
    site.node.attributes["pads"] = ir.AttrInt64s("pads", [int(pad) for pad in pads])
    if value is not None:
        site.node.attributes["value"] = _float_attribute("value", value)
    site.keep_inputs(1)


def _slice(site: Site, target: int) -> None:
    starts, ends, axes, steps = (site.known(index, "a part of its range") for index in range(1, 5))
    if steps is not None and np.any(steps != 1):
        raise Refused("has a step other than 1")
    for name, array in (("starts", starts), ("ends", ends), ("axes", axes)):
        if array is not None:
            site.node.attributes[name] = ir.AttrInt64s(name, [int(number) for number in array.reshape(-1)])
    if axes is not None and axes.min(initial=0) < 0:
        rank = site.rank()
        site.node.attributes["axes"] = ir.AttrInt64s("axes", [int(axis) % rank for axis in axes.reshape(-1)])
    site.keep_inputs(1)


def _topk(site: Site, target: int) -> None:
    k = site.known(1, "its k")
    assert k is not None
    site.node.attributes["k"] = ir.AttrInt64("k", int(k.item()))
    site.keep_inputs(1)


def _split_sizes(site: Site, target: int) -> None:
    """Write out the sizes: before opset 18 equal parts only, and no ``num_outputs``.

    Parts of a size that is not known are taken to be equal; the runtime refuses others.
    """
    site.node.attributes.pop("num_outputs", None)
    if site.input(1) is not None:
        return
    data, count = site.input(0), len(site.node.outputs)
    shape = None if data is None else data.shape
    axis = site.node.attributes.get_int("axis", 0)
    size = None if shape is None else shape[axis]
    if isinstance(size, int) and size % count:
        part = -(-size // count)
        sizes = [part] * (count - 1) + [size - part * (count - 1)]
        site.node.resize_inputs(2)
        site.node.replace_input_with(1, site.constant(np.asarray(sizes, np.int64)))


def _split_attribute(site: Site, target: int) -> None:
    sizes = site.known(1, "its split input")
    if sizes is not None:
        site.node.attributes["split"] = ir.AttrInt64s("split", [int(size) for size in sizes])
    site.keep_inputs(1)


def _resize_inputs(site: Site, target: int) -> None:
    """Fill the places of region and scales, which opsets 11 and 12 ask for."""
    node = site.node
    empty = np.zeros(0, np.float32)
    if len(node.inputs) < 3:
        node.resize_inputs(3)
    for index in (1, 2):
        if node.inputs[index] is None:
            node.replace_input_with(index, site.constant(empty))


def _resize_axes(site: Site, target: int) -> None:
    if "axes" not in site.node.attributes:
        return
    axes = site.node.attributes["axes"].as_ints()
    rank = site.rank()
    data = site.input(0)
    assert data is not None
    shape = static_shape(data)
    for index, kind, fill in ((2, np.float32, np.ones(rank)), (3, np.int64, shape)):
        given = site.known(index, "its scales or sizes")
        if given is None or not given.size:
            continue
        if fill is None:
            raise Refused("gives sizes for some axes, and the others are not known")
        full = np.asarray(fill, kind)
        full[[axis % rank for axis in axes]] = given
        site.node.replace_input_with(index, site.constant(full))
    roi = site.known(1, "its region")
    if roi is not None and roi.size:
        raise Refused("has a region for some axes")
    site.node.attributes.pop("axes")


def _resize_10(site: Site, target: int) -> None:
    node = site.node
    mode = node.attributes.get_string("mode", "nearest")
    place = node.attributes.get_string("coordinate_transformation_mode", "half_pixel")
    nearest = node.attributes.get_string("nearest_mode", "round_prefer_floor")
    scales, sizes = site.input(2), site.input(3)
    if sizes is not None:
        raise Refused("gives sizes instead of scales")
    array: Array | None = None if scales is None else constant_array(scales)
    if mode == "cubic" or place != "asymmetric" or (mode == "nearest" and nearest != "floor"):
        whole = array is not None and np.all(array == np.round(array)) and np.all(array >= 1)
        # With whole factors each sample is repeated, wherever its centre is said to be.
        symmetric = place in ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric")
        if not (mode == "nearest" and whole and symmetric and nearest.startswith("round")):
            raise Refused(f"places samples by {place} ({mode}, {nearest}), opset 10 and older by asymmetric and floor")
    for name in list(node.attributes):
        if name != "mode":
            node.attributes.pop(name)
    node.resize_inputs(2)
    node.replace_input_with(1, scales)
    if target < 10:
        if array is None or np.any(array < 1):
            raise Refused("makes its input smaller, Upsample only larger")
        node.op_type = "Upsample"


def _quantizer(site: Site, target: int) -> None:
    """Give the element type by a zero point where it was given by an attribute, and drop axes of single scales."""
    node = site.node
    dtype = node.attributes.get_int("output_dtype", 0)
    if node.op_type == "QuantizeLinear" and dtype and site.input(2) is None and target < 21:
        kind = ir.DataType(dtype)
        zeros = ir.tensor(np.zeros(_scale_shape(site), kind.numpy()), dtype=kind)
        node.resize_inputs(3)
        node.replace_input_with(2, site.insert(ir.node("Constant", [], {"value": zeros})))
    if dtype and target < (21 if node.op_type == "QuantizeLinear" else 23):
        node.attributes.pop("output_dtype")
    if target < 13:
        if math.prod(_scale_shape(site)) != 1:
            raise Refused("has a scale for each channel")
        node.attributes.pop("axis", None)
    if target < 19:
        node.attributes.pop("saturate", None)  # of types that came with it


def _scale_shape(site: Site) -> tuple[int, ...]:
    scale = site.input(1)
    assert scale is not None
    shape = static_shape(scale)
    if shape is None:
        raise Refused("the size of its scale is not known")
    return shape


def _reshape(site: Site, target: int) -> None:
    """Keep the meaning of a 0 in the target."""
    allowed = site.node.attributes.pop("allowzero", None)
    if allowed is not None and allowed.as_int():
        shape = site.known(1, "its target, in which a 0 is a size,")
        if shape is not None and np.any(shape == 0):
            raise Refused("makes an axis of size 0")


def _shape(site: Site, target: int) -> None:
    node = site.node
    start, end = node.attributes.get_int("start", 0), node.attributes.get_int("end", 2**31)
    if "start" not in node.attributes and "end" not in node.attributes:
        return
    whole = ir.node("Shape", [node.inputs[0]])
    whole.outputs[0].dtype = ir.DataType.INT64
    if target < 10:
        attributes = {"starts": [start], "ends": [end], "axes": [0]}
        site.replace([whole, ir.node("Slice", [whole.outputs[0]], attributes)])
        return
    ends = [site.constant(np.asarray([number], np.int64)) for number in (start, end, 0)]
    site.replace([whole, ir.node("Slice", [whole.outputs[0], *ends])])


def _constant(site: Site, target: int) -> None:
    node = site.node
    for name, dtype in (("value_int", np.int64), ("value_ints", np.int64), ("value_float", np.float32),
                        ("value_floats", np.float32)):  # fmt: skip
        attribute = node.attributes.get(name)
        if attribute is not None:
            if attribute.is_ref():
                raise Refused("takes the attribute of a function")
            node.attributes.pop(name)
            node.attributes["value"] = ir.AttrTensor("value", ir.tensor(np.asarray(attribute.value, dtype)))


def _or_equal(site: Site, target: int) -> None:
    inputs = list(site.node.inputs)
    strict = site.node.op_type.removesuffix("OrEqual")
    if not _floats(site):
        opposite = _truth("Greater" if strict == "Less" else "Less", *inputs)
        site.replace([opposite, _truth("Not", opposite.outputs[0])])
        return
    nodes = [_truth(strict, *inputs), *(_equal_numbers(site) if target < 11 else [_truth("Equal", *inputs)])]
    site.replace([*nodes, _truth("Or", nodes[0].outputs[0], nodes[-1].outputs[0])])


def _equal(site: Site, target: int) -> None:
    data = site.input(0)
    if _floats(site) or (data is not None and data.dtype in _EQUAL_FROM_11):
        site.replace(_equal_numbers(site))


_EQUAL_FROM_11 = frozenset(
    (ir.DataType.INT8, ir.DataType.INT16, ir.DataType.UINT8, ir.DataType.UINT16, ir.DataType.UINT32, ir.DataType.UINT64)
)


def _equal_numbers(site: Site) -> list[ir.Node]:
    """Return nodes for the equality of numbers that old opsets compare by Less and Greater alone; NaN equals none."""
    inputs = list(site.node.inputs)
    apart = [_truth(op_type, *inputs) for op_type in ("Less", "Greater")]
    if _floats(site):
        apart += [_truth("IsNaN", value) for value in inputs]
    nodes, current = list(apart), apart[0].outputs[0]
    for node in apart[1:]:
        nodes.append(_truth("Or", current, node.outputs[0]))
        current = nodes[-1].outputs[0]
    return [*nodes, _truth("Not", current)]


def _floats(site: Site) -> bool:
    data = site.input(0)
    if data is None or data.dtype is None:
        raise Refused("works on an unknown type")
    return data.dtype.is_floating_point()


def _truth(op_type: str, *inputs: ir.Value | None) -> ir.Node:
    node = ir.node(op_type, inputs)
    node.outputs[0].dtype = ir.DataType.BOOL
    return node


def _round(site: Site, target: int) -> None:
    """Write rounding half to even by Floor: up where the rest is over a half, or a half and the whole part odd."""
    x = site.input(0)
    if x is None or x.dtype is None:
        raise Refused("works on an unknown type")
    half, two = (site.constant(np.asarray(number, x.dtype.numpy())) for number in (0.5, 2))
    nodes: list[ir.Node] = []

    def add(op_type: str, *inputs: ir.Value, dtype: ir.DataType = x.dtype, **attributes: int) -> ir.Value:
        nodes.append(ir.node(op_type, inputs, attributes))
        nodes[-1].outputs[0].dtype = dtype
        return nodes[-1].outputs[0]

    boolean = ir.DataType.BOOL
    whole = add("Floor", x)
    rest = add("Sub", x, whole)
    odd = add("Sub", whole, add("Mul", add("Floor", add("Div", whole, two)), two))
    over = add("Greater", rest, half, dtype=boolean)
    reached = add("Not", add("Less", rest, half, dtype=boolean), dtype=boolean)
    tie = add("And", reached, add("Cast", odd, dtype=boolean, to=int(boolean)), dtype=boolean)
    up = add("Cast", add("Or", over, tie, dtype=boolean), to=int(x.dtype))
    add("Add", whole, up)
    site.replace(nodes)


def _gemm(site: Site, target: int) -> None:
    if site.input(2) is None:
        dtype = site.node.inputs[0].dtype if site.node.inputs[0] is not None else None
        site.node.resize_inputs(3)
        site.node.replace_input_with(2, site.constant(np.zeros(1, np.float32 if dtype is None else dtype.numpy())))


def _grid_sample(site: Site, target: int) -> None:
    names = {"linear": "bilinear", "cubic": "bicubic"}
    mode = site.node.attributes.get_string("mode", "linear")
    data = site.input(0)
    if data is None or data.shape is None or len(data.shape) != 4:
        raise Refused("has no two spatial axes")
    site.node.attributes["mode"] = ir.AttrString("mode", names.get(mode, mode))


def _dft(site: Site, target: int) -> None:
    axis = site.known(2, "its axis")
    site.node.attributes["axis"] = ir.AttrInt64("axis", -2 if axis is None else int(axis.item()))
    site.keep_inputs(2)
    if site.node.attributes.get_int("axis", 1) < 0:
        rank = site.rank()
        site.node.attributes["axis"] = ir.AttrInt64("axis", site.node.attributes.get_int("axis", 1) % rank)


def _roi_align(site: Site, target: int) -> None:
    mode = site.node.attributes.get_string("coordinate_transformation_mode", "half_pixel")
    site.node.attributes.pop("coordinate_transformation_mode", None)
    if mode != "output_half_pixel":
        raise Refused(f"places samples by {mode}, before opset 16 there is only output_half_pixel")


def _scatter(site: Site, target: int) -> None:
    if site.node.attributes.get_string("reduction", "none") != "none":
        raise Refused("combines what it writes")
    site.node.attributes.pop("reduction", None)
    site.node.op_type = "Scatter"


def _mod(site: Site, target: int) -> None:
    data = site.input(0)
    floats = data is None or data.dtype is None or data.dtype.is_floating_point()
    if floats and not site.node.attributes.get_int("fmod", 0):
        raise Refused("rounds the quotient of floats down, which is new in opset 28")


def _cast_like(site: Site, target: int) -> None:
    like = site.input(1)
    if like is None or like.dtype is None:
        raise Refused("is new in opset 15, and the type that it casts to is not known")
    site.replace([ir.node("Cast", [site.input(0)], {"to": int(like.dtype)})])


def _axis_from_the_front(site: Site, target: int) -> None:
    """Count a negative axis from the front: others are new in opset 11."""
    axis = site.node.attributes.get_int("axis", 0)
    if axis >= 0:
        return
    data = site.input(0)
    if data is not None and data.shape is not None:
        site.node.attributes["axis"] = ir.AttrInt64("axis", axis + len(data.shape))
    elif site.node.op_type == "Flatten":  # runtimes take the others as they are
        raise Refused(f"its axis is {axis}, and the rank of its input is not known")


_REDUCTIONS = tuple(
    f"Reduce{name}" for name in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")
)
# Operators, the opset that brought today's form, and the way back; applied from the newest to the oldest.
LOWERINGS: tuple[tuple[tuple[str, ...], int, Lowering], ...] = (
    (("Mod",), 28, _mod),
    (("DequantizeLinear",), 23, _quantizer),
    (("QuantizeLinear",), 21, _quantizer),
    (("DequantizeLinear", "QuantizeLinear"), 19, _quantizer),
    (("DequantizeLinear", "QuantizeLinear"), 13, _quantizer),
    (("DFT",), 20, _dft),
    (("GridSample",), 20, _grid_sample),
    (("Pad",), 18, _pad_axes),
    (("Pad",), 11, _pad_attributes),
    (_REDUCTIONS, 18, _axes_to_attribute),
    (("Resize",), 18, _resize_axes),
    (("Resize",), 13, _resize_inputs),
    (("Resize",), 11, _resize_10),
    (("RoiAlign",), 16, _roi_align),
    (("Shape",), 15, _shape),
    (("CastLike",), 15, _cast_like),
    (("Split",), 18, _split_sizes),
    (("Split",), 13, _split_attribute),
    (("Reshape",), 14, _reshape),
    (("ReduceSum", "Squeeze", "Unsqueeze"), 13, _axes_to_attribute),
    (("Hardmax", "LogSoftmax", "Softmax"), 13, _softmax),
    (("Constant",), 12, _constant),
    (("Dropout",), 12, _dropout),
    (("GreaterOrEqual", "LessOrEqual"), 12, _or_equal),
    (("Equal",), 11, _equal),
    (("ArgMax", "ArgMin", "Compress", "Concat", "Flatten", "Gather", "Split"), 11, _axis_from_the_front),
    (("Round",), 11, _round),
    (("Clip",), 11, _clip),
    (("Gemm",), 11, _gemm),
    (("ScatterElements",), 11, _scatter),
    (("Slice",), 10, _slice),
    (("TopK",), 10, _topk),
)
