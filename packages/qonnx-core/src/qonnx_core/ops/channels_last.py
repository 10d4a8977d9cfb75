"""The domain of Conv, MaxPool and BatchNormalization with the channels on the last axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from qonnx_core.errors import InvalidModel
from qonnx_core.ir.datatypes import DataType
from qonnx_core.ir.names import label_of
from qonnx_core.ops.builder import Builder, Operand
from qonnx_core.ops.op import QonnxOp
from qonnx_core.ops.windows import Shape, Window, channels_first, channels_last, check_window, filled, rank_of

CHANNELS_LAST = "qonnx.custom_op.channels_last"


@dataclass(frozen=True)
class ChannelsLastOp(QonnxOp):
    """An operator of ONNX for data ``(N, ..., C)``: the one between two transpositions, with the same attributes."""

    domain: ClassVar[str] = CHANNELS_LAST
    broadcasts: ClassVar[bool] = False
    # Attributes that are no fields, and the values that leave the operator what it is; None stands for all values.
    harmless: ClassVar[Mapping[str, tuple[object, ...] | None]] = {}

    @classmethod
    def check(cls, node: ir.Node) -> None:
        """Raise InvalidModel where an attribute would change the operator in a way that the format does not know."""
        made = cls.from_node(node)
        for name, attribute in node.attributes.items():
            values = cls.harmless.get(name, ())
            if name not in made.attributes() and values is not None and attribute.value not in values:
                raise InvalidModel(
                    f"{label_of(node)}: attribute {name} is {attribute.value!r}, "
                    f"which version {cls.since_version} of {cls.domain} does not have; expected only "
                    f"{', '.join(made.attributes()) or 'none'}. Write it with those."
                )


@dataclass(frozen=True)
class ChannelsLastConv(ChannelsLastOp):
    """Convolve ``(N, ..., C)`` with weights ``(O, ..., C / group)`` to ``(N, ..., O)``; the bias has O numbers.

    ``pads`` holds all begins, then all ends. One, two or three spatial axes.
    """

    kernel_shape: tuple[int, ...]
    strides: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()
    group: int = 1

    op_type: ClassVar[str] = "Conv"
    inputs: ClassVar[tuple[str, ...]] = ("x", "weights", "bias")
    about: ClassVar[Mapping[str, str]] = {
        "x": "the data, (N, ..., C)",
        "weights": "(O, ..., C / group)",
        "bias": "(O); may be left out",
        "kernel_shape": "size of a window along each spatial axis",
        "strides": "distance of two windows along each spatial axis; default all 1",
        "dilations": "distance of two elements of a window along each spatial axis; default all 1",
        "pads": "padding: all begins, then all ends; default all 0",
        "group": "number of groups of channels",
    }
    num_optional: ClassVar[int] = 1
    harmless: ClassVar[Mapping[str, tuple[object, ...] | None]] = {"auto_pad": ("NOTSET", "")}

    def __post_init__(self) -> None:
        _complete(self, "strides", "dilations", "pads")

    def body(self, op: Builder, *inputs: Operand) -> Operand:
        """Return the convolution."""
        x, weights, *bias = inputs
        rank = rank_of(x)
        operands = [channels_first(op, x, rank), channels_first(op, weights, rank_of(weights)), *bias]
        return channels_last(op, op.node("Conv", operands, _passed(op, self))[0], rank)

    def infer_shape(self, shapes: Sequence[Shape | None]) -> Shape | None:
        """Return ``(N, ..., O)``."""
        data, weights = shapes[:2]
        if data is None or len(data) != len(self.kernel_shape) + 2:
            return None
        return (data[0], *_sizes(self, data, False), None if not weights else weights[0])


@dataclass(frozen=True)
class ChannelsLastMaxPoolV1(ChannelsLastOp):
    """Return the maximum of every window of ``kernel_shape``, for data ``(N, ..., C)``."""

    kernel_shape: tuple[int, ...]
    strides: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()

    op_type: ClassVar[str] = "MaxPool"
    takes_integers: ClassVar[bool] = True
    inputs: ClassVar[tuple[str, ...]] = ("x",)
    about: ClassVar[Mapping[str, str]] = {
        "x": "the data, (N, ..., C)",
        "kernel_shape": "size of a window along each spatial axis",
        "strides": "distance of two windows along each spatial axis; default all 1",
        "dilations": "distance of two elements of a window along each spatial axis; default all 1",
        "pads": "padding: all begins, then all ends; default all 0",
        "ceil_mode": "1: a last window may reach beyond the end",
    }
    harmless: ClassVar[Mapping[str, tuple[object, ...] | None]] = {
        "auto_pad": ("NOTSET", ""),
        "ceil_mode": (0,),
        "storage_order": None,  # of an output that is not there
    }

    def __post_init__(self) -> None:
        _complete(self, "strides", "pads")

    def body(self, op: Builder, *inputs: Operand) -> Operand:
        """Return the pooled data."""
        (x,) = inputs
        rank = rank_of(x)
        return channels_last(op, op.node("MaxPool", [channels_first(op, x, rank)], _passed(op, self))[0], rank)

    def infer_shape(self, shapes: Sequence[Shape | None]) -> Shape | None:
        """Return ``(N, ..., C)``."""
        data = shapes[0]
        if data is None or len(data) != len(self.kernel_shape) + 2:
            return None
        return (data[0], *_sizes(self, data, bool(getattr(self, "ceil_mode", False))), data[-1])

    def keeps_datatype(self, datatype: DataType) -> bool:
        """Return True: every output is one of the inputs."""
        return True


@dataclass(frozen=True)
class ChannelsLastMaxPool(ChannelsLastMaxPoolV1):
    """The same, with windows that may reach beyond the end (``ceil_mode``) and dilated windows."""

    ceil_mode: bool = False
    dilations: tuple[int, ...] = ()

    since_version: ClassVar[int] = 10

    def __post_init__(self) -> None:
        _complete(self, "strides", "pads", "dilations")


@dataclass(frozen=True)
class ChannelsLastBatchNormalization(ChannelsLastOp):
    """Return ``(x - mean) / sqrt(var + epsilon) * scale + bias`` for every channel of ``(N, ..., C)``.

    Only the form for inference; ``momentum`` changes no value.
    """

    epsilon: float = 1e-5
    momentum: float = 0.9

    op_type: ClassVar[str] = "BatchNormalization"
    inputs: ClassVar[tuple[str, ...]] = ("x", "scale", "bias", "mean", "var")
    about: ClassVar[Mapping[str, str]] = {
        "x": "the data, (N, ..., C)",
        "scale": "factor, (C)",
        "bias": "what is added, (C)",
        "mean": "mean of the training data, (C)",
        "var": "variance of the training data, (C)",
        "epsilon": "added to the variance",
        "momentum": "of the training; changes no value",
    }
    harmless: ClassVar[Mapping[str, tuple[object, ...] | None]] = {
        "training_mode": (0,),
        "is_test": (1,),
        "spatial": (1,),
        "consumed_inputs": None,
    }

    def __post_init__(self) -> None:
        for name in ("epsilon", "momentum"):  # files hold float32
            object.__setattr__(self, name, float(np.float32(getattr(self, name))))

    def body(self, op: Builder, *inputs: Operand) -> Operand:
        """Return the normalized data."""
        x, *parameters = inputs
        rank = rank_of(x)
        attributes = {"epsilon": op.passed("epsilon", "epsilon", self.epsilon)}
        made = op.node("BatchNormalization", [channels_first(op, x, rank), *parameters], attributes)[0]
        return channels_last(op, made, rank)


@dataclass(frozen=True)
class ChannelsLastBatchNormalizationV9(ChannelsLastBatchNormalization):
    """The same operator under version 9 of the domain."""

    since_version: ClassVar[int] = 9


@dataclass(frozen=True)
class ChannelsLastBatchNormalizationV14(ChannelsLastBatchNormalization):
    """The same operator under version 14 of the domain."""

    since_version: ClassVar[int] = 14


def _complete(op: ChannelsLastConv | ChannelsLastMaxPoolV1, *names: str) -> None:
    """Write out the lists that a node leaves out, and check all of them."""
    axes = len(op.kernel_shape)
    if not 1 <= axes <= 3:
        raise InvalidModel(f"kernel_shape is {list(op.kernel_shape)}; expected 1 to 3 numbers. Correct the attribute.")
    check_window("kernel_shape", op.kernel_shape, axes, 1)
    for name in names:
        count, default = (2 * axes, 0) if name == "pads" else (axes, 1)
        object.__setattr__(op, name, filled(getattr(op, name), count, default))
        check_window(name, getattr(op, name), count, default)


def _passed(op: Builder, node: ChannelsLastOp) -> dict[str, ir.Attr]:
    """Return the attributes of the inner operator: those of this one."""
    values = {name: getattr(node, name) for name in node.attributes()}
    return {name: op.passed(name, name, value) for name, value in values.items()}


def _sizes(op: ChannelsLastConv | ChannelsLastMaxPoolV1, shape: Shape, ceiled: bool) -> tuple[int | None, ...]:
    dilations: tuple[int, ...] = getattr(op, "dilations", (1,) * len(op.kernel_shape))
    return Window(op.kernel_shape, op.strides, dilations, op.pads, ceiled).counts(shape[1:-1])
