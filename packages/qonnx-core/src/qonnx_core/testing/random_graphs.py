"""Random quantized networks of all kinds of layers, for property tests of passes, executors and conversions.

With ``exact=True`` every sum of the graph is exact in float32, so that any order of summation, fused or not, gives the
same bits. The argument: every tensor is known to hold multiples of ``2^g`` (its ``grid``) up to a largest magnitude;
products of two such tensors are multiples of ``2^(g + h)``; a sum of them of at most ``2^24`` steps in magnitude,
counting each term with its largest magnitude, is a float32 number, and so is every partial sum in any order. Before a
layer that could go beyond this, the generator quantizes its input. All scales are powers of two, batch norms have a
variance whose root is one, and averages are over a power of two of elements, so that dividing by them is exact too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_ir as ir
from hypothesis import strategies as st

from qonnx_core.formats.normalize import normalize
from qonnx_core.ir.verify import verify
from qonnx_core.testing.graph_writer import QONNX, Array, GraphWriter, Tensor
from qonnx_core.testing.random_exporter_layers import (
    Layer,
    attention,
    bipolar_dense,
    branch,
    computed_reshape,
    gemm,
    in_double,
    matrix_behind_last,
    moved_axes,
    pointwise,
    repeated_quants,
    shared_constant,
    without_effect,
)
from qonnx_core.testing.random_image_layers import (
    any_conv,
    any_pool,
    branches,
    conv_transpose,
    patches,
    quant_avg_pool,
    squeeze_excite,
    upsampled,
    whole_image,
    with_zero_channels,
)
from qonnx_core.testing.random_layers import (
    average,
    batch_norm,
    constant_arithmetic,
    conv,
    dense,
    join,
    pad,
    split_and_join,
    transposed,
)
from qonnx_core.testing.random_quantizers import activation

Kind = Literal["mlp", "cnn", "mixed", "varied"]
INPUT_GRID = -3
INPUT_BOUND = 8.0


@dataclass(frozen=True, slots=True)
class RandomGraph:
    """A model, and inputs for it that lie on the grid its exactness rests on: multiples of 1/8 within +-8."""

    model: ir.Model
    inputs: dict[str, Array]
    seed: int
    exact: bool
    known: dict[str, tuple[int, float, float]]
    """For many tensors ``(g, low, high)``: the numbers in it are from low to high, and multiples of 2^g if exact."""

    def more_inputs(self, frames: int, seed: int = 0) -> dict[str, Array]:
        """Return that many further frames for each input."""
        generator = np.random.default_rng((self.seed, seed, 1))
        return {
            name: _samples(generator, (frames, *array.shape[1:]), self.exact) for name, array in self.inputs.items()
        }


def random_graph(
    seed: int, kind: Kind = "mixed", *, exact: bool = True, size: int = 8, batch: int | str = 1, trunc_version: int = 0
) -> RandomGraph:
    """Return a quantized network that the seed determines, in the form in which :func:`qonnx_core.load` returns it.

    Args:
        seed: any whole number of 0 or more.
        kind: ``mlp`` has an input ``(N, F)``; ``cnn`` one of ``(N, C, H, W)`` or ``(N, C, W)``, and images throughout;
            ``mixed`` starts as ``cnn`` and ends as ``mlp``; ``varied`` does so too, with volumes ``(N, C, D, H, W)``
            as well, and with all the forms in which exporters write layers and what stands around them.
        exact: all sums are exact in float32 (see above); else scales and constants are any numbers.
        size: the number of steps, each of one layer or a few nodes.
        batch: the size of the batch in the file, or the name of a free one; a free one gets three frames as input.
        trunc_version: the version of the QONNX domain, 1 or 2, which is that of Trunc; 0 leaves it to the seed.
    """
    generator = np.random.default_rng((seed, {"mlp": 0, "cnn": 1, "mixed": 2, "varied": 3}[kind]))
    writer = GraphWriter(generator, batch)
    version = trunc_version or writer.pick(1, 2)
    shape = _input_shape(writer, kind)
    source = ir.Value(name="x", shape=ir.Shape((batch, *shape[1:])), type=ir.TensorType(ir.DataType.FLOAT))
    x = Tensor(source, shape, INPUT_GRID, -INPUT_BOUND, INPUT_BOUND)
    if writer.chance(0.7):
        x = activation(writer, x, exact, version)
    tensors = [writer.remember(x)]
    images = size if kind == "cnn" else size // 2
    for step in range(size):
        if kind in ("mixed", "varied") and step == images:
            x = _flattened(writer, x)
        make = _varied_layer if kind == "varied" and writer.chance(0.75) else _layer
        x = make(writer, tensors, x, exact, version)
        tensors.append(writer.remember(x))
    outputs = [x.value if x.value is not source else writer.same(x, "Relu").value]
    aside = writer.choose(tensors).value
    if writer.chance(0.25) and aside is not source and aside not in outputs:
        outputs.append(aside)
    graph = ir.Graph(
        [source],
        outputs,
        nodes=writer.nodes,
        initializers=writer.initializers,
        opset_imports={"": 21, QONNX: version},
        name=f"random_{kind}_{seed}",
    )
    model = ir.Model(graph, ir_version=10)
    normalize(model)
    verify(model)
    frames = batch if isinstance(batch, int) else 3
    inputs = {"x": _samples(generator, (frames, *shape[1:]), exact)}
    known = {name: (tensor.grid, tensor.low, tensor.high) for name, tensor in writer.known.items()}
    return RandomGraph(model, inputs, seed, exact, known)


def random_graphs(
    kind: Kind | None = None, *, exact: bool = True, min_size: int = 1, max_size: int = 10, batch: int | str = 1
) -> st.SearchStrategy[RandomGraph]:
    """Return a hypothesis strategy of random graphs; it shrinks to fewer steps and to smaller seeds."""
    kinds = st.sampled_from(("mlp", "cnn", "mixed")) if kind is None else st.just(kind)
    return st.builds(
        lambda seed, chosen, size: random_graph(seed, chosen, exact=exact, size=size, batch=batch),
        st.integers(0, 10_000),
        kinds,
        st.integers(min_size, max_size),
    )


def _input_shape(writer: GraphWriter, kind: Kind) -> tuple[int, ...]:
    if kind == "mlp":
        return (1, writer.choose([3, 4, 6, 8]))
    channels = writer.choose([1, 2, 3, 4])
    if kind == "varied" and writer.chance(0.15):
        return (1, channels, 3, 4, 2)
    return (
        (1, channels, writer.choose([6, 8])) if writer.chance(0.2) else (1, channels, *writer.choose([(6, 6), (8, 5)]))
    )


def _samples(generator: np.random.Generator, shape: tuple[int, ...], exact: bool) -> Array:
    most = int(INPUT_BOUND / 2**INPUT_GRID)
    grid = generator.integers(-most, most + 1, shape).astype(np.float32) * np.float32(2**INPUT_GRID)
    return grid if exact else np.clip(generator.normal(0, 3, shape), -INPUT_BOUND, INPUT_BOUND).astype(np.float32)


def _layer(writer: GraphWriter, tensors: list[Tensor], x: Tensor, exact: bool, version: int) -> Tensor:
    """Return the tensor after one random step."""
    if exact and x.steps > 2.0**18:
        x = activation(writer, x, exact, version, bits=4)
    image = len(x.shape) > 2
    choices = {
        "activation": 5,
        "weights": 5,
        "arithmetic": 2,
        "batch_norm": 2,
        "relu": 2,
        "clip": 1,
        "join": 3,
        "split": 1,
        "transpose": 1,
        "reshape": 1,
        "max_pool": 1 if image and min(x.shape[2:]) >= 2 else 0,
        "average": 2 if image else 0,
        "pad": 1 if image and max(x.shape[2:]) <= 10 else 0,
    }
    names = [name for name, weight in choices.items() for _ in range(weight)]
    match writer.choose(names):
        case "activation":
            return activation(writer, x, exact, version)
        case "weights":
            return conv(writer, x, exact, version) if image else dense(writer, x, exact, version)
        case "arithmetic":
            return constant_arithmetic(writer, x, exact)
        case "batch_norm":
            return batch_norm(writer, x, exact)
        case "relu":
            return writer.same(x, "Relu", low=max(0.0, x.low), high=max(0.0, x.high))
        case "clip":
            return _clip(writer, x)
        case "join":
            return join(writer, tensors, x)
        case "split":
            return split_and_join(writer, x)
        case "transpose":
            return transposed(writer, x, exact)
        case "reshape":
            return _reshaped(writer, x)
        case "max_pool":
            return _max_pool(writer, x)
        case "average":
            return average(writer, x, exact)
        case _:
            return pad(writer, x)


def _varied_layer(writer: GraphWriter, tensors: list[Tensor], x: Tensor, exact: bool, version: int) -> Tensor:
    """Return the tensor after one random step of the forms that the other kinds of graphs do not have."""
    if exact and x.steps > 2.0**18:
        x = activation(writer, x, exact, version, bits=4)
    layer: Layer = writer.choose(_varied_choices(writer, x))
    return layer(writer, x, exact, version)


def _varied_choices(writer: GraphWriter, x: Tensor) -> list[Layer]:
    """Return what can come next, with what should come often in there more than once."""
    if math.prod(x.shape) > 600:  # before images grow without end
        return [_plain(any_pool)] if len(x.shape) > 2 else [gemm]
    quiet = (computed_reshape, without_effect, shared_constant, in_double, branch, pointwise, moved_axes)
    choices = [*map(_plain, quiet), repeated_quants]
    if len(x.shape) == 2:
        return [*choices, gemm, gemm, _plain(bipolar_dense), _plain(bipolar_dense)]
    pools = (any_pool, any_pool, quant_avg_pool) if writer.chance(0.8) else (whole_image,)
    images = (
        any_conv,
        any_conv,
        patches,
        conv_transpose,
        upsampled,
        upsampled,
        branches,
        with_zero_channels,
        squeeze_excite,
    )
    return [*choices, *images, *map(_plain, pools), matrix_behind_last, attention]


def _plain(layer: Callable[[GraphWriter, Tensor], Tensor]) -> Layer:
    """Return the layer as one that makes no difference for exact graphs and versions of the domain."""
    return lambda writer, x, exact, version: layer(writer, x)


def _flattened(writer: GraphWriter, x: Tensor) -> Tensor:
    """Return the tensor as ``(N, F)``, by Flatten or Reshape, sometimes with the channels last before."""
    if len(x.shape) == 2:
        return x
    if writer.chance(0.3):
        perm = [0, *range(2, len(x.shape)), 1]
        shape = tuple(x.shape[axis] for axis in perm)
        x = writer.same(x, "Transpose", shape=shape, attributes={"perm": perm})
    flat = (1, math.prod(x.shape))
    if writer.chance(0.5):
        return writer.same(x, "Flatten", shape=flat, attributes={"axis": 1})
    target = writer.ints(*(writer.choose([(0, -1), (-1, flat[1]), (1, -1)]) if writer.batch == 1 else (0, -1)))
    return writer.same(x, "Reshape", [target], shape=flat)


def _reshaped(writer: GraphWriter, x: Tensor) -> Tensor:
    """Return the tensor in another shape and back, with an activation function in between."""
    inner = (1, math.prod(x.shape)) if len(x.shape) > 2 else (1, x.shape[1], 1)
    y = writer.same(x, "Reshape", [writer.ints(0, *inner[1:])], shape=inner)
    y = writer.same(y, "Relu", low=max(0.0, x.low), high=max(0.0, x.high)) if writer.chance(0.5) else y
    return writer.same(y, "Reshape", [writer.ints(0, *x.shape[1:])], shape=x.shape)


def _clip(writer: GraphWriter, x: Tensor) -> Tensor:
    step = 2.0**x.grid
    ends = [math.floor(x.low / 2 / step) * step, math.ceil(x.high / 2 / step) * step]
    low, high = writer.numbers(*ends)
    if writer.chance(0.3):
        return writer.same(x, "Clip", [None, high], high=ends[1], low=min(x.low, ends[1]))
    return writer.same(x, "Clip", [low, high], low=ends[0], high=ends[1])


def _max_pool(writer: GraphWriter, x: Tensor) -> Tensor:
    spatial = x.shape[2:]
    kernel = writer.choose([size for size in (2, 3) if size <= min(spatial)])
    stride = writer.pick(1, 2)
    before = writer.pick(0, 1) if kernel == 3 else 0
    sizes = tuple((size + 2 * before - kernel) // stride + 1 for size in spatial)
    count = len(spatial)
    attributes = {"kernel_shape": [kernel] * count, "strides": [stride] * count, "pads": [before] * (2 * count)}
    return writer.same(x, "MaxPool", shape=(*x.shape[:2], *sizes), attributes=attributes)
