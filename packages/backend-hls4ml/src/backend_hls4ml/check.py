"""The check that every plan runs: the traced network against the integer form, on corner and seeded inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from qonnx_core.eda.streams import WireFormat, wire_format
from qonnx_core.errors import Mismatch

if TYPE_CHECKING:
    from backend_hls4ml.distributed import Network
    from qonnx_core.passes.streamline import IntegerForm, Port

IntArray = npt.NDArray[np.int64]

_AMPLITUDES = (1.0, 0.5, 0.25, 0.0625)
_MAX_UNIT_VECTORS = 64


def stimuli(ports: Sequence[Port], samples: int, seed: int) -> dict[str, IntArray]:
    """Return ``{port name: integers (N, *shape[1:])}`` that reach the corners and the middle.

    All-lowest, all-highest, zero, alternating and unit frames come first, then ``samples`` seeded ones of several
    amplitudes and densities.
    """
    rng = np.random.default_rng(seed)
    frames: dict[str, list[IntArray]] = {port.name: [] for port in ports}
    wires = {port.name: wire_format(str(port.grid.datatype)) for port in ports}
    sizes = {port.name: int(np.prod(port.shape)) for port in ports}
    for port in ports:
        frames[port.name] += _corners(wires[port.name], sizes[port.name])
    for index in range(samples):
        amplitude = _AMPLITUDES[index % len(_AMPLITUDES)]
        density = 1.0 if index % 3 else 0.25
        for port in ports:
            frames[port.name].append(_random_frame(rng, wires[port.name], sizes[port.name], amplitude, density))
    longest = max(len(rows) for rows in frames.values())
    result = {}
    for port in ports:
        rows = frames[port.name]
        padded = [*rows, *(rows[i % len(rows)] for i in range(longest - len(rows)))]
        result[port.name] = np.stack(padded).reshape(longest, *port.shape[1:])
    return result


def _corners(wire: WireFormat, size: int) -> list[IntArray]:
    low, high = np.full(size, wire.lo), np.full(size, wire.hi)
    even = np.arange(size) % 2 == 0
    rest = wire.lo if wire.bipolar else 0
    rows = [low, high, np.where(even, low, high), np.where(even, high, low), np.full(size, rest)]
    for index in np.linspace(0, size - 1, min(size, _MAX_UNIT_VECTORS)).astype(int):
        row = np.full(size, rest)
        row[index] = wire.hi
        rows.append(row)
    return [row.astype(np.int64) for row in rows]


def _random_frame(rng: np.random.Generator, wire: WireFormat, size: int, amplitude: float, density: float) -> IntArray:
    if wire.bipolar:
        return np.where(rng.random(size) < 0.5 * (1 + amplitude) - 0.25, 1, -1).astype(np.int64)
    lo, hi = int(np.floor(wire.lo * amplitude)), int(np.ceil(wire.hi * amplitude))
    values = rng.integers(lo, hi, size=size, endpoint=True)
    return np.where(rng.random(size) < density, values, 0).astype(np.int64)


def check_network(network: Network, form: IntegerForm, samples: int, seed: int) -> int:
    """Compare the traced network with the integer form and return the number of frames compared.

    Raises:
        Mismatch: naming output, frame, element, expected and found.
    """
    inputs = stimuli(form.inputs, samples, seed)
    frames = len(next(iter(inputs.values())))
    expected = form.run(inputs)
    found = network.run([inputs[port.name].reshape(frames, -1) for port in form.inputs])
    compare(
        "distributed arithmetic",
        {port.name: expected[port.name] for port in form.outputs},
        {port.name: values for port, values in zip(form.outputs, found, strict=True)},
    )
    return frames


def compare(what: str, expected: Mapping[str, npt.ArrayLike], found: Mapping[str, npt.ArrayLike]) -> None:
    """Raise `Mismatch` at the first integer that differs between two sets of outputs."""
    for name, values in expected.items():
        left = np.asarray(values).astype(np.int64).reshape(len(np.asarray(values)), -1)
        right = np.asarray(found[name]).reshape(left.shape)
        wrong = np.argwhere(left != right)
        if len(wrong):
            frame, element = (int(i) for i in wrong[0])
            raise Mismatch(
                f"{name}: {what} gives {int(right[frame, element])} for element {element} of check frame {frame}; "
                f"the integer form gives {int(left[frame, element])}. This is a defect: report it with the model; "
                "the option optimize: false leaves alkaid's clean-up passes out."
            )
