"""No tensor of any example that comes with the ``onnx`` package leaves the range that is proven for it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

import qonnx_core
from qonnx_core.analyses.ranges import TensorRange, tensor_ranges
from qonnx_core.errors import QonnxError
from qonnx_core.formats.reader import from_proto
from qonnx_core.ir.grid import Grid
from qonnx_core.testing.onnx_examples import onnx_examples

PARTS = 8  # of which half are looked at


@pytest.mark.parametrize("part", range(0, PARTS, 2))
@pytest.mark.parametrize("grid", ["", "INT4*2^-2"])
def test_no_tensor_leaves_its_range(part: int, grid: str) -> None:
    generator = np.random.default_rng(part)
    checked = 0
    for example in onnx_examples()[part::PARTS]:
        running = [name for name, x in example.inputs.items() if x.dtype == np.float32 and x.size]
        for names in {tuple(running[:1]), tuple(running)} - {()}:
            feeds = {name: example.inputs[name] for name in names}
            if grid:
                feeds = {name: (generator.integers(-8, 8, x.shape) / 4).astype(np.float32) for name, x in feeds.items()}
            if not all(np.isfinite(x).all() for x in feeds.values()):
                continue
            try:
                model = from_proto(example.with_parameters(names))
                bounds = {} if grid else {name: (float(x.min()), float(x.max())) for name, x in feeds.items()}
                found = tensor_ranges(model, dict.fromkeys(feeds, Grid.parse(grid)) if grid else {}, bounds)
                compiled = qonnx_core.compile_model(model)
                arrays = compiled.run(feeds, [name for name in compiled.tensor_names if name in found])
            except QonnxError:
                continue
            for name, array in arrays.items():
                if name not in found:
                    continue  # an output that is constant
                if isinstance(array, np.ndarray) and array.dtype.kind in "fiub" and array.size:
                    _check(found[name], array.astype(np.float64), f"{example.name}: {name}")
                    checked += 1
    assert checked > 700


def _check(found: TensorRange, array: NDArray[np.float64], where: str) -> None:
    """Look at what was computed; a range is of exact values, so what float32 rounds is allowed for."""
    if found.values is not None:
        low, high = found.values
        slack = 1e-5 * (1 + max(abs(bound) for bound in (low, high, 0.0) if np.isfinite(bound)))
        assert low - slack <= array.min() <= array.max() <= high + slack, f"{where}: {array} and {found}"
    if found.whole is not None:
        assert np.abs(array - np.round(array)).max() < 1e-6, f"{where}: {array} and {found}"
        assert float(found.whole.min) <= array.min() <= array.max() <= float(found.whole.max), f"{where}: {found}"
