"""What the tensors of a model hold over a data set: ranges, moments, zeros, saturation, histograms, in one pass."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.analyses.histogram import Bins, Histogram
from qonnx_core.errors import InvalidInput
from qonnx_core.execute.compiled import CompiledModel, compile_model
from qonnx_core.execute.samples import Progress, Samples, default_batch_size
from qonnx_core.execute.steps import StepBuilder
from qonnx_core.formats.normalize import normalized_copy
from qonnx_core.ir.annotations import get_layout
from qonnx_core.ir.constants import constant_array
from qonnx_core.ops.bipolar_quant import BipolarQuant
from qonnx_core.ops.multithreshold import MultiThreshold
from qonnx_core.ops.op import QonnxOp
from qonnx_core.ops.registry import op_of
from qonnx_core.passes.infer_shapes import InferShapes

Array = NDArray[Any]

_LARGE = 1e150
_MAX_NUMBERS = 2**24  # of all tensors of a batch together, unless one sample has more


@dataclass(frozen=True, slots=True)
class Moments:
    """Range, mean and spread of finite numbers, one entry for each channel (or a single one).

    ``std`` is that of the numbers themselves (divided by their count). Where a channel has no finite number, its
    entries are NaN. ``zeros`` counts 0 and -0.
    """

    minimum: tuple[float, ...]
    maximum: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    zeros: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the entries as JSON values; NaN becomes None."""
        return {
            "min": _plain(self.minimum),
            "max": _plain(self.maximum),
            "mean": _plain(self.mean),
            "std": _plain(self.std),
            "zeros": list(self.zeros),
        }


@dataclass(frozen=True, slots=True)
class Saturation:
    """How many numbers stand at the ends of a quantizer: ``low`` to ``high`` is the range of all its channels."""

    low: float
    high: float
    at_low: int
    at_high: int

    def to_dict(self) -> dict[str, Any]:
        """Return the counts as JSON values."""
        return {"low": self.low, "high": self.high, "at_low": self.at_low, "at_high": self.at_high}


@dataclass(frozen=True, slots=True)
class TensorStatistics:
    """What one tensor holds over all samples.

    Attributes:
        name: the tensor.
        op_type: what makes it, or ``input``.
        samples: how many samples were run.
        shape: its shape in the first batch, the batch included.
        elements: how many numbers were seen; ``nans`` and ``infinities`` of them are counted nowhere else.
        total: range and moments of all.
        channels: the same for each channel; None where the tensor has no axis of channels.
        saturation: None where it is no output of a quantizer with known ends, or one with two levels.
        levels: the different numbers with their counts, None where there are more than 256.
        bins: a histogram of all numbers.
    """

    name: str
    op_type: str
    samples: int
    shape: tuple[int, ...]
    elements: int
    nans: int
    infinities: int
    total: Moments
    channels: Moments | None
    saturation: Saturation | None
    levels: Mapping[float, int] | None
    bins: Bins

    def to_dict(self, *, channels: bool = True) -> dict[str, Any]:
        """Return everything as JSON values, the entries of each channel where wanted."""
        total = {key: entries[0] for key, entries in self.total.to_dict().items()}
        return {
            "name": self.name,
            "op_type": self.op_type,
            "samples": self.samples,
            "shape": list(self.shape),
            "elements": self.elements,
            "nans": self.nans,
            "infinities": self.infinities,
            **total,
            "saturation": None if self.saturation is None else self.saturation.to_dict(),
            "levels": None if self.levels is None else [list(level) for level in self.levels.items()],
            "histogram": self.bins.to_dict(),
            **({"channels": None if self.channels is None else self.channels.to_dict()} if channels else {}),
        }


def tensor_statistics(
    model: ir.Model,
    data: Samples,
    *,
    tensors: str | Iterable[str] | None = None,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> dict[str, TensorStatistics]:
    """Return statistics of the tensors of a model over a data set, by name; memory is that of one batch.

    Args:
        model: the model; its constants need no data and are left out.
        data: the samples, as :meth:`CompiledModel.stream` takes them. Every batch is looked at once.
        tensors: names or patterns of the tensors; by default all that depend on the inputs, these included.
        batch_size: samples in one run; chosen by the size of a sample where left out. Counts, ranges and histograms do
            not depend on it; mean and standard deviation do in their last bits.
        progress: called with the number of samples that are done, and of all where it is known.

    Raises:
        InvalidInput: the data do not fit, there are no samples, or a tensor is unknown.
    """
    collector = Collector(model, tensors)
    size = collector.batch_size if batch_size is None else batch_size
    for results in collector.compiled.stream(data, batch_size=size, progress=progress):
        collector.add(results)
    return collector.statistics()


class Collector:
    """Collects statistics from batches of results.

    Attributes:
        compiled: the model whose results are to be added.
        batch_size: samples whose tensors are not large together, as far as shapes are known ahead.
    """

    def __init__(self, model: ir.Model, tensors: str | Iterable[str] | None = None) -> None:
        names = compile_model(model).activation_names if tensors is None else tensors
        self.compiled: CompiledModel = compile_model(model, outputs=[names] if isinstance(names, str) else list(names))
        varying = frozenset(self.compiled.activation_names)
        copy = normalized_copy(model)
        InferShapes().run(copy)
        values = {
            value.name: value for value in (*copy.graph.inputs, *(v for node in copy.graph for v in node.outputs))
        }
        self._tensors = {
            name: _Tensor(name, values.get(name), copy) for name in self.compiled.output_names if name in varying
        }
        if not self._tensors:
            raise InvalidInput(
                "tensors: those asked for are constants, the same for all data; expected some that depend on inputs."
            )

        shapes = [tuple(value.shape) for name in self._tensors if (value := values.get(name)) and value.shape]
        numbers = sum(math.prod(dim for dim in shape[1:] if isinstance(dim, int)) for shape in shapes)
        self.batch_size = min(default_batch_size(shapes), max(1, _MAX_NUMBERS // max(1, numbers)))

    def add(self, results: Mapping[str, Array]) -> None:
        """Count in what one batch gave."""
        for name, tensor in self._tensors.items():
            tensor.add(np.asarray(results[name]))

    def statistics(self) -> dict[str, TensorStatistics]:
        """Return what was seen, by name.

        Raises:
            InvalidInput: nothing was added, or no sample was in it.
        """
        if all(tensor.elements == 0 for tensor in self._tensors.values()):
            raise InvalidInput("samples: found none; expected at least one. Check the data.")
        return {name: tensor.statistics() for name, tensor in self._tensors.items()}


class _Tensor:
    """What was seen of one tensor."""

    def __init__(self, name: str, value: ir.Value | None, model: ir.Model) -> None:
        producer = None if value is None else value.producer()
        self._name = name
        self._op_type = "input" if producer is None else producer.op_type
        self._last = value is not None and (get_layout(value) or ("",))[-1] == "C"
        self._limits = None if producer is None else _limits(producer, model)
        self._shape: tuple[int, ...] = ()
        self.elements = self._samples = self._nans = self._infinities = self._at_low = self._at_high = 0
        self._sums: _Sums | None = None
        self._histogram = Histogram()

    def add(self, array: Array) -> None:
        if array.dtype.kind not in "biuf":
            raise InvalidInput(f"tensor {self._name}: holds {array.dtype}; expected numbers. Ask for other tensors.")
        axis = (array.ndim - 1 if self._last else 1) if array.ndim > 1 else None
        count = 1 if axis is None else array.shape[axis]
        if self._sums is None:
            self._shape = array.shape
            self._sums = _Sums(count)
        elif self._sums.count.size != count:
            raise InvalidInput(
                f"tensor {self._name}: has {count} channels after {self._sums.count.size}; expected the same in every "
                "batch. Leave the tensor out."
            )
        if self._op_type == "input" and not array.ndim and self.elements:
            return  # one number for all samples, which every batch brings again
        self.elements += array.size
        self._samples += array.shape[0] if array.ndim else 1
        if not array.size:
            return
        if self._limits is not None:
            low, high = self._limits
            self._at_low += int(np.count_nonzero(array == low))
            self._at_high += int(np.count_nonzero(array == high))
        rows = (array if axis is None else np.moveaxis(array, axis, 0)).reshape(count, -1).astype(np.float64)
        finite = np.isfinite(rows) if array.dtype.kind == "f" else None
        if finite is not None and not finite.all():
            self._nans += int(np.isnan(rows).sum())
            self._infinities += int(np.isinf(rows).sum())
        else:
            finite = None
        self._sums.add(rows, finite)
        self._histogram.add(rows if finite is None else rows[finite])

    def statistics(self) -> TensorStatistics:
        assert self._sums is not None
        saturation = None
        if self._limits is not None:
            low, high = (float(fold(limit)) for fold, limit in zip((np.min, np.max), self._limits, strict=True))
            saturation = Saturation(low, high, self._at_low, self._at_high)
        return TensorStatistics(
            name=self._name,
            op_type=self._op_type,
            samples=self._samples,
            shape=self._shape,
            elements=self.elements,
            nans=self._nans,
            infinities=self._infinities,
            total=self._sums.total().moments(),
            channels=self._sums.moments() if len(self._shape) > 1 else None,
            saturation=saturation,
            levels=self._histogram.levels,
            bins=self._histogram.bins,
        )


class _Sums:
    """Count, range, mean and sum of squared deviations of each channel, in float64, huge numbers in long double.

    Batches are joined by the pairwise update of Chan, Golub and LeVeque (1979), which keeps the deviations accurate
    where the mean is large.
    """

    def __init__(self, channels: int) -> None:
        self.count = np.zeros(channels, np.int64)
        self.zeros = np.zeros(channels, np.int64)
        self.minimum = np.full(channels, np.inf)
        self.maximum = np.full(channels, -np.inf)
        self.mean = np.zeros(channels, np.longdouble)
        self.deviations = np.zeros(channels, np.longdouble)

    def add(self, rows: Array, finite: NDArray[np.bool_] | None) -> None:
        """Count in rows of numbers, one for each channel, those alone that ``finite`` marks."""
        other = _Sums(len(rows))
        keep: Any = True if finite is None else finite
        other.count[:] = rows.shape[1] if finite is None else finite.sum(axis=1)
        other.zeros[:] = np.count_nonzero(rows == 0, axis=1)
        other.minimum = rows.min(axis=1, initial=np.inf, where=keep)
        other.maximum = rows.max(axis=1, initial=-np.inf, where=keep)
        many = np.maximum(other.count, 1)
        with np.errstate(all="ignore"):
            if max(np.abs(other.minimum).max(initial=0, where=other.count > 0),
                   np.abs(other.maximum).max(initial=0, where=other.count > 0)) > _LARGE:  # fmt: skip
                rows = rows.astype(np.longdouble)  # whose squares float64 does not hold
            other.mean = rows.sum(axis=1, where=keep) / many
            other.deviations = np.square(rows - other.mean[:, None]).sum(axis=1, where=keep)
        self.join(other)

    def join(self, other: _Sums) -> None:
        """Count in what another one holds for the same channels."""
        count = self.count + other.count
        many = np.maximum(count, 1)
        with np.errstate(all="ignore"):
            step = other.mean - self.mean
            mean = self.mean + step * (other.count / many)
            spread = np.square(step) * (self.count / many * other.count)
            self.deviations = self.deviations + other.deviations + np.where(count > 0, spread, 0)
        self.mean = np.where(other.count == 0, self.mean, mean)
        self.count = count
        self.zeros = self.zeros + other.zeros
        self.minimum = np.minimum(self.minimum, other.minimum)
        self.maximum = np.maximum(self.maximum, other.maximum)

    def total(self) -> _Sums:
        """Return the sums over all channels."""
        total = _Sums(1)
        for channel in range(self.count.size):
            total.join(self._channel(channel))
        return total

    def _channel(self, channel: int) -> _Sums:
        one = _Sums(1)
        for name in ("count", "zeros", "minimum", "maximum", "mean", "deviations"):
            setattr(one, name, getattr(self, name)[channel : channel + 1])
        return one

    def moments(self) -> Moments:
        some = self.count > 0
        nan = float("nan")

        def entries(array: Array) -> tuple[float, ...]:
            return tuple(np.where(some, array, nan).astype(np.float64).tolist())

        return Moments(
            minimum=entries(self.minimum),
            maximum=entries(self.maximum),
            mean=entries(self.mean),
            std=entries(np.sqrt(self.deviations / np.maximum(self.count, 1))),
            zeros=tuple(self.zeros.tolist()),
        )


def _limits(node: ir.Node, model: ir.Model) -> tuple[Array, Array] | None:
    """Return the lowest and the highest number that a quantizer gives, with the shape of its parameters.

    They are what its definition gives for infinities, so they are the numbers that stand in its output to the bit.
    """
    op = op_of(node, model.opset_imports)
    data = node.inputs[0] if node.inputs else None
    if op is None or data is None or isinstance(op, BipolarQuant):
        return None
    parameters = [constant_array(value) for value in node.inputs[1:] if value is not None]
    if any(parameter is None for parameter in parameters):
        return None
    dtype = np.float32 if data.dtype is None else data.dtype.numpy()
    ends = _ends(op, [parameter for parameter in parameters if parameter is not None], np.dtype(dtype))
    if ends is None or not all(np.isfinite(end).all() for end in ends):
        return None
    low, high = np.minimum(*ends), np.maximum(*ends)
    # Two levels, as those of a bipolar quantizer, stand at an end always.
    middle = _at(op, [parameter for parameter in parameters if parameter is not None], np.dtype(dtype).type(0))
    two_levels = middle is not None and bool(np.all((middle == low) | (middle == high)))
    return None if two_levels and np.all(low == -high) else (low, high)


def _ends(op: QonnxOp, parameters: list[Array], dtype: np.dtype[Any]) -> tuple[Array, Array] | None:
    if isinstance(op, MultiThreshold):
        count = np.asarray([0, parameters[0].shape[-1]], dtype)
        low, high = count * dtype.type(op.out_scale) + dtype.type(op.out_bias)
        return low, high
    found = [_at(op, parameters, dtype.type(sign * np.inf)) for sign in (-1, 1)]
    return None if found[0] is None or found[1] is None else (found[0], found[1])


def _at(op: QonnxOp, parameters: list[Array], number: np.generic) -> Array | None:
    """Return what an operator gives for a number; None where its definition is more than one formula."""
    if isinstance(op, MultiThreshold) or not op.broadcasts:
        return None
    with np.errstate(all="ignore"):
        found = op.body(StepBuilder(), np.asarray(number), *parameters)
    return None if isinstance(found, ir.Value) else np.asarray(found)


def _plain(entries: Iterable[float]) -> list[float | None]:
    return [None if np.isnan(entry) else entry for entry in entries]
