"""The contract that every component keeps; run it on yours as ``check_component(component, inputs, workdir)``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qonnx_core.eda.simulate import SimulationResult, Simulator
from qonnx_core.eda.streams import Component, Manifest
from qonnx_core.eda.sv import check_hex

GAPS: tuple[tuple[float, float], ...] = ((0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.4, 0.6))
"""Shares of cycles in which sources have nothing and sinks are not ready, that a component is driven with."""


def check_component(
    component: Component,
    inputs: Mapping[str, NDArray[Any]],
    workdir: Path,
    *,
    expected: Mapping[str, NDArray[Any]] | None = None,
    gaps: Sequence[tuple[float, float]] = GAPS,
    seed: int = 0,
) -> SimulationResult:
    """Return the run without gaps, having checked that the component keeps its contract.

    Its directory is complete, its manifest reads back as itself, every module is declared once and names no path, its
    memory files are read by bare name, and the simulated top gives the same integers whatever gaps sources and sinks
    make (the simulator itself checks that data holds until it is taken, ``tlast`` and padding, and that no ready waits
    within a cycle), also when its memories start at random values. ``inputs`` and ``expected`` hold frames of integers
    by stream prefix.

    Raises:
        AssertionError: with what is different.
        StreamFault: if the design breaks the stream contract.

    """
    check_directory(component)
    simulator = Simulator.build(component, workdir)
    smooth = simulator.run(inputs)
    wanted = {prefix: np.asarray(values) for prefix, values in (expected or smooth.outputs).items()}
    for number, (source_gap, sink_gap) in enumerate(gaps):
        result = simulator.run(
            inputs, source_gap=source_gap, sink_gap=sink_gap, seed=seed + number, random_state=bool(number % 2)
        )
        for prefix, values in wanted.items():
            found = result.outputs[prefix]
            same = np.array_equal(found.reshape(values.shape), values) if found.size == values.size else False
            assert same, (
                f"{component.manifest.top}: {prefix} with gaps {source_gap} at the sources and {sink_gap} at the sinks "
                f"(seed {seed + number}) is {found}, expected {values}"
            )
    return smooth


def check_directory(component: Component) -> None:
    """Check what lies in a component's directory, without running anything."""
    where = component.manifest.top
    component.check_files()
    assert Manifest.read(component.directory) == component.manifest, f"{where}: manifest.json is not the manifest"
    text = {path.name: path.read_text("utf-8") for path in component.source_paths}
    declared: dict[str, str] = {}
    for file, source in text.items():
        assert str(component.directory) not in source, f"{where}: {file} names its own directory"
        for module in re.findall(r"^\s*module\s+([A-Za-z_][A-Za-z0-9_$]*)", source, re.MULTILINE):
            assert module not in declared, f"{where}: module {module} is in {declared[module]} and in {file}"
            declared[module] = file
    assert where in declared, f"{where}: no source declares the top; the modules are {sorted(declared)}"
    for path in component.data_paths:
        assert check_hex(path) > 0, f"{where}: {path.name} is empty"
    for stream in component.manifest.streams:
        assert stream.shape[0] == 1, f"{where}: {stream.prefix} has frames of shape {stream.shape}, expected N = 1"
        for signal in ("tdata", "tvalid", "tready"):
            name = f"{stream.prefix}_{signal}"
            assert name in text[declared[where]], f"{where}: the top has no port {name}"


def modules_of(component: Component) -> dict[str, str]:
    """Return the text of the file that declares each module, for the check that two components can share a design."""
    found = {}
    for path in component.source_paths:
        source = path.read_text("utf-8")
        for module in re.findall(r"^\s*module\s+([A-Za-z_][A-Za-z0-9_$]*)", source, re.MULTILINE):
            found[module] = source
    return found
