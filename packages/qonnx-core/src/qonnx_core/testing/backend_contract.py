"""The contract that every backend keeps; run it on yours as ``check_backend(MyBackend(), workdir)``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

from qonnx_core.backend import Backend, Design, Verdict
from qonnx_core.cleanup import cleanup_model
from qonnx_core.eda.targets import Target
from qonnx_core.ir.grid import Grid
from qonnx_core.passes.streamline import IntegerForm, to_integer_form
from qonnx_core.testing.component_contract import check_component, check_directory, modules_of
from qonnx_core.testing.random_mlp import MlpShape, random_mlp

SHAPES: tuple[MlpShape, ...] = (
    MlpShape(widths=(5, 6, 3)),
    MlpShape(widths=(6, 6, 4), weight_bits=1, activation_bits=2, batch_norm=True, per_channel=True),
    MlpShape(widths=(4, 8, 2), weight_bits=2, activation_bits=3, power_of_two=False, quantize_input=False),
)
"""The random perceptrons that a backend is tried on unless others are given."""

INPUT_GRID = "INT8*2^-5"


def check_backend(
    backend: Backend,
    workdir: Path,
    *,
    shapes: Sequence[MlpShape] = SHAPES,
    options: Mapping[str, object] | None = None,
    target: Target | None = None,
    frames: int = 24,
    simulate: bool = True,
) -> None:
    """Check a backend on random perceptrons, from its verdicts to the simulation of what it emits.

    Raises:
        AssertionError: with what is different.

    """
    assert isinstance(backend, Backend), f"{backend!r} lacks a method of qonnx_core.backend.Backend"
    target = target or Target()
    check_verdicts(backend, target)
    for seed, shape in enumerate(shapes):
        model = cleanup_model(random_mlp(seed, shape))
        form = to_integer_form(model, {"global_in": Grid.parse(INPUT_GRID)}, quantizer=backend.quantizer)
        check_design(backend, form, workdir / f"mlp_{seed}", target, options, frames, simulate=simulate, seed=seed)


def check_verdicts(backend: Backend, target: Target) -> None:
    """Check that every answer about a node is a verdict, and that every refusal carries a reason."""
    model = cleanup_model(random_mlp(0, MlpShape(widths=(3, 3, 2))))
    for node in model.graph:
        verdict = backend.supports(node, target)
        assert isinstance(verdict, Verdict), f"{backend.name}: {node.op_type} is answered by {verdict!r}"
        assert verdict or verdict.reason, f"{backend.name}: {node.op_type} is refused without a reason"
    for op_type in ("NobodyKnowsThis", "Relu", "Quant"):  # in another domain a known name can be anything
        unknown = ir.Node("some.vendor", op_type, [ir.Value(name="x")], name="strange_0")
        verdict = backend.supports(unknown, target)
        assert not verdict, f"{backend.name}: claims to build {op_type} of a domain that nobody knows"
        assert "strange_0" in verdict.reason, f"{backend.name}: the refusal {verdict.reason!r} does not name the node"


def check_design(
    backend: Backend,
    form: IntegerForm,
    workdir: Path,
    target: Target,
    options: Mapping[str, object] | None = None,
    frames: int = 24,
    *,
    simulate: bool = True,
    seed: int = 0,
) -> None:
    """Check plan, estimate, emit and emulate of one integer form.

    The same form gives the same bytes, also when it is planned again; another top name changes nothing but names, and
    the two components share a design; emulation equals the integer form, and simulation equals both under any gaps.
    """
    design = backend.plan(form, target, options)
    assert isinstance(design, Design), f"{backend.name}: plan gives {type(design).__name__}"
    estimate = backend.estimate(design)
    for name in ("cycles", "latency_cycles", "lut", "ff"):
        assert getattr(estimate, name) > 0, f"{backend.name}: estimates {name} as {getattr(estimate, name)}"
    assert estimate.bram18 >= 0, f"{backend.name}: estimates {estimate.bram18} block memories"
    assert estimate.dsp >= 0, f"{backend.name}: estimates {estimate.dsp} DSPs"

    component = backend.emit(design, workdir / "one", "part_a")
    backend.emit(backend.plan(form, target, options), workdir / "two", "part_a")
    one, two = contents(workdir / "one"), contents(workdir / "two")
    differing = sorted(name for name in one.keys() | two.keys() if one.get(name) != two.get(name))
    assert not differing, f"{backend.name}: {', '.join(differing)} differ between two runs"
    check_directory(component)
    _check_ports(form, backend, component.manifest.streams)

    other = backend.emit(design, workdir / "other", "part_b")
    first, second = modules_of(component), modules_of(other)
    clashing = sorted(name for name in first.keys() & second.keys() if first[name] != second[name])
    assert not clashing, f"{backend.name}: modules {', '.join(clashing)} differ between two components of other names"
    shared = set(component.manifest.data_files) & set(other.manifest.data_files)
    assert not shared, f"{backend.name}: memory files {sorted(shared)} have the same name under two top names"

    rng = np.random.default_rng(seed)
    ints = {}
    for port in form.inputs:
        low, high = port.grid.integers
        values = rng.integers(low, high + 1, (frames, *port.shape[1:]))
        values[0], values[-1] = low, high
        ints[port.name] = np.where(values >= 0, 1, -1) if str(port.grid.datatype) == "BIPOLAR" else values
    expected = form.run(ints)
    emulated = backend.emulate(design, workdir / "emulation").run(ints)
    for port in form.outputs:
        found = emulated[port.name]
        assert found.dtype == np.int64, f"{backend.name}: emulation gives {port.name} as {found.dtype}, expected int64"
        assert found.shape == expected[port.name].shape, f"{backend.name}: {port.name} has shape {found.shape}"
        assert np.array_equal(found, expected[port.name]), f"{backend.name}: emulation of {port.name} is not exact"
    if simulate:
        driven = {f"s_axis_{index}": ints[port.name] for index, port in enumerate(form.inputs)}
        wanted = {f"m_axis_{index}": expected[port.name] for index, port in enumerate(form.outputs)}
        smooth = check_component(component, driven, workdir / "simulation", expected=wanted, seed=seed)
        interval = smooth.initiation_interval_cycles
        assert interval is None or interval <= 1.1 * estimate.cycles + 1, (
            f"{backend.name}: a frame takes {interval} cycles, estimated were {estimate.cycles}"
        )


def _check_ports(form: IntegerForm, backend: Backend, streams: Sequence[object]) -> None:
    """Check that streams stand for the ports of the form, in order, with their grids."""
    ports = [*(("in", port) for port in form.inputs), *(("out", port) for port in form.outputs)]
    assert len(ports) == len(streams), f"{backend.name}: {len(streams)} streams for {len(ports)} ports"
    for (direction, port), stream in zip(ports, streams, strict=True):
        found = (getattr(stream, "direction", None), getattr(stream, "tensor", None), getattr(stream, "datatype", None))
        wanted = (direction, port.tensor, str(port.grid.datatype))
        assert found == wanted, f"{backend.name}: a stream carries {found}, expected {wanted}"


def contents(directory: Path) -> dict[str, bytes]:
    """Return the bytes of every file below a directory by relative path."""
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()
    }
