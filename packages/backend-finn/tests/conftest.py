"""Small integer layers, their numpy meaning, and a run through emulation and simulation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from backend_finn import BACKEND
from backend_finn.plan import FinnDesign
from qonnx_core.eda.simulate import SimulationResult, Simulator
from qonnx_core.eda.streams import Component
from qonnx_core.eda.targets import Target
from qonnx_core.eda.tools import find_compiler, find_verilator, find_yosys
from qonnx_core.errors import ToolMissing
from qonnx_core.ir.datatypes import DataType
from qonnx_core.ir.grid import Grid
from qonnx_core.passes.streamline import IntegerForm, Port, view

Ints = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, eq=False)
class LayerForm:
    """What the planner asks of an integer form, made from layers that a test writes down."""

    written: tuple[view.Layer, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    def layers(self) -> list[view.Layer]:
        return list(self.written)

    def run(self, ints: Mapping[str, Ints]) -> dict[str, Ints]:
        """The meaning of the layers, written as the view describes it."""
        values = dict(ints)
        for layer in self.written:
            values[layer.output.name] = evaluate(layer, [values[tensor.name] for tensor in view.inputs_of(layer)])
        return {port.name: values[port.name] for port in self.outputs}


def evaluate(layer: view.Layer, x: Sequence[Ints]) -> Ints:
    match layer:
        case view.MatMul():
            return x[0] @ layer.weights + (0 if layer.bias is None else layer.bias)
        case view.Thresholds():
            return layer.base + layer.step * (x[0][..., None] >= layer.thresholds).sum(-1)
        case view.Requantize():
            rounded = [exact_round(Fraction(int(v)) / Fraction(2) ** layer.shift, layer.rounding) for v in x[0].ravel()]
            return np.clip(np.array(rounded, np.int64), layer.lo, layer.hi).reshape(x[0].shape)
        case view.Scale():
            return x[0] * layer.factor
        case view.AddConstant():
            return x[0] + layer.constant
        case view.Add():
            return x[0] + x[1]
        case view.LabelSelect():
            keys = -x[0] if layer.largest else x[0]
            return np.argsort(keys, axis=-1, kind="stable")[..., : layer.k].reshape(len(keys), *layer.output.shape[1:])
        case view.Reshape():
            return x[0].reshape(len(x[0]), *layer.output.shape[1:])
    raise AssertionError(layer)


def exact_round(value: Fraction, mode: str) -> int:
    below = value.numerator // value.denominator
    rest = value - below
    up = {
        "ROUND": rest > Fraction(1, 2) or (rest == Fraction(1, 2) and below % 2 == 1),
        "HALF_EVEN": rest > Fraction(1, 2) or (rest == Fraction(1, 2) and below % 2 == 1),
        "HALF_UP": rest > Fraction(1, 2) or (rest == Fraction(1, 2) and value > 0),
        "HALF_DOWN": rest > Fraction(1, 2) or (rest == Fraction(1, 2) and value < 0),
        "CEIL": rest > 0,
        "FLOOR": False,
        "UP": rest > 0 and value > 0,
        "DOWN": rest > 0 and value < 0,
    }[mode]
    return below + int(up)


def tensor(name: str, shape: tuple[int, ...], datatype: str, lo: Any = None, hi: Any = None) -> view.IntTensor:
    """A tensor that uses the whole range of its type unless bounds are given."""
    parsed = DataType.parse(datatype)
    low = np.full(shape[-1], int(parsed.min)) if lo is None else np.broadcast_to(lo, (shape[-1],))
    high = np.full(shape[-1], int(parsed.max)) if hi is None else np.broadcast_to(hi, (shape[-1],))
    return view.IntTensor(name, shape, parsed, low.astype(np.int64), high.astype(np.int64))


def values_of(rng: np.random.Generator, datatype: str, shape: tuple[int, ...]) -> Ints:
    """Random integers of a data type."""
    parsed = DataType.parse(datatype)
    if datatype == "BIPOLAR":
        return rng.integers(0, 2, shape) * 2 - 1
    return rng.integers(int(parsed.min), int(parsed.max) + 1, shape)


def product(
    rng: np.random.Generator, x: view.IntTensor, mh: int, weights: str, name: str = "fc", bias: bool = False
) -> view.MatMul:
    """A product with random weights, its output annotated with exactly the range it can reach."""
    w = values_of(rng, weights, (x.channels, mh))
    b = rng.integers(-20, 21, mh) if bias else None
    lo = np.minimum(w * x.lo[:, None], w * x.hi[:, None]).sum(0) + (0 if b is None else b)
    hi = np.maximum(w * x.lo[:, None], w * x.hi[:, None]).sum(0) + (0 if b is None else b)
    datatype = str(DataType.smallest_for_range(int(lo.min()), int(hi.max())))
    datatype = "INT2" if datatype in ("BIPOLAR", "TERNARY") else datatype
    y = tensor(f"{name}_out", (*x.shape[:-1], mh), datatype, lo, hi)
    return view.MatMul(name, x, y, w, DataType.parse(weights), b)


def thresholds(
    rng: np.random.Generator, x: view.IntTensor, datatype: str, *, shared: bool = False, name: str = "act"
) -> view.Thresholds:
    """Random sorted thresholds around the range of the input, some of them beyond it."""
    parsed = DataType.parse(datatype)
    base, step = (-1, 2) if datatype == "BIPOLAR" else (int(parsed.min), 1)
    count = 1 if datatype == "BIPOLAR" else int(parsed.max - parsed.min)
    rows = 1 if shared else x.channels
    lo, hi = (int(x.lo.min()), int(x.hi.max())) if shared else (x.lo[:, None], x.hi[:, None])
    drawn = np.sort(rng.integers(np.asarray(lo) - 2, np.asarray(hi) + 4, (rows, count)), axis=1)
    return view.Thresholds(name, x, tensor(f"{name}_out", x.shape, datatype), drawn, base, step)


def form(*layers: view.Layer, outputs: Sequence[view.IntTensor] = ()) -> IntegerForm:
    """The form of layers whose inputs are what no layer writes, and whose output is the last one's unless given."""
    written = {layer.output.name for layer in layers}
    inputs = {t.name: t for layer in layers for t in view.inputs_of(layer) if t.name not in written}
    outs = list(outputs) or [layers[-1].output]
    made = LayerForm(layers, tuple(map(port, inputs.values())), tuple(map(port, outs)))
    return cast(IntegerForm, made)


def port(of: view.IntTensor) -> Port:
    return Port(of.name, f"original/{of.name}", Grid(of.datatype), of.shape)


@dataclass(frozen=True)
class Outcome:
    design: FinnDesign
    component: Component
    simulator: Simulator
    inputs: dict[str, Ints]
    expected: dict[str, Ints]
    smooth: SimulationResult


@pytest.fixture(scope="session")
def simulator() -> None:
    """Skip without the tools that simulation needs."""
    try:
        find_verilator()
        find_compiler()
    except ToolMissing as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def synthesizer() -> None:
    """Skip without Yosys."""
    try:
        find_yosys()
    except ToolMissing as error:
        pytest.skip(str(error))


@pytest.fixture
def build(tmp_path: Path, simulator: None) -> Callable[..., Outcome]:
    """Plan, emit, emulate and simulate a form; every step has to give the numpy result, also with random gaps."""

    def run(form: Any, options: Mapping[str, object] | None = None, frames: int = 24, seed: int = 0) -> Outcome:
        rng = np.random.default_rng(seed)
        design = cast(FinnDesign, BACKEND.plan(form, Target(), options))
        component = BACKEND.emit(design, tmp_path / "component", "dut")
        ints = {p.name: values_of(rng, str(p.grid.datatype), (frames, *p.shape[1:])) for p in form.inputs}
        expected = form.run(ints)
        emulated = BACKEND.emulate(design, tmp_path).run(ints)
        for name, wanted in expected.items():
            np.testing.assert_array_equal(emulated[name], wanted, err_msg=f"emulation of {name}")
        simulator = Simulator.build(component, tmp_path / "sim")
        fed = {f"s_axis_{i}": ints[p.name] for i, p in enumerate(form.inputs)}
        results = [
            simulator.run(fed, source_gap=source, sink_gap=sink, seed=seed + 1)
            for source, sink in ((0.0, 0.0), (0.4, 0.0), (0.0, 0.6), (0.5, 0.3))
        ]
        for result in results:
            for i, p in enumerate(form.outputs):
                found = result.outputs[f"m_axis_{i}"].reshape(expected[p.name].shape)
                np.testing.assert_array_equal(found, expected[p.name], err_msg=f"simulation of {p.name}")
        return Outcome(design, component, simulator, ints, expected, results[0])

    return run


@pytest.fixture
def make() -> SimpleNamespace:
    """The builders above, for tests in other files."""
    return SimpleNamespace(
        form=form,
        tensor=tensor,
        values_of=values_of,
        product=product,
        thresholds=thresholds,
        view=view,
        DataType=DataType,
    )
