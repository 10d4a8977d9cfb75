"""A memory file with too few or too many words stops simulation and synthesis; it is never filled with zeros."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend_finn import BACKEND
from qonnx_core.cleanup import cleanup_model
from qonnx_core.eda.simulate import Simulator, StreamFault
from qonnx_core.eda.streams import Component
from qonnx_core.eda.synthesize import synthesize
from qonnx_core.eda.targets import Target
from qonnx_core.eda.tools import find_verilator, find_yosys
from qonnx_core.errors import ToolFailed, ToolMissing
from qonnx_core.ir.grid import Grid
from qonnx_core.passes.streamline import to_integer_form
from qonnx_core.testing.random_mlp import MlpShape, random_mlp


@pytest.fixture
def component(tmp_path: Path) -> Component:
    """Give a small emitted design, if the tools are there."""
    try:
        find_verilator()
        find_yosys()
    except ToolMissing as error:
        pytest.skip(str(error))
    model = cleanup_model(random_mlp(1, MlpShape(widths=(4, 4, 2), weight_bits=2, activation_bits=2)))
    form = to_integer_form(model, {"global_in": Grid.parse("INT4*1/8")}, quantizer=BACKEND.quantizer)
    return BACKEND.emit(BACKEND.plan(form, Target()), tmp_path / "emitted", "part")


@pytest.mark.parametrize("memory", ["mvau_0_weights", "mvau_0_thresholds_0_1"])
@pytest.mark.parametrize("change", ["short", "long"])
def test_a_memory_file_of_another_length_is_an_error(
    change: str, memory: str, component: Component, tmp_path: Path
) -> None:
    file = component.directory / f"part_{memory}.hex"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:-1] if change == "short" else [*lines, lines[-1]]))
    with pytest.raises(StreamFault, match=f"{file.name}.*readmem.*with enough words"):
        Simulator.build(component, tmp_path / "simulation").run({"s_axis_0": np.zeros((2, 4), np.int64)})
    with pytest.raises(ToolFailed, match=f"{file.name} has another number of words than its memory"):
        synthesize(component, "ecp5", tmp_path / "synthesis", timeout=120)
